"""A plain folder of videos, each with a table of actions beside it: the way in for a game of one's own.

    SRC/play.yaml                 what the columns mean, see `folder_layout`
    SRC/match_01.mp4 .csv         row i: what is held while frame i is on screen
    SRC/validation/match_02.mp4 .jsonl

Files in a folder named train or validation (val, test) are of that split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from hallucade.actions import ActionSpace
from hallucade.data.importers.action_table import SUFFIXES, ActionTable, read_table
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.folder_layout import FILE, FolderLayout, inferred_layout, load_layout
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import probe, video_frames
from hallucade.shapes import ActionRows

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "validation"}
RATE_SLACK = 0.01  # share by which the rates of videos may differ


@dataclass(frozen=True, kw_only=True)
class FolderConfig(ImporterConfig):
    """Videos with CSV or JSON tables of actions."""

    format: ClassVar[str] = "folder"
    about: ClassVar[str] = f"videos with a .csv, .jsonl or .json of actions each, and {FILE} that says what they mean"

    infer: bool = False  # without play.yaml: columns of 0 and 1 are buttons, other columns axes

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with a ``play.yaml``."""
        return (path / FILE).is_file()

    def build(self) -> "Folder":
        """Pair the files and read ``play.yaml``."""
        return Folder(self)


class Folder:
    """The episodes of such a folder, one a video."""

    state_names: tuple[str, ...]
    game = None

    def __init__(self, config: FolderConfig) -> None:
        self._root = Path(config.path)
        if not self._root.is_dir():
            raise SourceError(self._root, "there is no such folder", "check the path")
        files = sorted(file for file in self._root.rglob("*") if file.suffix.lower() in VIDEOS and file.is_file())
        if not files:
            raise SourceError(self._root, "there is no video in it", f"put videos there: {', '.join(VIDEOS)}")
        self._videos = {str(file.relative_to(self._root).with_suffix("")): file for file in files}
        self._layout = self._read_layout(config.infer)
        self.state_names = self._layout.state
        self.origin = f"videos with actions in {self._root.name}"
        self.licence = self._layout.licence

    @property
    def actions(self) -> ActionSpace:
        """The controls of ``play.yaml``."""
        return self._layout.actions

    @property
    def episodes(self) -> Sequence[str]:
        """The videos' names without suffix, sorted."""
        return tuple(self._videos)

    @cached_property
    def fps(self) -> float:
        """The rate that ``play.yaml`` names, or that of the first video that can be read."""
        if self._layout.fps is not None:
            return self._layout.fps
        for file in self._videos.values():
            try:
                return probe(file).fps
            except SourceError as error:
                first = error
        raise first

    def read(self, name: str) -> ForeignEpisode:
        """Read one video's table; its frames are decoded when they are asked for."""
        video = self._videos[name]
        table, facts = read_table(_table_of(video)), probe(video)
        if self._layout.fps is None and abs(facts.fps / self.fps - 1) > RATE_SLACK:
            what = f"it has {facts.fps:g} frames a second, the first video {self.fps:g}"
            raise SourceError(video, what, f"convert it, or say fps in {FILE} if the header is wrong")
        rows, notes = clipped(self.actions, self._layout.rows(table))
        states = [table.numbers(column) for column in self._layout.state]
        state = np.stack(states, 1) if states else None
        rewards = None if self._layout.reward is None else table.numbers(self._layout.reward)
        menu = None if self._layout.menu is None else table.numbers(self._layout.menu) != 0
        if self._layout.time is not None:
            events = table.numbers(self._layout.time)
            count = facts.frames or int(events[-1] * self.fps) + 1
            picked = frames_of_events(events, count, self.fps, table)
            rows = held(self.actions, rows, events, count, self.fps)
            state, menu = (None if c is None else c[picked] for c in (state, menu))
            rewards = None if rewards is None else np.bincount(_frame(events, self.fps, count), rewards, count)
        if facts.frames is not None and facts.frames > len(rows) + 1:
            notes.append(f"the video has {facts.frames} frames and the table {len(rows)} rows: the rest is left out")
        last = len(rows) - 1  # its action leads to no frame of which the table knows
        return ForeignEpisode(
            video_frames(video),
            rows[:last],
            None if rewards is None else rewards[:last].astype(np.float32),
            state,
            menu=menu,
            split=SPLITS.get(Path(name).parts[0]) if len(Path(name).parts) > 1 else None,
            notes=tuple(notes),
        )

    def _read_layout(self, infer: bool) -> FolderLayout:
        path = self._root / FILE
        if path.is_file() or not infer:
            if not path.exists():
                columns = ", ".join(read_table(_table_of(next(iter(self._videos.values())))).columns)
                remedy = f"write one (the tables have columns {columns}), or try --infer"
                raise SourceError(path, "it is missing, so nobody knows what the columns mean", remedy)
            return load_layout(path)
        return inferred_layout([read_table(_table_of(video)) for video in self._videos.values()])


def held(
    actions: ActionSpace, rows: ActionRows, times: Float64[np.ndarray, "n"], frames: int, fps: float
) -> Float32[np.ndarray, "frames c"]:
    """Turn events into one row a frame: what was held at any time of the frame, deltas summed.

    Args:
        actions: what the columns are.
        rows: one an event; it holds until the next one.
        times: of the events, in seconds from the first frame, ascending.
        frames: how many.
        fps: frames a second.
    """
    delta = [axis.kind == "delta" for axis in actions.axes]
    moves = np.array([False] * (actions.size - len(delta)) + delta)
    edges = np.searchsorted(_frame(times, fps, frames), np.arange(frames + 1))
    current = actions.idle
    result = np.empty((frames, actions.size), np.float32)
    for i in range(frames):
        events = slice(edges[i], edges[i + 1])
        at_once = edges[i] < edges[i + 1] and times[edges[i]] * fps <= i + 1e-6  # nothing of what was held before
        during = rows[events] if at_once else np.concatenate([current[None], rows[events]])
        result[i] = actions.aggregate(during)
        current = np.where(moves, actions.idle, during[-1])
    return result


def frames_of_events(times: Float64[np.ndarray, "n"], frames: int, fps: float, table: ActionTable) -> np.ndarray:
    """Return which event each frame shows: the last one before the frame's end.

    Raises:
        SourceError: the times do not ascend.
    """
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        raise table.error(int(back[0]) + 1, f"time goes back to {times[back[0] + 1]:g}", "sort the file by time")
    return np.clip(np.searchsorted(_frame(times, fps, frames), np.arange(frames), side="right") - 1, 0, None)


def _frame(times: Float64[np.ndarray, "n"], fps: float, frames: int) -> np.ndarray:
    """Return the frame that is on screen at each time."""
    return np.clip(np.floor(times * fps + 1e-6), 0, frames - 1).astype(np.int64)


def _table_of(video: Path) -> Path:
    for suffix in SUFFIXES:
        if (table := video.with_suffix(suffix)).is_file():
            return table
    wanted = ", ".join(video.with_suffix(suffix).name for suffix in SUFFIXES)
    raise SourceError(video, "it has no actions beside it", f"write one of {wanted}")
