import math

import pytest
import torch

from hallucade.nn.positions import TokenPositions
from hallucade.nn.rope import frequencies, rotation

CPU = torch.device("cpu")


def test_one_pair_turns_by_its_angle():
    turn = rotation(torch.tensor([[3]]), torch.tensor([[0.25]], dtype=torch.float64), CPU)
    expected = torch.tensor([[math.cos(0.75), math.sin(0.75)]])
    torch.testing.assert_close(turn(torch.tensor([[1.0, 0.0]])), expected)


def test_each_axis_drives_its_own_pairs():
    expected = torch.tensor([[1, 0.1, 0, 0, 0], [0, 0, 1, 100 ** (-1 / 3), 100 ** (-2 / 3)]], dtype=torch.float64)
    torch.testing.assert_close(frequencies((2, 3), 100.0), expected)


@pytest.mark.parametrize("start", [0, 10**6])
def test_only_the_distance_counts_however_long_the_game(start):
    per_step = frequencies((5,), 10_000.0)
    q, k = torch.randn(1, 10), torch.randn(1, 10)
    here = rotation(torch.tensor([[7]]), per_step, CPU)(q) @ rotation(torch.tensor([[2]]), per_step, CPU)(k).T
    there = rotation(torch.tensor([[start + 7]]), per_step, CPU)(q)
    there = there @ rotation(torch.tensor([[start + 2]]), per_step, CPU)(k).T
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["flat", "axial"])
@pytest.mark.parametrize("axis", ["time", "both"])
def test_turning_by_frames_is_standing_that_many_frames_later(kind, axis):
    positions = TokenPositions(kind, rows=2, columns=3, registers=1, head=12, base=50.0)
    x = torch.randn((3 if axis == "time" else 21), 12)
    now, later = (positions.turn(axis, torch.arange(3) + shift, CPU)(x) for shift in (0, 40))
    torch.testing.assert_close(positions.turn_by(axis, 40, CPU)(now), later, rtol=1e-5, atol=1e-5)


def test_flat_positions_count_all_tokens():
    positions = TokenPositions("flat", rows=2, columns=3, registers=1, head=2, base=50.0)
    assert positions.tokens == 7
    angles = torch.atan2(*(lambda r: (r.sin, r.cos))(positions.turn("both", torch.tensor([0]), CPU)))
    torch.testing.assert_close(angles[:3, 0], torch.tensor([0.0, 1.0, 2.0]))


def test_axial_positions_tell_every_token_apart():
    positions = TokenPositions("axial", rows=2, columns=3, registers=4, head=12, base=50.0)
    turn = positions.turn("both", torch.arange(5), CPU)
    assert len(torch.cat([turn.cos, turn.sin], 1).unique(dim=0)) == 5 * (2 * 3 + 4)
