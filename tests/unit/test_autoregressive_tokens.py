"""The unroll over a model's own frames: who sees what, what is asked and executed, and what memory it takes."""

import math

import pytest
import torch
import torch.nn.functional as F

from hallucade.models.base import LatentClip, TokenModel
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.models.raster_transformer import RasterTransformer, RasterTransformerConfig
from hallucade.models.token_transformer import TokenTransformer, TokenTransformerConfig
from hallucade.objectives.adaptive_brake import AdaptiveBrakeConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.base import Measured, Scheduled
from hallucade.objectives.token_losses.cross_entropy import CrossEntropyLossConfig
from hallucade.objectives.token_losses.temporal_consistency import TemporalConsistencyLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.maskgit import MaskGITSamplerConfig

CODES, ACTIONS, B, T, H, W = 11, 3, 3, 9, 2, 5
NEVER = ScheduledSampling(least=0.0, most=0.0)  # no true frame in the unroll
ALWAYS = ScheduledSampling(least=1.0, most=1.0)
SMALL = TokenConvGRUConfig(width=10, layers=2, code_width=6)


class Counting(TokenModel):
    """Answers the last shown code plus one, and remembers all that it was shown."""

    latent_shape, codes = (H, W), CODES

    def __init__(self, sure=50.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(sure))
        self.shown, self.asked = [], []

    def logits(self, state, action, tokens):
        self.asked.append(tokens)
        answer = torch.zeros(*tokens.shape, CODES).scatter(-1, ((state[-1] + 1) % CODES)[..., None], 1.0)
        return self.weight * answer

    def forced_logits(self, clip, tokens, dropped=None):
        raise NotImplementedError

    def initial(self, latent):
        self.shown = [latent]
        return [latent]

    def observe(self, state, action, latent):
        self.shown.append(latent)
        return [*state, latent]

    def fork(self, state):
        return list(state)


def clip(frames=T, batch=B, seed=0, times=1):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CODES, (batch, frames, H, W), generator=generator)
    return LatentClip(tokens.repeat(1, 1, times, times), torch.rand(batch, frames - 1, ACTIONS, generator=generator))


def objective(most=3, **choices):
    given = {"unroll": UnrollRamp(steps=1, most=most), "truth": NEVER, "corruption": 0.0, "chunk": None}
    return AutoregressiveTokensConfig(**given | choices).build()


def graded(model, whole, seed=0, step=None, **choices):
    made = objective(**choices)
    found = (made if step is None else made.at(step))(model, whole, torch.Generator().manual_seed(seed))
    return made, found


@pytest.fixture
def recurrent():
    torch.manual_seed(0)
    return noised(TokenConvGRU(SMALL, CODES, ACTIONS, (H, W)))


@torch.no_grad()
def noised(model):
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return model


def test_the_first_frames_are_true_and_the_last_the_models_own():
    model, whole = Counting(), clip()
    made, _ = graded(model, whole)
    shown, truth = torch.cat(model.shown, 1), whole.latents
    assert torch.equal(shown[:, : T - 4], truth[:, : T - 4])
    for i in range(T - 4, T - 1):  # sure of the next number
        assert torch.equal(shown[:, i], (shown[:, i - 1] + 1) % CODES)
    assert float(made.metrics["unroll/executed"]) == float(made.metrics["unroll/asked"]) == 3


def test_every_answer_is_graded_against_the_truth():
    """A model that counts is right of a clip that counts, and wrong by its own frames of one that stops."""
    counts = (torch.arange(T)[None, :, None, None] % CODES).expand(B, T, H, W).contiguous()
    actions = torch.zeros(B, T - 1, ACTIONS)
    plain = TokenLossesConfig(cross_entropy=CrossEntropyLossConfig(label_smoothing=0.0))
    _, right = graded(Counting(), LatentClip(counts, actions), losses=plain)
    assert right["cross_entropy"].item() == pytest.approx(0, abs=1e-5)
    stops = counts.clone()
    stops[:, -2:] = stops[:, -3:-2]
    made, wrong = graded(Counting(), LatentClip(stops, actions), losses=plain)
    assert wrong["cross_entropy"].item() == pytest.approx(2 * 50 / (T - 1), rel=1e-3)
    assert float(made.metrics["unroll/gap"]) == pytest.approx(2 * 50 / 3, rel=1e-3)


def test_r15_the_loss_is_a_mean_in_nats_and_does_not_grow_with_the_picture():
    for times in (1, 3):
        model = Counting(sure=0.0)
        model.latent_shape = (times * H, times * W)
        _, found = graded(model, clip(times=times))
        assert found["cross_entropy"].item() == pytest.approx(math.log(CODES), rel=1e-5)


