"""Losses of predicted codes, each against its closed form; what they need, and what they are told."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.models.base import LatentClip
from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.action_ranking import ActionRankingLossConfig, wrong_actions
from hallucade.objectives.token_losses.base import TokenContext, TokenLossConfig
from hallucade.objectives.token_losses.code_diversity import CodeDiversityLossConfig
from hallucade.objectives.token_losses.cross_entropy import CrossEntropyLossConfig
from hallucade.objectives.token_losses.decoding import DecodingConfig
from hallucade.objectives.token_losses.entropy_floor import EntropyFloorLossConfig
from hallucade.objectives.token_losses.inverse_dynamics import InverseDynamicsLossConfig
from hallucade.objectives.token_losses.lpips import LpipsLossConfig
from hallucade.objectives.token_losses.neighbourhood import NeighbourhoodLossConfig, neighbours
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.sharpness import SharpnessLossConfig
from hallucade.objectives.token_losses.sobel import SobelLossConfig, edges
from hallucade.objectives.token_losses.temporal_consistency import TemporalConsistencyLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

B, K, H, W, CODES, WIDTH = 2, 3, 4, 6, 13, 5
ACTIONS = ActionSpace(
    buttons=(Button(name="fire"),),
    choices=(Choice(name="move", options=("stay", "up", "down")),),
    axes=(Axis(name="yaw", low=-10, high=10),),
)
LOSSES = [f.name for f in fields(TokenLossesConfig) if f.name != "decoding"]
OFF = CrossEntropyLossConfig(weight=0.0)


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(0)
    config = LearnedTokenizerConfig(
        convolutions=ConvolutionsConfig(widths=(8,)), bottleneck=VQConfig(codes=CODES, width=WIDTH)
    )
    tokenizer = config.build().requires_grad_(False).eval()
    return Setting(tokenizer, ACTIONS, (2 * H, 2 * W), lambda *_: lambda x, y: (x - y).square().mean())


def only(name, **choices):
    """That loss alone."""
    config = TokenLossesConfig()
    loss = replace(getattr(config, name), **{"weight": 1.0} | choices)
    return replace(config, **{"cross_entropy": OFF} | {name: loss})


def drawn(seed=0, times=1):
    """Logits, truth and context, of pictures tiled so many times both ways."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, K, H, W, CODES, generator=generator)
    truth, past = torch.randint(0, CODES, (2, B, K, H, W), generator=generator)
    past = torch.where(torch.rand(past.shape, generator=generator) < 0.5, truth, past)
    before = torch.randn(B, H, W, CODES, generator=generator)
    rows = np.stack([np.full((B, K), 1.0), np.arange(B * K).reshape(B, K) % 3, np.linspace(-9, 9, B * K).reshape(B, K)])
    steer = torch.randn(ACTIONS.features, CODES, generator=generator)
    tiled = [each.repeat(1, 1, times, times, *(1,) * (each.ndim - 4)) for each in (logits, truth, past)]
    context = TokenContext(
        past=tiled[2],
        previous=before.repeat(1, times, times, 1),
        actions=ACTIONS.encode(torch.tensor(np.moveaxis(rows, 0, -1), dtype=torch.float32)),
        under=lambda action: (action @ steer)[:, :, None, None].expand(-1, -1, H * times, W * times, -1),
        generator=torch.Generator().manual_seed(1),
    )
    return tiled[0].requires_grad_(), tiled[1], context


def number(setting, name, logits, *rest, **choices):
    """The value of that loss alone."""
    return float(value(setting, name, logits.detach(), *rest, **choices))


def value(setting, name, logits, truth, context, **choices):
    return only(name, **choices).build(setting)(logits, truth, context)[name]


@pytest.mark.parametrize("name", LOSSES)
def test_r10_every_loss_reaches_the_logits(setting, name):
    logits, truth, context = drawn()
    choices = {"floor": 9.0} if name == "entropy_floor" else {"margin": 50.0} if name == "action_ranking" else {}
    loss = value(setting, name, logits, truth, context, **choices)
    assert float(loss.detach()) > 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient.abs().sum(-1) > 0).any()


@pytest.mark.parametrize(
    "name", [n for n in LOSSES if n not in ("lpips", "sobel", "inverse_dynamics", "neighbourhood")]
)
def test_r15_losses_do_not_change_when_the_picture_is_tiled(setting, name):
    """Those of pictures see borders of their own; `test_r15_what_sees_borders_stays_of_the_same_size` has them."""
    choices = {"margin": 9.0} if name == "action_ranking" else {}
    small, large = (number(setting, name, *drawn(times=n), **choices) for n in (1, 2))
    assert large == pytest.approx(small, rel=1e-5)


