"""Clips of recorded play with the simulator's state at their end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from hallucade.data.store import EpisodeStore

STEADY = 1e-9  # deviation up to which a variable counts as constant


@dataclass(frozen=True)
class StateClips:
    """Clips of one split, with the state of the last frame of each."""

    frames: UInt8[np.ndarray, "n t h w 3"]
    states: Float64[np.ndarray, "n c"]
    episodes: Int64[np.ndarray, "n"]


def changing_columns(store: EpisodeStore, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the state variables to read: those asked for, or all that change within episodes.

    Raises:
        ValueError: the store has no state, or no such variable; names those that there are.
    """
    names = store.state_names
    if not names:
        raise ValueError(f"{store.path} holds no simulator's state; probe on play that was recorded with one")
    if strange := [name for name in columns if name not in names]:
        raise ValueError(f"{store.path} has no state {', '.join(strange)}; choose among {', '.join(names)}")
    if columns:
        return tuple(columns)
    moving = np.zeros(len(names), bool)
    for index in store.indices("train")[:20]:
        states = store.episode(index).state
        assert states is not None
        moving |= np.asarray(states).std(0) > STEADY * np.maximum(np.abs(states).max(0), 1)
    return tuple(name for name, moves in zip(names, moving, strict=True) if moves)


def state_clips(
    store: EpisodeStore,
    split: str,
    columns: Sequence[str],
    frames: int,
    count: int,
    rng: np.random.Generator,
) -> StateClips:
    """Draw clips of a split, all windows equally likely.

    Raises:
        ValueError: no episode of the split is long enough.
    """
    long = [i for i in store.indices(split) if store.episodes[i].frames >= frames]
    if not long:
        raise ValueError(f"no {split} episode of {store.path} has {frames} frames; use shorter clips, or record more")
    ends = np.cumsum(np.array([store.episodes[i].frames - frames + 1 for i in long], np.int64))
    numbers = rng.integers(0, ends[-1], count)
    owners = np.searchsorted(ends, numbers, side="right")
    starts = numbers - np.concatenate([np.zeros(1, np.int64), ends])[owners]
    chosen = [store.state_names.index(name) for name in columns]
    pictures = np.empty((count, frames, *store.frame_size, 3), np.uint8)
    states = np.empty((count, len(chosen)), np.float64)
    for row, (owner, start) in enumerate(zip(owners, starts, strict=True)):
        clip = store.read(long[int(owner)], int(start), frames)
        assert clip.state is not None
        pictures[row], states[row] = clip.frames, clip.state[-1][chosen]
    return StateClips(pictures, states, np.array(long, np.int64)[owners])