def test_truth_is_trusted_clip_by_clip_and_as_often_as_the_schedule_says():
    model, whole = Counting(), clip(batch=200)
    made, _ = graded(model, whole, most=5, truth=ScheduledSampling(middle=7, slope=1.0, least=0, most=1), step=8)
    shown, share = torch.cat(model.shown, 1), 1 / (1 + math.exp(1))
    true = (shown == whole.latents).all((2, 3))[:, T - 6 : T - 1]
    assert float(true.float().mean()) == pytest.approx(share, abs=0.05)
    assert 0 < float(true[:, 0].float().mean()) < 1  # and not one coin for all
    assert float(made.metrics["unroll/own_share"]) == pytest.approx(1 - float(true.float().mean()), abs=1e-6)
    assert float(made.metrics["unroll/truth_share"]) == pytest.approx(share)


def test_without_an_unroll_it_is_teacher_forcing(recurrent):
    whole = clip()
    _, ours = graded(recurrent, whole, most=0)
    unknown = torch.full_like(whole.latents[:, 1:], CODES)
    logits = recurrent.forced_logits(whole, unknown)
    smooth = F.cross_entropy(logits.flatten(0, -2), whole.latents[:, 1:].flatten(), label_smoothing=0.05)
    torch.testing.assert_close(ours["cross_entropy"], smooth, rtol=1e-5, atol=1e-5)
    _, trusted = graded(recurrent, whole, truth=ALWAYS)
    torch.testing.assert_close(trusted["cross_entropy"], smooth, rtol=1e-5, atol=1e-5)


def test_parts_of_frames_can_be_asked_for():
    model = Counting()
    graded(model, clip(), all_share=0.0, own=MaskGITSamplerConfig(steps=1))
    asked = torch.stack([a for a in model.asked if not (a == CODES).all()])
    truth = clip().latents
    assert 0 < float((asked == CODES).float().mean()) < 1
    assert all(any(((a == CODES) | (a == truth[:, i : i + 1])).all() for i in range(1, T)) for a in asked)


