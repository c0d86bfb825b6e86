"""Masked tokens: which cells are hidden and graded, against closed forms."""

import math

import pytest
import torch
from samples.codes import Memoryless

from hallucade.models.base import LatentClip
from hallucade.objectives.masked_tokens import MaskedTokensConfig, corrupted, hidden_cells
from hallucade.objectives.token_losses.cross_entropy import CrossEntropyLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig

CODES, B, T, H, W = 7, 3, 5, 2, 4


class Flat(Memoryless):
    """Finds every code equally likely, or is sure of the truth."""

    latent_shape, codes = (H, W), CODES

    def __init__(self, truth=None):
        super().__init__()
        self.truth = truth

    def forced_logits(self, clip, tokens, dropped=None):
        self.asked, self.past, self.dropped = tokens, clip.latents, dropped
        logits = torch.zeros(*tokens.shape, CODES)
        if self.truth is not None:
            logits = logits.scatter(-1, self.truth[:, -tokens.shape[1] :, ..., None], 50.0)
        return logits


def clip(times=1):
    tokens = torch.randint(0, CODES, (B, T, H, W), generator=torch.Generator().manual_seed(0))
    return LatentClip(tokens.repeat(1, 1, times, times), torch.rand(B, T - 1, 2))


def grading(label_smoothing=0.05, **choices):
    losses = TokenLossesConfig(cross_entropy=CrossEntropyLossConfig(label_smoothing=label_smoothing))
    return MaskedTokensConfig(losses=losses, **choices).build()


def loss(model, clip, seed=0, **choices):
    return grading(**choices)(model, clip, torch.Generator().manual_seed(seed))["cross_entropy"]


def test_the_loss_is_a_mean_in_nats():
    assert float(loss(Flat(), clip())) == pytest.approx(math.log(CODES), rel=1e-5)
    assert float(loss(Flat(clip().latents), clip(), label_smoothing=0.0)) == pytest.approx(0, abs=1e-5)


def test_r15_the_loss_does_not_grow_with_the_picture():
    for truth in (False, True):
        values = [loss(Flat(clip(n).latents if truth else None), clip(n), label_smoothing=0.1) for n in (1, 3)]
        assert float(values[0]) == pytest.approx(float(values[1]), rel=1e-4)


def test_only_hidden_cells_are_graded():
    truth = clip().latents
    model = Flat(truth)
    config = grading(label_smoothing=0.0, corruption=0.0)
    config(model, clip(), torch.Generator().manual_seed(3))
    hidden = model.asked == CODES
    assert torch.equal(model.asked[~hidden], truth[:, -model.asked.shape[1] :][~hidden])
    wrong = truth.clone()
    wrong[:, -model.asked.shape[1] :][~hidden] += 1  # the model is sure of the wrong code where nothing is asked
    value = config(Flat(wrong % CODES), clip(), torch.Generator().manual_seed(3))["cross_entropy"]
    assert float(value) == pytest.approx(0, abs=1e-5)


def test_shares_follow_the_cosine_and_whole_frames_their_share():
    tokens = torch.zeros(4000, 1, 8, 8, dtype=torch.int64)
    hidden = hidden_cells(tokens, 0.3, 1, torch.Generator().manual_seed(0)).float().mean((1, 2, 3))
    nearly_all = 2 / math.pi * math.acos(63 / 64)  # of angles, those whose cosine hides all 64 cells after rounding up
    assert float((hidden == 1).float().mean()) == pytest.approx(0.3 + 0.7 * nearly_all, abs=0.03)
    assert float(hidden.mean()) == pytest.approx(0.3 + 0.7 * 2 / math.pi, abs=0.02)
    assert hidden.min() >= 1 / 64


def test_latents_of_a_block_are_hidden_alike():
    tokens = torch.zeros(500, 6, 4, 4, dtype=torch.int64)
    shares = hidden_cells(tokens, 0.0, 3, torch.Generator().manual_seed(0)).float().mean((2, 3))
    first, second = shares[:, :3].mean(1), shares[:, 3:].mean(1)
    assert float((shares[:, 0] - shares[:, 2]).abs().mean()) < 0.15
    assert float((first - second).abs().mean()) > 0.2


def test_the_past_is_corrupted_up_to_a_share_and_the_answer_never():
    tokens = torch.full((400, 3, 8, 8), 2)
    changed = (corrupted(tokens, CODES, 0.5, torch.Generator().manual_seed(0)) != tokens).float().mean((1, 2, 3))
    assert float(changed.mean()) == pytest.approx(0.25 * (CODES - 1) / CODES, abs=0.02)
    assert changed.max() <= 0.6
    model, whole = Flat(), clip()
    loss(model, whole, corruption=1.0)
    assert not torch.equal(model.past, whole.latents)
    known = model.asked != CODES
    assert torch.equal(model.asked[known], whole.latents[:, -model.asked.shape[1] :][known])


def test_cells_that_change_can_weigh_more():
    truth = clip().latents
    truth[:, 1:] = truth[:, :1]
    truth[:, 1:, 0, 0] = (truth[:, :1, 0, 0] + torch.arange(1, T)) % CODES
    guess = truth.clone()
    guess[:, 1:, 0, 0] = (guess[:, 1:, 0, 0] + 1) % CODES  # wrong where something moves, and sure of it
    whole = LatentClip(truth, torch.rand(B, T - 1, 2))
    plain, weighed = (loss(Flat(guess), whole, moving_weight=w, label_smoothing=0.0) for w in (0.0, 20.0))
    assert weighed > 2 * plain


@pytest.mark.parametrize("field", ["all_share", "corruption", "action_dropout"])
def test_shares_lie_between_0_and_1(field):
    with pytest.raises(ValueError, match=f"{field} is 1.5; it lies between 0 and 1"):
        MaskedTokensConfig(**{field: 1.5})
