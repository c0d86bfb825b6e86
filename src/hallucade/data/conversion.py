"""From a foreign episode to episodes of a store: rate, size, and what is left out, the same for every format.

Resampling keeps what an action did: deltas such as mouse movements are summed over the frames that are left out, a
button counts as held if it ever was, a choice keeps its last option, other axes are averaged. Joining keeps all of it
(see `joining`).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.episode import Episode
from hallucade.data.joining import joined_episodes, joined_space
from hallucade.data.source import ForeignEpisode, Picture
from hallucade.shapes import ActionRows, FrameArray

LARGEST = 2**14  # pixels a side
RATE_SLACK = 0.01  # share by which rates may differ and still count as the same: 29.97 is 30
Scaled = UInt8[np.ndarray, "sh sw 3"]


@dataclass(frozen=True, kw_only=True)
class ConversionConfig(Config):
    """What becomes of every foreign episode.

    Raises:
        ValueError: a rate, size or length that no store can have.
    """

    fps: float | None = None  # frames a second to keep, at most the source's; None keeps all; 29.97 counts as 30
    size: tuple[int, int] | None = None  # height, width in pixels; None keeps the source's
    fit: Literal["stretch", "crop", "pad"] = "crop"  # how a picture of another shape becomes `size`
    menus: Literal["cut", "keep"] = "cut"  # frames on which the player is in a menu
    idle: float | None = None  # seconds: what goes beyond, of a time in which nothing is touched, is cut
    shortest: int = 2  # frames; a stretch with fewer is left out
    delay: int = 0  # frames of the source: row i of the actions belongs to frame i + delay; `validate` finds it
    invert: tuple[str, ...] = ()  # axes whose sign is wrong; `validate` finds them
    join: int = 1  # frames: only every so many are kept, and the actions between two of them stand side by side

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps is {self.fps}; it must be positive")
        if self.size is not None and not 1 <= min(self.size) <= max(self.size) <= LARGEST:
            raise ValueError(f"size is {self.size}; give a height and width of 1 to {LARGEST} pixels")
        if self.idle is not None and not self.idle >= 0:
            raise ValueError(f"idle is {self.idle} seconds; use 0 or more")
        if self.shortest < 2:
            raise ValueError(f"shortest is {self.shortest} frames; an episode needs at least 2")
        if self.join < 1:
            raise ValueError(f"join is {self.join} frames; use 1 to keep them all, or more")


@dataclass(frozen=True)
class Converted:
    """The stretches of one foreign episode that are kept, and what happened to the rest."""

    episodes: tuple[Episode, ...]
    notes: tuple[str, ...]


class Conversion:
    """Converts the episodes of one source.

    Args:
        config: what to do.
        actions: of the source.
        fps: of the source.

    Raises:
        ValueError: the source has fewer frames a second than are asked for.
    """

    def __init__(self, config: ConversionConfig, actions: ActionSpace, fps: float) -> None:
        self.config, self._actions, self._signs = (
            config,
            inverted(actions, config.invert),
            _signs(actions, config.invert),
        )
        self._fps = fps if config.fps is None else config.fps  # before joining
        self._ratio = frames_a_frame(fps, self._fps)
        if self._ratio < 1:
            raise ValueError(f"the source has {fps:g} frames a second, fewer than {self._fps:g}; ask for at most those")
        whole = math.ceil(self._ratio - 1e-9)  # frames that one row covers
        self._resampled = self._actions if whole <= 1 else self._actions.over(whole)
        self.fps = self._fps / config.join
        self.actions = self._resampled if config.join == 1 else joined_space(self._resampled, config.join)

    def __call__(self, foreign: ForeignEpisode) -> Converted:
        """Decode, resample, resize and cut one episode.

        Raises:
            SourceError: a frame cannot be decoded.
        """
        foreign = delayed(foreign, self.config.delay)
        kept = kept_frames(len(foreign.actions), self._ratio)
        rows = resampled(self._actions, foreign.actions * self._signs, kept)
        dropped = self._dropped(foreign, rows, kept)
        wanted = np.flatnonzero(~dropped)
        pictures, decoded = self._decode(foreign, kept[wanted])
        notes = [*foreign.notes, *self._notes(foreign, decoded, dropped)]
        places = {int(i): place for place, i in enumerate(wanted[: len(pictures)])}
        stretches = [s for s in _stretches(~dropped, len(pictures), wanted) if len(s) >= self.config.shortest]
        if not stretches:
            notes.append(f"nothing is left: no stretch has {self.config.shortest} frames")
        episodes = (self._episode(foreign, s, kept, rows, pictures[places[s.start] :]) for s in stretches)
        joined = tuple(
            e for episode in episodes for e in self._joined(episode) if len(e.frames) >= self.config.shortest
        )
        if stretches and not joined:
            notes.append(f"nothing is left: no {self.config.shortest} frames lie {self.config.join} apart")
        return Converted(joined, tuple(notes))

    def _dropped(
        self, foreign: ForeignEpisode, rows: ActionRows, kept: Int64[np.ndarray, "f"]
    ) -> Bool[np.ndarray, "f"]:
        """Say which of the kept frames are cut after all: menus, and long times without an action."""
        dropped = np.zeros(len(kept), bool)
        if foreign.menu is not None and self.config.menus == "cut":
            dropped |= np.logical_or.reduceat(foreign.menu, kept)
        if self.config.idle is not None:
            dropped |= _long_idle(rows, self._actions.idle, math.ceil(self.config.idle * self._fps))
        return dropped

    def _decode(self, foreign: ForeignEpisode, wanted: Int64[np.ndarray, "f"]) -> tuple[FrameArray, int]:
        """Return the wanted frames, as far as they are there, and how many frames were decoded."""
        pictures = np.empty((0, 1, 1, 3), np.uint8)
        taken = decoded = 0
        for index, frame in enumerate(foreign.frames()):
            decoded = index + 1
            if taken < len(wanted) and index == wanted[taken]:
                picture = frame if self.config.size is None else resized(frame, self.config.size, self.config.fit)
                if taken == 0:
                    pictures = _room_for(len(wanted), picture)
                pictures[taken] = picture
                taken += 1
            if index >= len(foreign.actions):
                break
        return pictures[:taken], decoded

    def _notes(self, foreign: ForeignEpisode, decoded: int, dropped: Bool[np.ndarray, "f"]) -> Iterator[str]:
        needed = len(foreign.actions) + 1
        if decoded < needed - 1:  # one action more than lead anywhere is how many formats end
            yield f"{needed - 1} actions need {needed} frames and there are {decoded}: the rest is cut"
        if dropped.any():
            yield f"{int(dropped.sum())} of {len(dropped)} frames are cut: menus or nothing touched"

    def _joined(self, episode: Episode) -> Iterator[Episode]:
        if self.config.join == 1:
            return iter((episode,))
        return joined_episodes(self._resampled, episode, self.config.join)

    def _episode(
        self,
        foreign: ForeignEpisode,
        stretch: range,
        kept: Int64[np.ndarray, "f"],
        rows: ActionRows,
        pictures: FrameArray,
    ) -> Episode:
        frames = kept[stretch.start : stretch.stop]
        rewards = foreign.rewards
        if rewards is not None:
            rewards = np.array([rewards[a:b].sum() for a, b in pairwise(frames)], np.float32)
        return Episode(
            np.ascontiguousarray(pictures[: len(stretch)]),
            rows[stretch.start : stretch.stop - 1],
            rewards,
            None if foreign.state is None else foreign.state[frames],
            {name: extra[frames] for name, extra in foreign.extras.items()},
        )


def _room_for(count: int, picture: Picture) -> FrameArray:
    """Return room for all frames of an episode.

    Raises:
        MemoryError: this machine never has so much; taking it all the same would end the process without a word.
    """
    needed, there = count * picture.nbytes, physical_memory()
    if there is not None and needed > there:
        height, width = picture.shape[:2]
        what = f"an episode of {count} frames of {height} x {width} pixels takes {needed / 2**30:.1f} GiB"
        raise MemoryError(f"{what}, this machine has {there / 2**30:.1f}")
    return np.empty((count, *picture.shape), np.uint8)


def physical_memory() -> int | None:
    """Return the bytes of memory of this machine, None where the system does not say."""
    if not hasattr(os, "sysconf") or not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def delayed(foreign: ForeignEpisode, delay: int) -> ForeignEpisode:
    """Return the episode with its rows moved by `delay` frames; what has no partner any more is left out.

    Rewards move with the actions; state, extras and menus belong to frames.
    """
    if delay == 0:
        return foreign
    delay = max(-len(foreign.actions), min(delay, len(foreign.actions)))
    length = len(foreign.actions) - abs(delay)
    rows, frames = slice(max(-delay, 0), max(-delay, 0) + length), slice(max(delay, 0), max(delay, 0) + length + 1)
    return replace(
        foreign,
        frames=lambda: islice(foreign.frames(), frames.start, None),
        actions=foreign.actions[rows],
        rewards=None if foreign.rewards is None else foreign.rewards[rows],
        state=None if foreign.state is None else foreign.state[frames],
        extras={name: extra[frames] for name, extra in foreign.extras.items()},
        menu=None if foreign.menu is None else foreign.menu[frames],
    )


def inverted(actions: ActionSpace, names: tuple[str, ...]) -> ActionSpace:
    """Return the space whose axes of these names point the other way; what they do to the view stays said.

    Raises:
        ValueError: there is no such axis.
    """
    known = [axis.name for axis in actions.axes]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no axis {unknown[0]!r} to invert; there is {', '.join(known) or 'none'}")
    axes = (replace(axis, low=-axis.high, high=-axis.low) if axis.name in names else axis for axis in actions.axes)
    return replace(actions, axes=tuple(axes))


def _signs(actions: ActionSpace, names: tuple[str, ...]) -> Float32[np.ndarray, "c"]:
    return np.array([-1 if name in names else 1 for name in actions.names], np.float32)


def frames_a_frame(source: float, target: float) -> float:
    """Return how many frames of the source go into one of the store: a whole number where rates almost fit."""
    ratio = source / target
    whole = max(round(ratio), 1)
    return float(whole) if abs(ratio / whole - 1) <= RATE_SLACK else ratio


def kept_frames(actions: int, ratio: float) -> Int64[np.ndarray, "f"]:
    """Return which of n + 1 frames are kept when every `ratio`-th is: the nearest to 0, `ratio`, 2 * `ratio`, ...

    `ratio` is at least 1 and need not be whole; the last frame is kept only where it falls on the grid.
    """
    count = math.floor(actions / ratio + 1e-9) + 1
    frames = np.floor(np.arange(count) * ratio + 0.5 - 1e-9).astype(np.int64)
    return frames[frames <= actions]


def resampled(space: ActionSpace, rows: ActionRows, kept: Int64[np.ndarray, "f"]) -> Float32[np.ndarray, "m c"]:
    """Join the rows between each two kept frames into one; see ``ActionSpace.aggregate``."""
    spans = np.diff(kept)
    if len(spans) == 0:
        return np.empty((0, space.size), np.float32)
    if (spans == spans[0]).all():
        whole = rows[: len(spans) * int(spans[0])].reshape(len(spans), int(spans[0]), space.size)
        return whole[:, 0].copy() if spans[0] == 1 else space.aggregate(whole)
    return np.stack([space.aggregate(rows[a:b]) for a, b in pairwise(kept)])


def resized(frame: Picture, size: tuple[int, int], fit: Literal["stretch", "crop", "pad"]) -> Scaled:
    """Return a picture of `size` = height, width: stretched, cut around its centre, or with black bars."""
    height, width = size
    h, w = frame.shape[:2]
    if (h, w) == (height, width):
        return np.array(frame)
    if fit == "stretch":
        return _scaled(frame, height, width)
    scale = (max if fit == "crop" else min)(height / h, width / w)
    if fit == "crop":
        ch, cw = max(1, min(h, round(height / scale))), max(1, min(w, round(width / scale)))
        top, left = (h - ch) // 2, (w - cw) // 2
        return _scaled(frame[top : top + ch, left : left + cw], height, width)
    ih, iw = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    top, left = (height - ih) // 2, (width - iw) // 2
    padded = np.zeros((height, width, 3), np.uint8)
    padded[top : top + ih, left : left + iw] = _scaled(frame, ih, iw)
    return padded


def _scaled(frame: Picture, height: int, width: int) -> Scaled:
    """Scale with antialiasing when a picture shrinks, linearly when it grows."""
    shrinks = height < frame.shape[0] or width < frame.shape[1]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=kind), np.uint8)


def _long_idle(rows: ActionRows, idle: np.ndarray, allowed: int) -> Bool[np.ndarray, "f"]:
    """Say which frames lie deep in a time of untouched controls: `allowed` actions after its start, before its end."""
    dropped = np.zeros(len(rows) + 1, bool)
    still = np.concatenate([[False], (rows == idle).all(1), [False]])
    edges = np.flatnonzero(np.diff(still))
    for start, stop in edges.reshape(-1, 2):  # rows start to stop - 1 are idle
        last = len(rows) + 1 if stop == len(rows) else stop  # the frame at which something is touched again stays
        dropped[start + allowed + 1 : last] = True
    return dropped


def _stretches(keeps: Bool[np.ndarray, "f"], pictures: int, wanted: Int64[np.ndarray, "k"]) -> Iterator[range]:
    """Yield the runs of kept frames whose pictures are there."""
    there = keeps.copy()
    there[wanted[pictures:]] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
    for start, stop in edges.reshape(-1, 2).tolist():
        yield range(start, stop)