def test_past_frames_are_corrupted_and_answers_are_not():
    model, whole = Counting(sure=0.0), clip()
    graded(model, whole, most=0, corruption=1.0)
    shown = torch.cat(model.shown, 1)[:, : T - 1]
    assert 0.1 < float((shown != whole.latents[:, : T - 1]).float().mean()) < 0.9


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_r9_recomputing_changes_no_gradient_and_is_counted(recurrent, chunk):
    """Also with losses that look back over a chunk's edge, answers in parts and dropped actions."""
    losses = TokenLossesConfig(temporal_consistency=TemporalConsistencyLossConfig(weight=0.1))
    choices = {"losses": losses, "action_dropout": 0.3, "all_share": 0.5, "truth": ScheduledSampling(most=0.5)}
    parts, gradients = [], []
    for size in (None, chunk):
        recurrent.zero_grad()
        made, found = graded(recurrent, clip(), chunk=size, **choices)
        sum(found.values()).backward()
        parts.append(found)
        gradients.append({name: p.grad.clone() for name, p in recurrent.named_parameters()})
    assert made.recomputation.recomputed == math.ceil((T - 1) / chunk)
    torch.testing.assert_close(parts[1], parts[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_r9_recomputing_that_does_not_happen_is_an_error(recurrent, monkeypatch):
    monkeypatch.setattr("hallucade.nn.recomputation.checkpoint", lambda function, use_reentrant: function())
    made = objective(chunk=3)
    sum(made(recurrent, clip(), torch.Generator()).values()).backward()
    with pytest.raises(RuntimeError, match=r"activations of 3 of 3 calls were to be recomputed and were not"):
        made(recurrent, clip(), torch.Generator())


def test_r4_an_unroll_that_is_asked_for_and_not_executed_is_an_error():
    made = objective(most=2)
    made.at(0)(Counting(), clip(2), torch.Generator())
    assert float(made.metrics["unroll/asked"]) == float(made.metrics["unroll/executed"]) == 0
    assert "unroll/gap" not in made.metrics
    with pytest.raises(ValueError, match=r"at step 1 2 of a clip's frames should be .* own, and none was: clips of 2"):
        made.at(1)(Counting(), clip(2), torch.Generator())


def test_r5_an_unroll_is_cut_to_the_clip_and_longer_ones_are_refused_before_the_first_step():
    made, _ = graded(Counting(), clip(5), most=30)
    assert (float(made.metrics["unroll/asked"]), float(made.metrics["unroll/executed"])) == (30, 3)
    config = AutoregressiveTokensConfig(unroll=UnrollRamp(most=18))
    config.check_clips(20)
    with pytest.raises(ValueError, match=r"unroll.most is 18 frames and the longest clips have 19.* 20 or more"):
        config.check_clips(19)


def test_r19_gradients_go_back_through_memory_up_to_a_number_of_blocks(recurrent):
    """The action that leads to the second frame changes the memory, and so the loss of later frames."""

    def reach(through):
        whole = clip()
        whole.actions.requires_grad_()
        made = objective(through=through, chunk=None, truth=ALWAYS)
        played = made(recurrent, whole, torch.Generator())
        played["cross_entropy"].backward()
        return whole.actions.grad.abs().sum((0, 2))

    free, capped = reach(None), reach(4)
    assert (free > 0).all()
    torch.testing.assert_close(capped[4:], free[4:])
    assert (capped[:4] < free[:4]).any()


def test_own_frames_carry_no_gradient_and_can_be_the_likeliest(recurrent):
    whole, likeliest = clip(), MaskGITSamplerConfig(steps=1, choice=CodeChoice(temperature=0.0))
    one, other = (graded(recurrent, whole, seed=s, own=likeliest)[1] for s in (1, 2))
    assert torch.equal(one["cross_entropy"], other["cross_entropy"])  # nothing was drawn
    drawn = [graded(recurrent, whole, seed=s)[1]["cross_entropy"] for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_r14_an_untrained_model_does_not_draw_one_code_everywhere(recurrent):
    fresh = TokenConvGRU(SMALL, CODES, ACTIONS, (H, W))
    made, _ = graded(fresh, clip(), own=MaskGITSamplerConfig(steps=1, choice=CodeChoice(temperature=0.0)))
    assert float(made.metrics["unroll/code_share"]) > 1.5 / CODES
    torch.nn.init.zeros_(fresh.head.to_codes.weight)
    torch.nn.init.zeros_(fresh.head.to_codes.bias)
    made, _ = graded(fresh, clip())  # all codes are equally likely, and so drawn equally often
    assert float(made.metrics["unroll/code_share"]) > 0.5


def test_it_plays_transformers_too_in_blocks():
    torch.manual_seed(0)
    config = TokenTransformerConfig(width=24, depth=2, heads=2, window=6, block=2, code_width=6)
    model = noised(TokenTransformer(config, CODES, ACTIONS, (H, W)))
    made, found = graded(model, clip(), chunk=2, through=2, most=3)
    found["cross_entropy"].backward()
    assert (float(made.metrics["unroll/asked"]), float(made.metrics["unroll/executed"])) == (3, 4)
    assert made.recomputation.recomputed == 2


def test_a_model_that_draws_cells_one_after_the_other_is_refused():
    config = RasterTransformerConfig(width=24, depth=2, heads=2, window=6, code_width=6)
    model = RasterTransformer(config, CODES, ACTIONS, (H, W))
    with pytest.raises(ValueError, match=r"a RasterTransformer draws cells one after the other.*RasterTokensConfig"):
        graded(model, clip())


def test_the_brake_holds_frames_back_and_lets_them_go_again():
    brake = AdaptiveBrakeConfig(most_ratio=1.4, every=2, decay=0.5)
    made = objective(most=5, brake=brake)
    counts = (torch.arange(T)[None, :, None, None] % CODES).expand(B, T, H, W).clone()
    counts[:, -1] = 0  # wrong after its own frames alone
    whole, executed = LatentClip(counts, torch.zeros(B, T - 1, ACTIONS)), []
    for _ in range(12):
        made(Counting(sure=5.0), whole, torch.Generator())
        executed.append(int(made.metrics["unroll/executed"]))
    assert executed[0] == 5
    assert executed == sorted(executed, reverse=True)
    assert executed[-1] == 1
    assert float(made.metrics["unroll/asked"]) == 5
    assert {"brake.means", "brake.seen", "brake.held"} == set(made.state_dict())
    with torch.no_grad():
        seen = int(made.brake.seen)
        made(Counting(), whole, torch.Generator())
        assert int(made.brake.seen) == seen  # evaluation changes nothing


def test_it_says_what_it_is():
    made = objective()
    assert isinstance(made, Scheduled)
    assert isinstance(made, Measured)
    assert made.hardest_step == 1
    assert objective(most=0).hardest_step == 0


@pytest.mark.parametrize("name", ["chunk", "through"])
def test_bad_numbers_of_blocks_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0 blocks; use 1 or more, or none"):
        AutoregressiveTokensConfig(**{name: 0})
