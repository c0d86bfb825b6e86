"""Where episodes come from: one protocol for foreign files and for environments that are played.

A `SourceConfig` says so as JSON and builds the `EpisodeSource` in any process, so that episodes can be read side by
side. ``read`` is a pure function of the config and the episode's name: who reads it, and after what, changes nothing.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.shapes import ActionRows

Picture = UInt8[np.ndarray, "h w 3"]
FrameReader = Callable[[], Iterator[Picture]]  # decodes from the first frame on, each time it is called


class SourceError(ValueError):
    """A source that cannot be read: which file, what is wrong in it (with the field), and what to do."""

    def __init__(self, path: str | os.PathLike[str], what: str, remedy: str) -> None:
        super().__init__(f"{os.fspath(path)}: {what}; {remedy}")
        self.path, self.what, self.remedy = Path(path), what, remedy


@dataclass(frozen=True)
class ForeignEpisode:
    """One episode at the source's own rate and size, already in this package's time and camera conventions.

    `frames` is read lazily, because a video of some minutes does not fit into memory at full size. Where it yields
    fewer than n + 1 frames, whoever reads it cuts the rest of the episode and says so.

    Raises:
        ValueError: columns whose lengths do not fit each other.
    """

    frames: FrameReader  # n + 1 frames; row i of `actions` is held while frame i is on screen and leads to frame i + 1
    actions: ActionRows  # n raw rows
    rewards: Float32[np.ndarray, "n"] | None = None
    state: Float64[np.ndarray, "f s"] | None = None  # f = n + 1
    extras: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])  # n + 1 rows each
    menu: Bool[np.ndarray, "f"] | None = None  # f = n + 1: the player is in a menu and not in the game
    split: str | None = None  # "train" or "validation", where the source says so
    seed: int | None = None  # that the game was started from
    notes: tuple[str, ...] = ()  # what a user should know: what was cut, clipped or repaired

    def __post_init__(self) -> None:
        n = len(self.actions)
        wanted = {"rewards": (self.rewards, n), "state": (self.state, n + 1), "menu": (self.menu, n + 1)}
        wanted |= {f"extras[{name!r}]": (extra, n + 1) for name, extra in self.extras.items()}
        for name, (column, length) in wanted.items():
            if column is not None and len(column) != length:
                raise ValueError(f"episode has {n} actions, so {name} needs {length} rows; it has {len(column)}")


@runtime_checkable
class EpisodeSource(Protocol):
    """Episodes that can be read one by one, in any order."""

    @property
    def actions(self) -> ActionSpace:
        """What the players could do, at the source's own rate."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second of the source."""
        ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name a column of `state`; empty if there is none."""
        ...

    @property
    def game(self) -> str | None:
        """Name of the built-in simulator of the same game, if there is one."""
        ...

    @property
    def origin(self) -> str:
        """One line for people: what was played by whom."""
        ...

    @property
    def licence(self) -> str:
        """What others may do with it, as far as the source says."""
        ...

    @property
    def episodes(self) -> Sequence[str]:
        """Every episode's name, in the order in which they are stored."""
        ...

    def read(self, name: str) -> ForeignEpisode:
        """Read one episode.

        Raises:
            SourceError: its files are missing, damaged, or not what the format says.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SourceConfig(Config, ABC):
    """Says where episodes come from."""

    @abstractmethod
    def build(self) -> EpisodeSource:
        """Look at the source without reading its episodes.

        Raises:
            SourceError: it is missing, or is not what it should be.
        """


@dataclass(frozen=True, kw_only=True)
class ImporterConfig(SourceConfig):
    """A foreign format: what `hallucade import` takes, with the format's own options as further fields."""

    format: ClassVar[str]  # the name on the command line
    about: ClassVar[str]  # one line for people: what the format is and which files it has

    path: str  # the file or folder to import

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Say, from names and a few bytes alone, whether `path` is surely of this format."""


def frames_of(frames: UInt8[np.ndarray, "t h w 3"]) -> FrameReader:
    """Return a reader of frames that are in memory, or mapped from the disk."""
    return lambda: iter(frames)