@pytest.mark.parametrize("name", ["lpips", "sobel", "inverse_dynamics", "neighbourhood"])
def test_r15_what_sees_borders_stays_of_the_same_size(setting, name):
    torch.manual_seed(0)  # of the reader's weights
    small = number(setting, name, *drawn(times=1))
    torch.manual_seed(0)
    assert number(setting, name, *drawn(times=3)) == pytest.approx(small, rel=0.5)


def test_the_weight_multiplies_and_known_cells_do_not_count(setting):
    logits, truth, context = drawn()
    cells = torch.zeros(B, K, H, W)
    cells[:, :, 1:3] = 1.0
    other = torch.where(cells[..., None] > 0, logits, logits + torch.randn_like(logits))
    for name in (n for n in LOSSES if n != "temporal_consistency"):
        torch.manual_seed(0)
        graded = replace(context, cells=cells, generator=torch.Generator().manual_seed(1))
        ours = number(setting, name, logits, truth, graded, weight=2.0)
        torch.manual_seed(0)
        graded = replace(graded, generator=torch.Generator().manual_seed(1))
        theirs = number(setting, name, other, truth, graded, weight=4.0)
        assert theirs == pytest.approx(2 * ours, rel=1e-4), name


def test_cross_entropy_is_torch_s(setting):
    logits, truth, context = drawn()
    expected = torch.nn.functional.cross_entropy(logits.detach().flatten(0, 3), truth.flatten(), label_smoothing=0.1)
    assert number(setting, "cross_entropy", logits, truth, context, label_smoothing=0.1) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_sure_and_right_costs_nothing_but_what_asks_for_doubt(setting):
    _, truth, context = drawn()
    sure = 60.0 * torch.nn.functional.one_hot(truth, CODES).float()
    for name in ("cross_entropy", "semantic", "neighbourhood", "sharpness", "lpips", "sobel"):
        choices = {"label_smoothing": 0.0} if name == "cross_entropy" else {}
        assert number(setting, name, sure, truth, context, **choices) == pytest.approx(0, abs=1e-4), name
    assert number(setting, "entropy_floor", sure, truth, context, floor=1.5) == pytest.approx(2.25, rel=1e-3)


def test_without_any_idea_losses_have_the_values_of_even_odds(setting):
    _, truth, context = drawn()
    even = torch.zeros(B, K, H, W, CODES)
    distinct = [len(set(cell.tolist())) for cell in neighbours(truth).flatten(0, 3)]
    near = -np.mean(np.log(np.array(distinct) / CODES))
    assert number(setting, "neighbourhood", even, truth, context, exact=0.0) == pytest.approx(near, rel=1e-5)
    assert number(setting, "cross_entropy", even, truth, context) == pytest.approx(math.log(CODES), rel=1e-5)
    assert number(setting, "sharpness", even, truth, context) == pytest.approx(1 - 1 / CODES, rel=1e-5)
    assert number(setting, "code_diversity", even, truth, context) == pytest.approx(0, abs=1e-5)
    floor = math.log(CODES) + 2
    assert number(setting, "entropy_floor", even, truth, context, floor=floor) == pytest.approx(4, rel=1e-4)


def test_one_code_everywhere_is_as_far_from_diverse_as_can_be(setting):
    _, truth, context = drawn()
    same = torch.zeros(B, K, H, W, CODES)
    same[..., 3] = 60.0
    assert number(setting, "code_diversity", same, truth, context) == pytest.approx(math.log(CODES), rel=1e-4)


def test_r16_beyond_a_border_lies_the_border_and_no_code_0():
    codes = torch.arange(1, 7).reshape(1, 1, 2, 3)
    around = neighbours(codes)
    assert around.dtype == torch.int64
    assert around[0, 0, 0, 0].tolist() == [1, 1, 2, 1, 1, 2, 4, 4, 5]
    assert around[0, 0, 1, 2].tolist() == [2, 3, 3, 5, 6, 6, 5, 6, 6]
    large = torch.tensor([[[[2**24 + 1]]]])  # which float32 does not hold
    assert (neighbours(large) == 2**24 + 1).all()


def test_r16_a_sure_code_0_at_the_border_is_wrong(setting):
    """Borders that are filled with code 0 would take it for right."""
    truth = torch.full((B, K, H, W), 4)
    zeros = 60.0 * torch.nn.functional.one_hot(torch.zeros_like(truth), CODES).float()
    assert number(setting, "neighbourhood", zeros, truth, TokenContext()) == pytest.approx(60, rel=1e-3)


