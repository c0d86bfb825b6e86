"""A focus against a search by hand over a small store whose state variables change at known frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, dot_manifest, random_episode

from hallucade.data.clips import ClipWindows
from hallucade.data.focus import Focus, focused_windows
from hallucade.data.store import EpisodeStore
from hallucade.data.windows import Windows
from hallucade.data.writer import StoreWriter

LENGTHS = [13, 30, 2, 21, 17, 11, 26]  # actions; with a share of 0.25, episodes 1 and 5 are for validation
TRAIN = [0, 2, 3, 4, 6]
FRAMES = 7
HITS = Focus(changes=("hits",), avoids=("serves",), lead=4, aftermath=2)


def states(length: int, seed: int) -> np.ndarray:
    """Return (hits, serves, score): counters that rise now and then."""
    rng = np.random.default_rng(seed)
    return (rng.random((length + 1, 3)) < [0.12, 0.05, 0.08]).cumsum(0).astype(np.float64)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    manifest = dot_manifest(state_names=("hits", "serves", "score"))
    with StoreWriter(tmp_path / "store", manifest) as writer:
        for i, length in enumerate(LENGTHS):
            writer.append([replace(random_episode(length, i), state=states(length, i))], [i])
    return EpisodeStore(tmp_path / "store")


def windows(store: EpisodeStore, focus: Focus | None = HITS, **changes: object) -> ClipWindows:
    return ClipWindows(store, ACTIONS, **({"frames": FRAMES, "batch": 8, "seed": 5, "focus": focus} | changes))


def changes_at(values: np.ndarray, frame: int) -> bool:
    """Whether a variable takes another value at this frame of the episode."""
    return frame > 0 and bool((values[frame] != values[frame - 1]).any())


def by_hand(focus: Focus, episodes: list[int], frames: int) -> list[int]:
    """Number the windows one by one and look at each of their frames."""
    names, found, number = ["hits", "serves", "score"], [], 0
    for i in episodes:
        state = states(LENGTHS[i], i)
        sought, avoided = (state[:, [names.index(n) for n in group]] for group in (focus.changes, focus.avoids))
        for start in range(len(state) - frames + 1):
            first = max(focus.lead - focus.aftermath, 0)
            seen = any(changes_at(sought, start + f) for f in range(first, frames))
            spoiled = any(changes_at(avoided, start + f) for f in range(1, frames))
            if seen and not spoiled:
                found.append(number)
            number += 1
    return found


@pytest.mark.parametrize(
    "focus",
    [
        HITS,
        replace(HITS, avoids=()),
        replace(HITS, avoids=("serves", "score")),
        replace(HITS, changes=("hits", "score")),
        replace(HITS, lead=FRAMES - 1, aftermath=0),  # in the last frame
        replace(HITS, lead=2, aftermath=2),  # in any frame, the first included
        replace(HITS, lead=1, aftermath=3),  # what happened before the window does not count
        replace(HITS, lead=0, aftermath=0),
    ],
)
@pytest.mark.parametrize(("split", "episodes"), [("train", TRAIN), ("validation", [1, 5])])
@pytest.mark.parametrize("frames", [FRAMES, 10])
def test_focused_windows_are_those_found_by_hand(
    store: EpisodeStore, focus: Focus, split: str, episodes: list[int], frames: int
) -> None:
    wanted = by_hand(focus, episodes, frames)
    every = sum(max(LENGTHS[i] + 2 - frames, 0) for i in episodes)
    assert 0 < len(wanted) < every
    assert focused_windows(Windows([store], frames, split), 0, focus).tolist() == wanted


def test_a_share_of_each_batch_is_focused_and_the_rest_is_all_windows_in_turn(store: EpisodeStore) -> None:
    source, focused = windows(store, replace(HITS, share=0.375)), set(by_hand(HITS, TRAIN, FRAMES))
    steps = -(-len(source) // 5)  # an epoch of the rest
    batches = [source.ids_at(step) for step in range(steps)]
    assert all(set(ids[:3]) <= focused for ids in batches)
    assert {int(i) for ids in batches for i in ids[3:]} == set(range(len(source)))
    assert {int(i) for ids in batches for i in ids[:3]} == focused  # each of them in turn, too


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_the_share_is_that_of_the_batch(store: EpisodeStore, share: float, count: int) -> None:
    source, focused = windows(store, replace(HITS, share=share)), set(by_hand(HITS, TRAIN, FRAMES))
    for step in range(40):
        ids = source.ids_at(step)
        assert len(ids) == 8
        assert set(ids[:count].tolist()) <= focused
    rest = {int(i) for step in range(40) for i in source.ids_at(step)[count:]}
    assert (rest <= focused) == (share == 1.0)


def test_a_share_of_nothing_is_no_focus(store: EpisodeStore) -> None:
    none, zero = windows(store, None), windows(store, replace(HITS, share=0.0))
    for step in (0, 3, 77):
        np.testing.assert_array_equal(zero.ids_at(step), none.ids_at(step))
        assert torch.equal(zero.batch_at(step).frames, none.batch_at(step).frames)


def test_batches_depend_on_seed_and_step_alone(store: EpisodeStore) -> None:
    a, b = windows(store), windows(store)
    b.ids_at(2)
    np.testing.assert_array_equal(a.ids_at(9), b.ids_at(9))
    assert not np.array_equal(a.ids_at(9)[:4], a.ids_at(10)[:4])
    assert not np.array_equal(a.ids_at(9)[:4], windows(store, seed=6).ids_at(9)[:4])


@pytest.mark.parametrize("world", [2, 4, 8])
def test_ranks_share_one_focused_batch(store: EpisodeStore, world: int) -> None:
    source = windows(store)
    parts = [source.batch_at(7, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.frames for part in parts]), source.batch_at(7).frames)
    assert torch.equal(torch.cat([part.actions for part in parts]), source.batch_at(7).actions)


def test_a_focus_is_part_of_the_fingerprint(store: EpisodeStore) -> None:
    prints = {windows(store, focus).fingerprint for focus in (None, HITS, replace(HITS, lead=5))}
    assert len(prints) == 3
    assert windows(store).fingerprint in prints


def test_a_focus_that_finds_nothing_says_why(store: EpisodeStore) -> None:
    with pytest.raises(ValueError, match="no state variable ball, goal; it has hits, serves, score"):
        windows(store, replace(HITS, changes=("ball", "hits"), avoids=("goal",)))
    with pytest.raises(ValueError, match=r"hits never changes in a window of .*store; leave out the focus"):
        windows(store, replace(HITS, avoids=("hits",), lead=4, aftermath=0))
    with pytest.raises(ValueError, match="from frame 9 of a window on, and windows have 7 frames; lower lead"):
        windows(store, replace(HITS, lead=12, aftermath=3))


def test_a_store_without_states_says_so(tmp_path: Path) -> None:
    blank = dot_manifest(state_names=(), columns=tuple(c for c in dot_manifest().columns if c.name != "state"))
    with StoreWriter(tmp_path / "blank", blank) as writer:
        writer.append([replace(random_episode(12, 0), state=None)], [0])
    with pytest.raises(ValueError, match="no state variable hits, serves; it has none"):
        windows(EpisodeStore(tmp_path / "blank"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.5}, "share is 1.5; it lies between 0 and 1"),
        ({"changes": ()}, "focus has no changes to look for"),
        ({"lead": -1}, "lead is -1"),
        ({"aftermath": -2}, "aftermath is -2"),
    ],
)
def test_impossible_focuses_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Focus(**({"changes": ("hits",)} | settings))
