"""Where tokens stand: how heads are divided, what a table gives to frames past its end, and what is refused."""

import pytest
import torch

from hallucade.nn.positions import TokenPositions, check_head, check_shares, head_split, moments
from hallucade.nn.window import FrameWindow

CPU = torch.device("cpu")


def video(shares=(1, 1, 1), head=22, base=50.0, registers=0):
    return TokenPositions("video", 3, 4, registers, head, base, shares)


@pytest.mark.parametrize(
    ("pairs", "shares", "expected"),
    [
        (64, (1, 1, 1), (22, 21, 21)),
        (32, (2, 7, 7), (4, 14, 14)),
        (32, (2, 3, 3), (8, 12, 12)),
        (7, (1, 2, 1), (3, 3, 1)),
    ],
)
def test_a_video_head_is_divided_and_time_gets_what_is_left(pairs, shares, expected):
    assert sum(expected) == pairs
    for axis in ("time", "space", "both"):
        assert head_split("video", axis, pairs, shares) == expected


def test_an_axial_head_is_divided_among_what_its_layer_attends_over():
    splits = [head_split("axial", axis, 11, (1, 1, 1)) for axis in ("time", "space", "both")]
    assert splits == [(11, 0, 0), (0, 6, 5), (5, 3, 3)]


def test_video_layers_of_every_axis_read_a_token_alike():
    positions, frames = video(), torch.tensor([4, 5])
    both, time, space = (positions.turn(axis, frames, CPU) for axis in ("both", "time", "space"))
    cos = both.cos.unflatten(0, (2, 12))
    turning = head_split("video", "both", 11, (1, 1, 1))
    in_time, in_space = cos.split([turning[0], 11 - turning[0]], -1)
    torch.testing.assert_close(time.cos[:, : turning[0]], in_time[:, 0])
    torch.testing.assert_close(space.cos[:, turning[0] :], in_space[0])
    assert torch.equal(time.cos[:, turning[0] :], torch.ones(2, 11 - turning[0]))  # what all share is no difference
    assert torch.equal(space.cos[:, : turning[0]], torch.ones(12, turning[0]))


def test_angles_are_place_times_frequency():
    turn = video((1, 2, 1), head=8).turn("both", torch.tensor([9]), CPU)  # 1, 2 and 1 pairs
    row, column, speeds = 2, 3, 50.0 ** (-torch.arange(2) / 2)
    expected = torch.cat([torch.tensor([9.0]), row * speeds, torch.tensor([float(column)])])
    torch.testing.assert_close(turn.cos[row * 4 + column], expected.cos())
    torch.testing.assert_close(turn.sin[row * 4 + column], expected.sin())


@pytest.mark.parametrize("axis", ["time", "both"])
def test_turning_by_frames_is_standing_that_many_frames_later(axis):
    positions = video(registers=2)
    x = torch.randn(3 if axis == "time" else 3 * 14, 22)
    now, later = (positions.turn(axis, torch.arange(3) + shift, CPU)(x) for shift in (0, 10**6))
    torch.testing.assert_close(positions.turn_by(axis, 10**6, CPU)(now), later, rtol=1e-5, atol=1e-5)


def test_learned_positions_turn_nothing():
    positions = TokenPositions("learned", 3, 4, 1, 7, 50.0)
    assert positions.turn("both", torch.arange(5), CPU) is None
    assert positions.turn_by("both", 40, CPU) is None


@pytest.mark.parametrize("window", [FrameWindow(5), FrameWindow(6, 2)], ids=str)
def test_learned_vectors_are_reused_so_that_no_two_frames_of_a_window_share_one(window):
    taken = moments("learned", window, window.clip(40))
    assert torch.equal(taken[: window.size], torch.arange(window.size))
    visible = window.visible(40, CPU)
    assert all(len(taken[seen].unique()) == seen.sum() for seen in visible)
    assert moments("learned", window, window.next(10**9 + 7, 1)) == taken[27]  # 20 is a multiple of both periods


def test_beside_a_rotation_the_clock_stands_still():
    window = FrameWindow(4)
    assert moments("axial", window, window.clip(7)).tolist() == [0, 1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("kind", "axes", "width", "heads", "shares", "message"),
    [
        (
            "axial",
            {"space", "time"},
            24,
            5,
            (1, 1, 1),
            "24 over 5 heads is 4.8 a head; choose a number of heads that divides",
        ),
        ("axial", {"space", "time"}, 24, 8, (1, 1, 1), "24 over 8 heads is 3 a head.*even number"),
        ("axial", {"both"}, 24, 6, (1, 1, 1), "4 a head, too few for axial positions: 3 coordinates"),
        ("axial", {"space", "time"}, 24, 12, (1, 1, 1), "2 a head, too few .* 2 coordinates .* choose fewer heads"),
        ("video", {"time"}, 24, 4, (1, 1, 7), r"6 a head, .* video positions in shares of 1:1:7: 3 coordinates"),
        ("learned", {"both"}, 24, 7, (1, 1, 1), "3.42857 a head; choose a number"),
    ],
)
def test_heads_without_a_pair_for_a_coordinate_are_refused(kind, axes, width, heads, shares, message):
    with pytest.raises(ValueError, match=message):
        check_head(kind, axes, width, heads, shares)


def test_heads_that_suffice_pass():
    check_head("axial", {"both"}, 24, 4, (1, 1, 1))
    check_head("axial", {"space", "time"}, 24, 6, (1, 1, 1))
    check_head("flat", {"both"}, 24, 12, (1, 1, 1))
    check_head("learned", {"both"}, 21, 7, (1, 1, 1))
    check_head("video", {"time", "space"}, 24, 4, (1, 1, 1))


def test_shares_that_nobody_reads_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 0, 2\); time, row and column need a share of 1"):
        check_shares("video", (1, 0, 2))
    with pytest.raises(ValueError, match=r"\(2, 7, 7\), which axial positions do not read; choose positions='video'"):
        check_shares("axial", (2, 7, 7))
    check_shares("video", (2, 7, 7))
    check_shares("flat", (1, 1, 1))
