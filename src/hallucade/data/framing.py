"""Framing: how recorded play is shown to a model, its pictures at another size and only every so many of them.

A store stays as it was recorded. What a player did between two pictures that are shown is joined by
``ActionSpace.aggregate``: deltas are summed, a button counts as held if it ever was.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from hallucade.actions import ActionSpace
from hallucade.data.conversion import LARGEST, RATE_SLACK, resized
from hallucade.data.episode import Episode


@runtime_checkable
class Play(Protocol):
    """What is recorded: a store, a mixture, or what a run remembers of one."""

    @property
    def actions(self) -> ActionSpace:
        """What players could do."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...


@dataclass(frozen=True)
class Framing:
    """Pictures of one size, with `stride` recorded frames from each to the next.

    Raises:
        ValueError: no picture has such a size, or the stride is below 1.
    """

    size: tuple[int, int] | None = None  # height, width in pixels, stretched to; None: as recorded
    stride: int = 1  # recorded frames

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride} frames; use 1 to show them all, or more")

    @classmethod
    def of(cls, play: Play, size: tuple[int, int] | None = None, fps: float | None = None) -> "Framing":
        """Return how to show `play` at this size and rate; None is as it was recorded.

        Raises:
            ValueError: the rate does not divide that of the recording.
        """
        stride = 1 if fps is None else frames_between(play.fps, fps)
        return cls(None if size == play.frame_size else size, stride)

    def span(self, frames: int) -> int:
        """Return how many recorded frames the shown ones reach over, both ends included."""
        return (frames - 1) * self.stride + 1

    def pictures(self, frames: Shaped[np.ndarray, "b span ..."]) -> Shaped[np.ndarray, "b t ..."]:
        """Return what is shown of windows that were read: frames `b t h w 3`, or latents, which keep their size."""
        shown = frames[:, :: self.stride]
        if self.size is None or shown.shape[2:4] == self.size:
            return shown
        return np.stack([_scaled(window, self.size) for window in shown])

    def rows(self, rows: Float32[np.ndarray, "b recorded c"], actions: ActionSpace) -> Float32[np.ndarray, "b n c"]:
        """Join the recorded action rows of each step from one shown frame to the next."""
        if self.stride == 1:
            return rows
        steps = rows.shape[1] // self.stride
        return actions.aggregate(rows.reshape(len(rows), steps, self.stride, rows.shape[2]))

    def episode(self, episode: Episode, actions: ActionSpace) -> Episode:
        """Return an episode as it is shown; its last frames are left out where they fill no step."""
        if self == AS_RECORDED:
            return episode
        steps = len(episode.actions) // self.stride
        recorded, shown = steps * self.stride, slice(0, steps * self.stride + 1, self.stride)
        rewards = episode.rewards
        if rewards is not None:
            rewards = rewards[:recorded].reshape(steps, self.stride).sum(1, dtype=np.float32)
        return Episode(
            self.pictures(np.asarray(episode.frames)[None, : recorded + 1])[0],
            self.rows(np.asarray(episode.actions)[None, :recorded], actions)[0],
            rewards,
            None if episode.state is None else episode.state[shown],
            {name: extra[shown] for name, extra in episode.extras.items()},
        )


def frames_between(recorded: float, shown: float) -> int:
    """Return how many frames of a recording go into one that is shown, both rates in frames a second.

    Raises:
        ValueError: the rate does not divide that of the recording, within a hundredth: 29.97 is 30.
    """
    stride = max(round(recorded / shown), 1) if shown > 0 else 1
    if not shown > 0 or abs(recorded / shown / stride - 1) > RATE_SLACK:
        rates = ", ".join(f"{recorded / n:g}" for n in (1, 2, 3, 4))
        raise ValueError(f"fps is {shown:g} and the play has {recorded:g} frames a second; use a whole part: {rates}")
    return stride


def check_size(size: tuple[int, int] | None) -> None:
    """Refuse a height and width that no picture has.

    Raises:
        ValueError: names them.
    """
    if size is not None and not 1 <= min(size) <= max(size) <= LARGEST:
        raise ValueError(f"size is {size}; give a height and width of 1 to {LARGEST} pixels")


def _scaled(window: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "t sh sw 3"]:
    return np.stack([resized(frame, size, "stretch") for frame in window])


AS_RECORDED = Framing()
