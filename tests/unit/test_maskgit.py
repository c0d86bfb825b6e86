"""Drawing codes: limits and fairness of one draw, and frames filled in a few steps."""

import itertools
import math

import pytest
import torch
from samples.codes import Memoryless

from hallucade.samplers.base import seeded
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.maskgit import MaskGITSamplerConfig, unknown_after

CODES, H, W = 5, 3, 4
SHARES = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])


def drawn(choice, rows=3000):
    logits = SHARES.log().expand(1, rows, -1)
    return choice.draw(logits, seeded(0, 1))


@pytest.mark.parametrize(
    ("choice", "shares"),
    [
        (CodeChoice(), SHARES),
        (CodeChoice(temperature=0.5), SHARES**2 / (SHARES**2).sum()),
        (CodeChoice(temperature=0), torch.eye(5)[0]),
        (CodeChoice(top_k=2), torch.tensor([2, 1, 0, 0, 0]) / 3),
        (CodeChoice(top_p=0.7), torch.tensor([2, 1, 0, 0, 0]) / 3),
        (CodeChoice(top_p=0.4), torch.eye(5)[0]),
        (CodeChoice(top_k=99, top_p=1.0), SHARES),
    ],
)
def test_codes_come_as_often_as_they_are_likely(choice, shares):
    codes, log_shares = drawn(choice)
    found = torch.bincount(codes[0], minlength=CODES) / codes.shape[1]
    torch.testing.assert_close(found, shares, atol=0.03, rtol=0)
    torch.testing.assert_close(log_shares[0].exp(), shares[codes[0]], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CodeChoice(temperature=-1), "temperature is -1"),
        (lambda: CodeChoice(top_k=0), "top_k is 0"),
        (lambda: CodeChoice(top_p=0), "top_p is 0"),
        (lambda: MaskGITSamplerConfig(steps=0), "sampling steps is 0"),
        (lambda: MaskGITSamplerConfig(randomness=-1), "randomness is -1"),
    ],
)
def test_what_chooses_nothing_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


class Recorder(Memoryless):
    """Keeps what it was asked."""

    latent_shape, codes = (H, W), CODES

    def __init__(self, logits):
        super().__init__()
        self.logits_of, self.asked = logits, []

    def logits(self, state, action, tokens):
        self.asked.append(tokens.clone())
        return self.logits_of(tokens)


def sure(tokens):
    """The sureness of a cell grows with its number; the code is the number modulo codes."""
    cells = torch.arange(H * W).reshape(H, W)
    logits = torch.nn.functional.one_hot(cells % CODES, CODES).float() * (1 + cells[..., None])
    return logits.expand(*tokens.shape, CODES)


def fill(model, batch=2, **choices):
    config = MaskGITSamplerConfig(**choices)
    return config.build()(model, None, torch.zeros(batch, 1, 1), seeded(0, batch))


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 40])
def test_cells_are_known_after_a_cosine_and_never_forgotten(steps):
    model = Recorder(sure)
    tokens = fill(model, steps=steps)
    assert tokens.shape == (2, 1, H, W)
    assert (tokens < CODES).all()
    unknown = [(asked == CODES).flatten(1).sum(1) for asked in model.asked]
    assert (unknown[0] == H * W).all()
    for before, after in itertools.pairwise(model.asked):
        known = before != CODES
        assert torch.equal(before[known], after[known])
        assert ((after == CODES).flatten(1).sum(1) < (before == CODES).flatten(1).sum(1)).all()
    assert len(model.asked) <= min(steps, H * W)
    if steps == 5:
        assert [int(u[0]) for u in unknown] == [12, 11, 9, 7, 3]
        assert [math.floor(math.cos(math.pi / 2 * i / 5) * 12) for i in range(1, 5)] == [11, 9, 7, 3]


def test_the_surest_cells_are_kept_first():
    model = Recorder(sure)
    fill(model, steps=4, choice=CodeChoice(temperature=0), randomness=0)
    for asked in model.asked[1:]:
        known = (asked[0, 0] != CODES).flatten()
        assert torch.equal(known.nonzero().flatten(), torch.arange(H * W)[-int(known.sum()) :])


def test_cells_that_have_to_agree_do_so_in_many_steps_and_not_in_one():
    """Both cells of a pair are 0 or both are 1: what independent cells cannot know (the seed's collapse)."""

    def pairs(tokens):
        logits = torch.zeros(*tokens.shape, CODES)
        logits[..., 2:] = -30
        partner = tokens.flip(-1)
        for code in (0, 1):
            logits[..., code] += 30.0 * (partner == code)
        return logits

    def agreement(steps):
        tokens = fill(Recorder(pairs), batch=64, steps=steps)
        return float((tokens == tokens.flip(-1)).float().mean())

    assert agreement(1) == pytest.approx(0.5, abs=0.06)
    assert agreement(H * W) == 1.0


def test_the_schedule_ends_with_nothing_unknown():
    assert unknown_after(8, 8, 1000) == 0
    assert [unknown_after(i, 2, 100) for i in (0, 1, 2)] == [100, 70, 0]
