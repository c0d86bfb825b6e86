"""Grading after a past that the model drew itself: which frames of it, and what was drawn after what."""

import pytest
import torch
from samples.codes import Memoryless

from hallucade.models.base import LatentClip
from hallucade.objectives.base import Measured, Scheduled
from hallucade.objectives.self_conditioned_tokens import SelfConditionedTokensConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling

CODES, B, T, H, W = 13, 4, 6, 2, 3


class Counting(Memoryless):
    """Answers the code of the frame before plus one, and keeps what it was shown."""

    latent_shape, codes = (H, W), CODES

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(50.0))
        self.pasts, self.asked = [], []

    def forced_logits(self, clip, tokens, dropped=None):
        self.pasts.append(clip.latents)
        self.asked.append(tokens)
        before = clip.latents[:, -tokens.shape[1] - 1 : -1]
        return self.weight * torch.zeros(*tokens.shape, CODES).scatter(-1, ((before + 1) % CODES)[..., None], 1.0)


def clip(batch=B):
    tokens = torch.randint(0, CODES, (batch, T, H, W), generator=torch.Generator().manual_seed(0))
    return LatentClip(tokens, torch.rand(batch, T - 1, 2))


def played(least=0.0, batch=B, step=10**6, **choices):
    """Far beyond the schedule, when `least` of the past is true."""
    truth = ScheduledSampling(middle=0, slope=1.0, least=least)
    made = SelfConditionedTokensConfig(truth=truth, corruption=0.0, **choices).build()
    model, whole = Counting(), clip(batch)
    made.at(step)(model, whole, torch.Generator().manual_seed(1))
    return model, whole.latents, made.metrics


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_every_pass_draws_after_what_the_pass_before_drew(passes):
    model, truth, _ = played(passes=passes)
    assert len(model.pasts) == passes + 1
    assert all((asked == CODES).all() for asked in model.asked[:-1])
    past = model.pasts[-1]
    assert torch.equal(past[:, 0], truth[:, 0])
    for i in range(1, T):
        since = min(i, passes)  # frames drawn one after the other
        assert torch.equal(past[:, i], (truth[:, i - since] + since) % CODES)


def test_a_share_of_the_past_is_true_frame_by_frame_and_answers_always_are():
    model, truth, metrics = played(least=0.6, batch=300)
    own = (model.pasts[-1] != truth).any(3).any(2)[:, 1:]
    assert float(own.float().mean()) == pytest.approx(0.4, abs=0.04)
    assert 0 < float(own[:, 0].float().mean()) < 1
    known = model.asked[-1] != CODES
    assert torch.equal(model.asked[-1][known], truth[:, 1:][known])
    assert float(metrics["self_conditioning/asked"]) == pytest.approx(0.4)
    assert float(metrics["self_conditioning/executed"]) == pytest.approx(float(own[:, :-1].float().mean()), abs=1e-5)


def test_the_share_is_that_of_the_step():
    *_, early = played(step=-100)
    *_, late = played(step=100)
    assert float(early["self_conditioning/asked"]) == pytest.approx(0.05)
    assert float(late["self_conditioning/asked"]) == pytest.approx(1.0)


def test_only_the_last_pass_teaches():
    config = SelfConditionedTokensConfig(truth=ScheduledSampling(most=0.0, least=0.0))
    made, model = config.build(), Counting()
    drawn = []
    original = model.forced_logits

    def forced_logits(clip, tokens, dropped=None):
        drawn.append(torch.is_grad_enabled())
        return original(clip, tokens, dropped)

    model.forced_logits = forced_logits
    made(model, clip(), torch.Generator())["cross_entropy"].backward()
    assert drawn == [False, True]
    assert model.weight.grad is not None


def test_r4_a_past_that_cannot_be_drawn_is_refused():
    config = SelfConditionedTokensConfig()
    with pytest.raises(ValueError, match="longest clips have 2 frames, and the past of none is drawn; use 3"):
        config.check_clips(2)
    short = LatentClip(clip().latents[:, :2], torch.rand(B, 1, 2))
    with pytest.raises(ValueError, match="clips of 2 latents have no past to be drawn"):
        config.build()(Counting(), short, torch.Generator())
    with pytest.raises(ValueError, match=r"passes is 0; use 1 or more"):
        SelfConditionedTokensConfig(passes=0)


def test_it_says_what_it_is():
    made = SelfConditionedTokensConfig().build()
    assert isinstance(made, Scheduled)
    assert isinstance(made, Measured)