def test_a_neighbour_that_occurs_twice_is_no_likelier(setting):
    logits, truth, context = drawn()
    assert number(setting, "neighbourhood", logits, torch.full_like(truth, 2), context) == pytest.approx(
        number(setting, "cross_entropy", logits, torch.full_like(truth, 2), context, label_smoothing=0.0),
        rel=1e-5,
    )
    assert number(setting, "neighbourhood", logits, truth, context, exact=0.0) > 0


def test_temporal_consistency_is_a_divergence_of_cells_that_stay(setting):
    logits, truth, context = drawn()
    p = torch.cat([context.previous[:, None], logits.detach()], 1).softmax(-1)
    each = (p[:, :-1] * (p[:, :-1] / p[:, 1:]).log()).sum(-1)
    everywhere = number(setting, "temporal_consistency", logits, truth, context, still=False)
    assert everywhere == pytest.approx(float(each.mean()), rel=1e-5)
    still = number(setting, "temporal_consistency", logits, truth, context)
    assert still == pytest.approx(float(each[context.past == truth].mean()), rel=1e-5)
    logits.grad = None
    value(setting, "temporal_consistency", logits, truth, replace(context, previous=None)).backward()
    assert not logits.grad[:, 0].any(), "the frame before is asked to follow"
    first = number(setting, "temporal_consistency", logits[:, :1], truth[:, :1], TokenContext(past=truth[:, :1]))
    assert first == 0


def test_wrong_actions_differ_from_the_true_ones_in_one_control():
    rows = torch.tensor([[1.0, 2.0, 9.5], [0.0, 0.0, -10.0], [1.0, 1.0, 0.0]]).repeat(400, 1).reshape(600, 2, 3)
    true = ACTIONS.encode(rows)
    wrong = wrong_actions(true, ACTIONS, torch.Generator().manual_seed(0))
    groups = [(true[..., s] - wrong[..., s]).abs().amax(-1) for s in (slice(0, 1), slice(1, 4), slice(4, 5))]
    differ = torch.stack(groups) > 1e-6
    assert (differ.sum(0) == 1).all()
    assert (differ.float().mean((1, 2)) > 0.25).all(), "some control is hardly ever changed"
    assert torch.equal(wrong[..., 1:4].sum(-1), torch.ones(600, 2))
    assert (wrong[..., 1:4].flatten(0, 1).mean(0) > 0.2).all(), "some option is hardly ever drawn"
    assert groups[2][differ[2]].min() >= 0.5 - 1e-5
    assert wrong[..., 4].abs().max() <= 1


def test_ranking_holds_the_last_block_under_the_true_action_against_another(setting):
    logits, truth, context = drawn()
    asked = []

    def under(action):
        asked.append(action)
        return logits[:, -2:].detach()  # just as likely

    context = replace(context, under=under, block=2)
    assert number(setting, "action_ranking", logits, truth, context, margin=0.3) == pytest.approx(0.3, rel=1e-5)
    assert asked[0].shape == (B, 2, ACTIONS.features)
    better = 5.0 * torch.nn.functional.one_hot(truth, CODES) + logits
    assert number(setting, "action_ranking", better, truth, context, margin=0.3) == 0


def test_the_reader_of_actions_learns_from_true_frames_alone(setting):
    losses = only("inverse_dynamics").build(setting)
    logits, truth, context = drawn()
    (reader,) = losses.networks().values()
    losses(logits, truth, context)["inverse_dynamics"].backward()
    assert logits.grad is not None
    assert all(weight.grad is None for weight in reader.parameters())
    clip = LatentClip(torch.cat([context.past[:, :1], truth], 1), context.actions)
    ((role, loss),) = losses.network_losses(clip)
    loss.backward()
    assert role == "inverse_dynamics"
    assert all(weight.grad is not None for weight in reader.parameters())


