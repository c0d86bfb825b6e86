"""Rates, sizes and what is cut: the arithmetic that every importer shares."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data import conversion
from hallucade.data.conversion import (
    Conversion,
    ConversionConfig,
    delayed,
    frames_a_frame,
    kept_frames,
    resampled,
    resized,
)
from hallucade.data.source import ForeignEpisode, frames_of

ACTIONS = ActionSpace(
    buttons=(Button(name="fire"),),
    choices=(Choice(name="move", options=("stay", "left", "right")),),
    axes=(Axis(name="yaw", low=-9, high=5, kind="delta", turns="right"), Axis(name="throttle", low=0, high=1)),
)


def foreign(n: int, **columns: object) -> ForeignEpisode:
    """Frame i has the colour i; every delta is 1."""
    frames = np.broadcast_to(np.arange(n + 1, dtype=np.uint8)[:, None, None, None], (n + 1, 6, 10, 3))
    rows = np.stack([np.arange(n) % 4 == 1, np.arange(n) % 3, np.ones(n), np.arange(n) / n], 1)
    return replace(ForeignEpisode(frames_of(frames), rows.astype(np.float32)), **columns)


def shown(episode: object) -> list[int]:
    return episode.frames[:, 0, 0, 0].tolist()


@given(st.integers(0, 300), st.floats(1, 40))
def test_kept_frames_are_the_nearest_to_an_even_grid(actions: int, ratio: float) -> None:
    kept = kept_frames(actions, ratio)
    assert kept[0] == 0
    assert kept[-1] <= actions
    assert (np.diff(kept) >= 1).all()
    assert np.abs(kept - np.arange(len(kept)) * ratio).max() <= 0.5 + 1e-6
    assert actions - kept[-1] < ratio + 0.5  # nothing at the end is lost that would have made another frame


@given(st.integers(1, 120), st.floats(1, 9))
def test_no_delta_is_lost_between_the_first_and_the_last_kept_frame(n: int, ratio: float) -> None:
    rows = foreign(n).actions
    kept = kept_frames(n, ratio)
    joined = resampled(ACTIONS, rows, kept)
    assert joined.shape == (len(kept) - 1, ACTIONS.size)
    np.testing.assert_allclose(joined[:, 2], np.diff(kept), rtol=1e-6)
    for row, (a, b) in zip(joined, pairwise(kept), strict=True):
        assert row[0] == rows[a:b, 0].max()
        assert row[1] == rows[b - 1, 1]
        np.testing.assert_allclose(row[3], rows[a:b, 3].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "target", "ratio"),
    [(29.97, 30, 1), (29.97, 15, 2), (59.94, 20, 3), (30, 12.5, 2.4), (29.5, 30, 29.5 / 30)],
)
def test_rates_of_broadcasting_count_as_the_round_ones(source: float, target: float, ratio: float) -> None:
    assert frames_a_frame(source, target) == ratio


def test_thirty_frames_a_second_are_there_in_29_97() -> None:
    convert = Conversion(ConversionConfig(fps=30), ACTIONS, 30000 / 1001)
    assert shown(convert(foreign(7)).episodes[0]) == list(range(8))
    assert (convert.fps, convert.actions) == (30, ACTIONS)


def test_a_whole_ratio_keeps_every_second_frame_and_widens_what_a_delta_can_be() -> None:
    convert = Conversion(ConversionConfig(fps=10), ACTIONS, 20)
    (episode,) = convert(foreign(7)).episodes
    assert shown(episode) == [0, 2, 4, 6]
    assert episode.actions[:, 2].tolist() == [2, 2, 2]
    assert (convert.actions.axes[0].low, convert.actions.axes[0].high) == (-18, 10)
    assert convert.actions.axes[1] == ACTIONS.axes[1]


def test_more_frames_than_the_source_has_are_refused() -> None:
    with pytest.raises(ValueError, match="the source has 20 frames a second, fewer than 30"):
        Conversion(ConversionConfig(fps=30), ACTIONS, 20)


def test_other_columns_follow_their_frames_and_rewards_are_summed() -> None:
    state = np.arange(10, dtype=np.float64)[:, None]
    source = foreign(9, rewards=np.arange(9, dtype=np.float32), state=state, extras={"hp": np.arange(10)})
    (episode,) = Conversion(ConversionConfig(fps=10), ACTIONS, 30)(source).episodes
    assert shown(episode) == [0, 3, 6, 9]
    assert episode.rewards is not None
    assert episode.rewards.tolist() == [3, 12, 21]
    assert episode.state is not None
    assert episode.state[:, 0].tolist() == [0, 3, 6, 9]
    assert episode.extras["hp"].tolist() == [0, 3, 6, 9]


def test_menus_cut_an_episode_into_stretches_that_no_window_can_cross() -> None:
    menu = np.zeros(10, bool)
    menu[[4, 5]] = True
    converted = Conversion(ConversionConfig(), ACTIONS, 20)(foreign(9, menu=menu))
    assert [shown(e) for e in converted.episodes] == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert converted.episodes[1].actions[:, 1].tolist() == [0, 1, 2]
    assert converted.notes == ("2 of 10 frames are cut: menus or nothing touched",)
    (whole,) = Conversion(ConversionConfig(menus="keep"), ACTIONS, 20)(foreign(9, menu=menu)).episodes
    assert len(whole.frames) == 10


def test_a_menu_between_two_kept_frames_still_cuts() -> None:
    menu = np.zeros(13, bool)
    menu[5] = True  # between the kept frames 4 and 8
    converted = Conversion(ConversionConfig(fps=5), ACTIONS, 20)(foreign(12, menu=menu))
    assert [shown(e) for e in converted.episodes] == [[8, 12]]


def test_long_idleness_is_cut_and_short_idleness_stays() -> None:
    rows = np.tile(ACTIONS.idle, (20, 1))
    rows[[0, 4, 19], 0] = 1
    converted = Conversion(ConversionConfig(idle=0.3), ACTIONS, 10)(foreign(20, actions=rows))
    first, second = converted.episodes
    assert shown(first) == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # three idle actions are allowed, then the picture stays
    assert shown(second) == [19, 20]


def test_missing_frames_cut_the_episode_and_are_told() -> None:
    source = foreign(9)
    cut = replace(source, frames=lambda: iter(list(source.frames())[:6]))
    converted = Conversion(ConversionConfig(), ACTIONS, 20)(cut)
    assert len(converted.episodes[0].actions) == 5
    assert converted.notes == ("9 actions need 10 frames and there are 6: the rest is cut",)
    one_less = replace(source, frames=lambda: iter(list(source.frames())[:9]))
    assert Conversion(ConversionConfig(), ACTIONS, 20)(one_less).notes == ()  # the last action led to nothing


def test_short_stretches_are_left_out() -> None:
    menu = np.zeros(10, bool)
    menu[2] = True
    converted = Conversion(ConversionConfig(shortest=5), ACTIONS, 20)(foreign(9, menu=menu))
    assert [shown(e) for e in converted.episodes] == [[3, 4, 5, 6, 7, 8, 9]]
    nothing = Conversion(ConversionConfig(shortest=50), ACTIONS, 20)(foreign(9))
    assert nothing.episodes == ()
    assert nothing.notes == ("nothing is left: no stretch has 50 frames",)


@pytest.mark.parametrize(("delay", "frames", "rows"), [(2, [2, 3, 4, 5], [0, 1, 2]), (-2, [0, 1, 2, 3], [2, 3, 4])])
def test_a_delay_moves_actions_and_rewards_against_frames_and_state(
    delay: int, frames: list[int], rows: list[int]
) -> None:
    source = foreign(5, rewards=np.arange(5, dtype=np.float32), state=np.arange(6, dtype=np.float64)[:, None])
    source = replace(source, actions=np.arange(5, dtype=np.float32)[:, None].repeat(4, 1))
    moved = delayed(source, delay)
    assert [int(frame[0, 0, 0]) for frame in moved.frames()][: len(frames)] == frames
    assert moved.actions[:, 0].tolist() == rows
    assert moved.rewards is not None
    assert moved.rewards.tolist() == rows
    assert moved.state is not None
    assert moved.state[:, 0].tolist() == frames
    assert len(delayed(source, 9).actions) == 0


def test_an_inverted_axis_changes_sign_and_range() -> None:
    convert = Conversion(ConversionConfig(invert=("yaw",)), ACTIONS, 20)
    (episode,) = convert(foreign(3)).episodes
    assert episode.actions[:, 2].tolist() == [-1, -1, -1]
    assert (convert.actions.axes[0].low, convert.actions.axes[0].high) == (-5, 9)
    assert convert.actions.axes[0].turns == "right"
    with pytest.raises(ValueError, match="no axis 'pitch' to invert; there is yaw, throttle"):
        Conversion(ConversionConfig(invert=("pitch",)), ACTIONS, 20)


def test_pictures_are_stretched_cut_around_the_centre_or_given_bars() -> None:
    frame = np.zeros((8, 24, 3), np.uint8)
    frame[:, 8:16] = 200  # the middle third
    assert resized(frame, (4, 12), "stretch")[0, :, 0].tolist() == [0] * 4 + [200] * 4 + [0] * 4
    assert (resized(frame, (4, 4), "crop") == 200).all()
    padded = resized(frame, (12, 12), "pad")
    assert padded[:4].max() == padded[8:].max() == 0
    assert padded[4:8, 4:8].min() == 200
    np.testing.assert_array_equal(resized(frame, (8, 24), "crop"), frame)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_any_picture_becomes_any_size(h: int, w: int, height: int, width: int) -> None:
    cv2.setNumThreads(1)
    frame = np.full((h, w, 3), 90, np.uint8)
    for fit in ("stretch", "crop", "pad"):
        picture = resized(frame, (height, width), fit)
        assert picture.shape == (height, width, 3)
        assert picture.max() == 90


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fps": 0.0}, "fps is 0"),
        ({"size": (0, 4)}, "size is"),
        ({"idle": -1.0}, "idle is -1"),
        ({"shortest": 1}, "shortest is 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConversionConfig(**wrong)


def test_an_episode_that_no_memory_holds_is_refused_before_it_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "physical_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"an episode of 6 frames of 6 x 10 pixels takes .* GiB, this machine has"):
        Conversion(ConversionConfig(), ACTIONS, 10.0)(foreign(5))
    monkeypatch.setattr(conversion, "physical_memory", lambda: None)
    assert Conversion(ConversionConfig(), ACTIONS, 10.0)(foreign(5)).episodes
    monkeypatch.undo()
    assert (conversion.physical_memory() or 2**30) >= 2**27


def test_sizes_that_nothing_can_scale_to_are_refused() -> None:
    with pytest.raises(ValueError, match=r"size is \(9, 99999\); give a height and width of 1 to 16384 pixels"):
        ConversionConfig(size=(9, 99999))
