"""Clips: batches of windows cut from a store, each a pure function of (seed, step, rank, world).

There is no sampler state: a resumed run, or one that goes on with another number of ranks, sees the windows that it
would have seen. Within an epoch every window of the split comes exactly once, in an order of that epoch's own.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.shuffle import shuffled
from hallucade.data.store import EpisodeStore
from hallucade.games.counter_random import random_bits
from hallucade.shapes import Actions, Frames


@dataclass(frozen=True)
class Clip:
    """A batch of windows: t frames joined by t - 1 encoded actions.

    `seed` is a pure function of (seed, step, rank): every random draw made for this batch starts from it, so that
    resume is exact without saving a generator.
    """

    frames: Frames
    actions: Actions
    seed: int = 0

    def split(self, parts: int) -> "tuple[Clip, ...]":
        """Cut the batch into equal microbatches, each with a seed of its own.

        Raises:
            ValueError: the batch is not a multiple of `parts`.
        """
        batch = len(self.frames)
        if parts < 1 or batch % parts:
            raise ValueError(f"a batch of {batch} windows cannot be cut into {parts} equal parts; choose a divisor")
        pieces = zip(self.frames.chunk(parts), self.actions.chunk(parts), strict=True)
        return tuple(Clip(frames, actions, _seed(self.seed, part)) for part, (frames, actions) in enumerate(pieces))


@runtime_checkable
class ClipSource(Protocol):
    """Whatever says which clip belongs to which step."""

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's share of the global batch of `step`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Focus(Config):
    """Draw a share of each batch from windows in which something rare happens, as the simulator's state tells.

    A window counts when one of `changes` takes another value at one of its frames from `lead` - `aftermath` on, and
    none of `avoids` does between its frames.
    """

    changes: tuple[str, ...]  # state variables
    avoids: tuple[str, ...] = ()  # state variables
    share: float = 0.5  # of each batch
    lead: int = 8  # frames at the start of a window that are context only
    aftermath: int = 3  # frames after a change that still count: what it led to shows in them

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"focus share is {self.share}; it lies between 0 and 1")
        if not self.changes:
            raise ValueError("a focus has no changes to look for; name a state variable, or leave out the focus")
        for name in ("lead", "aftermath"):
            if getattr(self, name) < 0:
                raise ValueError(f"focus {name} is {getattr(self, name)} frames; use 0 or more")

    @property
    def first(self) -> int:
        """The first frame of a window at which a change counts."""
        return max(self.lead - self.aftermath, 0)


class ClipWindows:
    """All windows of `frames` frames of one split of a store, in batches of `batch` over all ranks together.

    Args:
        store: where the play lies.
        actions: encodes the action rows.
        frames: t, frames in a window, joined by t - 1 actions.
        batch: windows in a global batch.
        seed: of the order.
        split: "train" or "validation".
        focus: what to see more of than its share of the play.

    Raises:
        ValueError: no episode of the split is long enough, or the focus finds no window.
    """

    def __init__(
        self,
        store: EpisodeStore,
        actions: ActionSpace,
        *,
        frames: int = 9,
        batch: int = 64,
        seed: int = 0,
        split: str = "train",
        focus: Focus | None = None,
    ) -> None:
        if frames < 2 or batch < 1:
            raise ValueError(f"windows of {frames} frames in batches of {batch}; use at least 2 frames and 1 window")
        self.store, self.actions = store, actions
        self.frames, self.batch, self.seed, self.split = frames, batch, seed, split
        records = [store.episodes[i] for i in store.indices(split)]
        legal = np.array([max(record.frames - frames + 1, 0) for record in records], np.int64)
        self._ends = np.cumsum(legal)  # of each episode, in windows
        self._places = np.array([(r.shard, r.frame_offset, r.action_offset) for r in records], np.int64).reshape(-1, 3)
        self._places[:, 1:] -= (self._ends - legal)[:, None]  # so that place + window is the row to start from
        if len(self) == 0:
            raise ValueError(_no_window(store, split, frames))
        self.focus = focus
        self._focused = np.empty(0, np.int64) if focus is None else focused_windows(store, focus, frames, split)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any batch would."""
        focus = None if self.focus is None else self.focus.to_json()
        content = [self.store.fingerprint, self.frames, self.batch, self.seed, self.split, focus]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def ids_at(self, step: int) -> Int64[np.ndarray, "b"]:
        """Return the window numbers of the global batch of `step`, the same for any world."""
        special = 0 if self.focus is None else round(self.focus.share * self.batch)
        plain = self.batch - special
        ids = shuffled(np.arange(step * plain, (step + 1) * plain), len(self), self.seed)
        if special == 0:
            return ids
        places = shuffled(np.arange(step * special, (step + 1) * special), len(self._focused), self.seed + 1)
        return np.concatenate([self._focused[places], ids])

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's windows of the global batch of `step`.

        Raises:
            ValueError: the batch is not a multiple of `world`.
        """
        if self.batch % world:
            raise ValueError(f"a batch of {self.batch} windows cannot be shared by {world} ranks; choose a multiple")
        share = self.batch // world
        frames, rows = self.gather(self.ids_at(step)[rank * share : (rank + 1) * share])
        features = self.actions.encode(torch.from_numpy(rows))
        return Clip(torch.from_numpy(frames), features, _seed(self.seed, step, rank))

    def gather(
        self, ids: Int64[np.ndarray, "b"]
    ) -> tuple[UInt8[np.ndarray, "b t h w 3"], Float32[np.ndarray, "b n c"]]:
        """Copy windows out of the store: frames and raw action rows."""
        frames = np.empty((len(ids), self.frames, *self.store.frame_size, 3), np.uint8)
        rows = np.empty((len(ids), self.frames - 1, self.store.actions.size), np.float32)
        places = self._places[np.searchsorted(self._ends, ids, side="right")]
        places[:, 1:] += ids[:, None]
        # One copy a window: the rows of a window lie together, and fancy indexing would copy them pixel by pixel.
        for i, (shard, frame, action) in enumerate(places.tolist()):
            frames[i] = self.store.column(shard, "frames")[frame : frame + self.frames]
            rows[i] = self.store.column(shard, "actions")[action : action + self.frames - 1]
        return frames, rows


def focused_windows(store: EpisodeStore, focus: Focus, frames: int, split: str) -> Int64[np.ndarray, "windows"]:
    """Return the numbers of the windows that `focus` asks for.

    Raises:
        ValueError: the store has no such state variable, or no such window.
    """
    if focus.first >= frames:
        raise ValueError(
            f"the focus counts changes from frame {focus.first} of a window on, and windows have {frames} frames; "
            "lower lead or use longer windows"
        )
    unknown = [name for name in (*focus.changes, *focus.avoids) if name not in store.state_names]
    if unknown:
        known = ", ".join(store.state_names) or "none"
        raise ValueError(f"{store.path} has no state variable {', '.join(unknown)}; it has {known}")
    sought = [store.state_names.index(name) for name in focus.changes]
    avoided = [store.state_names.index(name) for name in focus.avoids]
    found: list[np.ndarray] = []
    first = 0  # number of the episode's first window
    for index in store.indices(split):
        windows = store.episodes[index].frames - frames + 1
        if windows < 1:
            continue
        state = store.episode(index).state
        assert state is not None, "a store with state names has states"
        seen = _changes_within(state[:, sought], windows, focus.first, frames)
        spoiled = _changes_within(state[:, avoided], windows, 1, frames)
        found.append(first + np.flatnonzero(seen & ~spoiled))
        first += windows
    ids = np.concatenate(found) if found else np.empty(0, np.int64)
    if len(ids) == 0:
        raise ValueError(f"{', '.join(focus.changes)} never changes in a window of {store.path}; leave out the focus")
    return ids


def _changes_within(
    state: Shaped[np.ndarray, "f v"], windows: int, start: int, stop: int
) -> Bool[np.ndarray, "windows"]:
    """Say for each window whether any variable differs from the frame before at its frames `start` to `stop` - 1."""
    changed = np.zeros(len(state) + 1, np.int64)
    changed[2:] = (state[1:] != state[:-1]).any(1)
    total = np.cumsum(changed)  # total[i]: changes at frames before i
    begins = np.arange(windows)
    return total[begins + stop] > total[begins + start]


def _seed(*counters: int) -> int:
    """Return 63 random bits named by counters."""
    return int(random_bits(*counters)[0] >> np.uint64(1))


def _no_window(store: EpisodeStore, split: str, frames: int) -> str:
    longest = max((store.episodes[i].frames for i in store.indices(split)), default=0)
    if longest == 0:
        return f"{store.path} has no {split} episode; record more episodes or change the validation share"
    return (
        f"no {split} episode of {store.path} holds a window of {frames} frames, the longest has {longest}; "
        "use shorter windows or record longer episodes"
    )
