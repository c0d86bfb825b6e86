"""Several frames as one: what is kept of an episode, and that no window of it is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.conversion import Conversion, ConversionConfig
from hallucade.data.episode import Episode
from hallucade.data.joining import joined_episodes, joined_rows, joined_space
from hallucade.data.source import ForeignEpisode, frames_of

SPACE = ActionSpace(
    buttons=(Button(name="fire", keys=("Space",)), Button(name="run")),
    choices=(Choice(name="move", options=("stay", "left", "right")),),
    axes=(Axis(name="x", low=-2, high=3, positive_keys=("ArrowRight",)),),
)
NAMES = ["fire.1", "run.1", "fire.2", "run.2", "fire.3", "run.3", "move.1", "move.2", "move.3", "x.1", "x.2", "x.3"]


def episode(n: int) -> Episode:
    """Frame, state and reward i show i; row i differs from every other."""
    number = np.arange(n + 1)
    frames = np.broadcast_to(number.astype(np.uint8)[:, None, None, None], (n + 1, 2, 5, 3))
    rows = np.stack([number % 2, number // 2 % 2, number % 3, number / 100], 1)[:n].astype(np.float32)
    return Episode(frames, rows, number[:n].astype(np.float32), number[:, None] * 1.0, {"depth": number[:, None]})


def test_every_control_stands_there_once_a_frame_and_features_add_up() -> None:
    space = joined_space(SPACE, 3)
    assert list(space.names) == NAMES
    assert space.features == 3 * SPACE.features
    rows = episode(3).actions
    joined = dict(zip(NAMES, joined_rows(SPACE, rows).tolist(), strict=True))
    assert joined == {f"{name}.{i + 1}": rows[i, c] for i in range(3) for c, name in enumerate(SPACE.names)}


def test_a_held_key_is_held_all_the_time() -> None:
    row = joined_space(SPACE, 3).from_keys({"Space", "ArrowRight"})
    held = np.repeat(SPACE.from_keys({"Space", "ArrowRight"})[None], 3, 0)
    np.testing.assert_array_equal(row, joined_rows(SPACE, held))


@given(st.integers(0, 40), st.integers(1, 7))
def test_every_window_of_every_mth_frame_is_in_exactly_one_episode(n: int, m: int) -> None:
    whole = episode(n)
    pieces = list(joined_episodes(SPACE, whole, m))
    seen = [
        tuple(pair) for piece in pieces for pair in np.stack([piece.frames[:-1], piece.frames[1:]], 1)[:, :, 0, 0, 0]
    ]
    assert sorted(seen) == [(i, i + m) for i in range(n + 1 - m)]
    for piece in pieces:
        start = int(piece.frames[0, 0, 0, 0])
        for i, (row, reward) in enumerate(zip(piece.actions, piece.rewards, strict=True)):
            between = slice(start + i * m, start + (i + 1) * m)
            np.testing.assert_array_equal(row, joined_rows(SPACE, whole.actions[between]))
            assert reward == whole.rewards[between].sum()
        np.testing.assert_array_equal(piece.state, piece.frames[:, 0, 0, :1])
        np.testing.assert_array_equal(piece.extras["depth"], piece.state)


def test_a_conversion_resamples_first_and_then_joins() -> None:
    """From 20 frames a second to 10, and of those every third: as DINO-WM's 5 x 2, with less."""
    whole = episode(23)
    foreign = ForeignEpisode(frames_of(whole.frames), whole.actions, whole.rewards, whole.state, whole.extras)
    convert = Conversion(ConversionConfig(fps=10, join=3), SPACE, 20)
    pieces = convert(foreign).episodes
    assert (convert.fps, list(convert.actions.names)) == (10 / 3, NAMES)
    assert [piece.frames[:, 0, 0, 0].tolist() for piece in pieces] == [[0, 6, 12, 18], [2, 8, 14, 20], [4, 10, 16, 22]]
    (plain,) = Conversion(ConversionConfig(fps=10), SPACE, 20)(foreign).episodes
    np.testing.assert_array_equal(pieces[1].actions[0], joined_rows(SPACE, plain.actions[1:4]))
    convert.actions.validate(np.concatenate([piece.actions for piece in pieces]))


def test_what_is_too_short_is_left_out_and_said() -> None:
    whole = episode(7)
    foreign = ForeignEpisode(frames_of(whole.frames), whole.actions)
    lengths = [len(e.frames) for e in Conversion(ConversionConfig(join=4), SPACE, 20)(foreign).episodes]
    assert lengths == [2, 2, 2, 2]
    kept = Conversion(ConversionConfig(join=3, shortest=3), SPACE, 20)(foreign)
    assert [e.frames[:, 0, 0, 0].tolist() for e in kept.episodes] == [[0, 3, 6], [1, 4, 7]]
    nothing = Conversion(ConversionConfig(join=8), SPACE, 20)(foreign)
    assert (nothing.episodes, nothing.notes) == ((), ("nothing is left: no 2 frames lie 8 apart",))
    with pytest.raises(ValueError, match="join is 0 frames; use 1 to keep them all"):
        ConversionConfig(join=0)