def test_the_reader_of_actions_can_tell_them(setting):
    """A code that moves right where the choice is 1, and left where it is 2."""
    torch.manual_seed(0)
    losses = only("inverse_dynamics", width=24).build(setting)
    (reader,) = losses.networks().values()
    optimizer = torch.optim.Adam(reader.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        at, way = torch.randint(1, W - 1, (48,), generator=generator), torch.randint(0, 3, (48,), generator=generator)
        frames = torch.full((48, 2, H, W), 3)
        rows = torch.arange(48)
        frames[rows, 0, :, at] = 7
        frames[rows, 1, :, at + torch.tensor([0, 1, -1])[way]] = 7
        raw = torch.stack([torch.ones(48), way.float(), torch.zeros(48)], -1)[:, None]
        ((_, loss),) = losses.network_losses(LatentClip(frames, ACTIONS.encode(raw)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


def test_pictures_are_decoded_from_what_was_predicted(setting):
    logits, truth, context = drawn()
    for reads in ("expected", "straight_through"):
        config = replace(only("sobel"), decoding=DecodingConfig(reads=reads, frames=5))
        loss = config.build(setting)(logits, truth, context)["sobel"]
        (gradient,) = torch.autograd.grad(loss, logits)
        reached = (gradient.flatten(2).abs().sum(-1) > 0).sum()
        assert int(reached) == 5, "so many frames are drawn"
    book, decode = setting.tokenizer.codebook(), setting.tokenizer.decode_pixels
    assert torch.equal(setting.tokenizer.decode_vectors(book[truth[0]].movedim(-1, 1)), decode(truth[0]))


def test_edges_are_steps_of_a_pixel():
    ramp = torch.arange(7.0).expand(1, 2, 4, 7)
    found = edges(ramp)
    torch.testing.assert_close(found[:, :, 0, :, 1:-1], torch.ones(1, 2, 4, 5))
    torch.testing.assert_close(found[:, :, 1], torch.zeros(1, 2, 4, 7))


# What losses need, and what is told of them


def test_r10_a_loss_without_what_it_needs_is_an_error_that_names_it(setting):
    pixels = replace(setting, tokenizer=PixelTokenizerConfig().build())
    with pytest.raises(ValueError, match="semantic loss has a weight and needs vectors of codes, which PixelTokenizer"):
        only("semantic").build(pixels)
    for name in ("semantic", "inverse_dynamics", "sobel", "lpips", "action_ranking"):
        with pytest.raises(ValueError, match=f"{name.replace('_', ' ')} loss has a weight and needs the"):
            only(name).build(None)
    with pytest.raises(ValueError, match="lpips loss has a weight and needs its network"):
        only("lpips").build(replace(setting, lpips=None))
    logits, truth, _ = drawn()
    with pytest.raises(ValueError, match="action ranking loss has a weight and needs a model that can be asked"):
        only("action_ranking").build(setting)(logits, truth, TokenContext())


def test_r11_a_loss_that_comes_and_goes_is_told():
    config = TokenLossesConfig(semantic=SemanticLossConfig(weight=1.0, every=5))
    (remark,) = config.remarks()
    assert remark.startswith("semantic counts every 5 steps only: a dream may flash with that period")
    with pytest.raises(ValueError, match=r"no loss counts at every step \(semantic do not\)"):
        replace(config, cross_entropy=OFF)


def test_r11_it_counts_at_these_steps_and_no_others(setting):
    losses = TokenLossesConfig(semantic=SemanticLossConfig(weight=1.0, every=3)).build(setting)
    logits, truth, context = drawn()
    counted = [sorted(losses(logits, truth, replace(context, step=step))) for step in range(4)]
    both, one = ["cross_entropy", "semantic"], ["cross_entropy"]
    assert counted == [both, one, one, both]


def test_weights_that_oppose_each_other_are_told():
    config = TokenLossesConfig(
        sharpness=SharpnessLossConfig(weight=0.3), entropy_floor=EntropyFloorLossConfig(weight=0.1)
    )
    (remark,) = config.remarks()
    assert "sharpness (weight 0.3)" in remark
    assert "entropy_floor (weight 0.1)" in remark
    assert TokenLossesConfig().remarks() == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: TokenLossesConfig(cross_entropy=OFF), "no loss has a weight"),
        (lambda: SobelLossConfig(weight=-1.0), "the weight of SobelLoss is -1.0; use 0 to leave it out"),
        (lambda: CodeDiversityLossConfig(weight=float("inf")), "the weight of CodeDiversityLoss is inf"),
        (lambda: LpipsLossConfig(every=0), "LpipsLoss counts every 0 steps"),
        (lambda: CrossEntropyLossConfig(label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: NeighbourhoodLossConfig(exact=1.5), "exact is 1.5"),
        (lambda: EntropyFloorLossConfig(floor=0.0), "floor is 0.0 nats"),
        (lambda: ActionRankingLossConfig(margin=0.0), "margin is 0.0 nats"),
        (lambda: InverseDynamicsLossConfig(width=0), "width is 0 channels"),
        (lambda: DecodingConfig(frames=0), "frames is 0"),
    ],
)
def test_bad_values_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        config()


def test_configs_travel_as_json_and_each_loss_is_a_field():
    config = TokenLossesConfig(temporal_consistency=TemporalConsistencyLossConfig(weight=0.1, still=False))
    assert TokenLossesConfig.from_json(config.to_json()) == config
    of_fields = {type(getattr(config, name)) for name in LOSSES}
    assert {kind for kind in TokenLossConfig.kinds().values() if kind is not TokenLossConfig} == of_fields
