"""A plain folder of videos, each with a table of actions beside it: the way in for a game of one's own.

    SRC/play.yaml                 what the columns mean, see `folder_layout`
    SRC/match_01.mp4 .csv         row i: what is held while frame i is on screen
    SRC/validation/match_02.mp4 .jsonl

Files in a folder named train or validation (val, test), at any depth, are of that split; where there is such a folder
for validation, all other files are for training. Hidden files are left alone.
"""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hallucade.actions import ActionSpace
from hallucade.data.conversion import RATE_SLACK
from hallucade.data.importers.action_table import SUFFIXES, ActionTable, read_table
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.file_tree import files_below
from hallucade.data.importers.folder_layout import FILE, FolderLayout, inferred_layout, load_layout
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import frame_times, probe, video_frames
from hallucade.shapes import ActionRows

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm")
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "validation"}


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
        self._videos = find_videos(self._root)
        self._splits = splits_of(self._videos)
        self._layout = self._read_layout(config.infer)
        self.fps = self._read_fps()
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

    def _read_fps(self) -> float:
        """Return the rate that ``play.yaml`` names, or that of the first video that can be read."""
        if self._layout.fps is not None:
            return self._layout.fps
        *others, last = self._videos.values()
        for file in others:
            with contextlib.suppress(SourceError):
                return probe(file).fps
        return probe(last).fps

    def read(self, name: str) -> ForeignEpisode:
        """Read one video's table; its frames are decoded when they are asked for."""
        video = self._videos[name]
        facts, table = probe(video), read_table(_table_of(video))
        if self._layout.fps is None and abs(facts.fps / self.fps - 1) > RATE_SLACK:
            what = f"it has {facts.fps:g} frames a second, the first video {self.fps:g}"
            remedy = f"say fps in {FILE} if both are meant to have that, or import it into a store of its own"
            raise SourceError(video, what, remedy)
        rows, notes = clipped(self.actions, self._layout.rows(table))
        times = frame_times(video)
        if uneven := unevenly_spaced(times):
            notes.append(f"the video's rate varies: {uneven} of {len(times)} frames come early or late")
        states = [table.numbers(column) for column in self._layout.state]
        state = np.stack(states, 1) if states else None
        rewards = None if self._layout.reward is None else table.numbers(self._layout.reward)
        menu = None if self._layout.menu is None else table.numbers(self._layout.menu) != 0
        if self._layout.time is not None:
            events = table.numbers(self._layout.time)
            starts = times if uneven else np.arange(len(times)) / self.fps
            notes += events_outside(events, float(starts[-1]), table)
            picked = events_of_frames(events, starts, table)
            rows = held(self.actions, rows, events, starts)
            state, menu = (None if c is None else c[picked] for c in (state, menu))
            rewards = None if rewards is None else np.bincount(_frame(events, starts), rewards, len(starts))
        if facts.frames is not None and facts.frames > len(rows) + 1:
            notes.append(f"the video has {facts.frames} frames and the table {len(rows)} rows: the rest is left out")
        last = len(rows) - 1  # its action leads to no frame of which the table knows
        return ForeignEpisode(
            video_frames(video),
            rows[:last],
            None if rewards is None else rewards[:last].astype(np.float32),
            state,
            menu=menu,
            split=self._splits[name],
            notes=tuple(notes),
        )

    def _read_layout(self, infer: bool) -> FolderLayout:
        path = self._root / FILE
        if path.is_file() or not infer:
            if not path.exists():
                if (other := path.with_suffix(".yml")).exists():
                    raise SourceError(path, f"it is missing, and {other.name} is there", "rename that one")
                columns = ", ".join(read_table(_table_of(next(iter(self._videos.values())))).columns)
                remedy = f"write one (the tables have columns {columns}), or try --infer"
                raise SourceError(path, "it is missing, so nobody knows what the columns mean", remedy)
            return load_layout(path)
        return inferred_layout([read_table(_table_of(video)) for video in self._videos.values()])


def find_videos(root: Path) -> dict[str, Path]:
    """Return the videos below a folder by their path without suffix, sorted.

    Raises:
        SourceError: there is no such folder, it holds no video, or two videos go by one name.
    """
    if not root.is_dir():
        what = "this is a file" if root.exists() else "there is no such folder"
        raise SourceError(root, what, "give the folder that holds the videos")
    videos: dict[str, Path] = {}
    for file in files_below(root):
        inner = file.relative_to(root)
        if file.suffix.lower() in VIDEOS and not any(part.startswith(".") for part in inner.parts):
            if other := videos.get(name := str(inner.with_suffix(""))):
                raise SourceError(file, f"{other.name} has the same name, and so the same table", "rename one of them")
            videos[name] = file
    if not videos:
        raise SourceError(root, "there is no video in it", f"put videos there: {', '.join(VIDEOS)}")
    return videos


def held(
    actions: ActionSpace, rows: ActionRows, times: Float64[np.ndarray, "n"], starts: Float64[np.ndarray, "f"]
) -> Float32[np.ndarray, "f c"]:
    """Turn events into one row a frame: what was held at any time of the frame, deltas summed.

    Args:
        actions: what the columns are.
        rows: one an event; it holds until the next one.
        times: of the events, in seconds from the first frame, ascending.
        starts: when each frame appears, in the same seconds.
    """
    delta = [axis.kind == "delta" for axis in actions.axes]
    moves = np.array([False] * (actions.size - len(delta)) + delta)
    edges = np.searchsorted(_frame(times, starts), np.arange(len(starts) + 1))
    current = actions.idle
    result = np.empty((len(starts), actions.size), np.float32)
    for i, start in enumerate(starts):
        events = slice(edges[i], edges[i + 1])
        at_once = edges[i] < edges[i + 1] and times[edges[i]] <= start + 1e-6  # nothing of what was held before
        during = rows[events] if at_once else np.concatenate([current[None], rows[events]])
        result[i] = actions.aggregate(during)
        current = np.where(moves, actions.idle, during[-1])
    return result


def events_of_frames(
    times: Float64[np.ndarray, "n"], starts: Float64[np.ndarray, "f"], table: ActionTable
) -> Int64[np.ndarray, "f"]:
    """Return which event each frame shows: the last one before the frame's end.

    Raises:
        SourceError: the times do not ascend.
    """
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        raise table.error(int(back[0]) + 1, f"time goes back to {times[back[0] + 1]:g}", "sort the file by time")
    return np.clip(np.searchsorted(_frame(times, starts), np.arange(len(starts)), side="right") - 1, 0, None)


def events_outside(times: Float64[np.ndarray, "n"], last: float, table: ActionTable) -> list[str]:
    """Return the note on events that come before the first frame or after the last one, at second `last`.

    Raises:
        SourceError: most do, so the times are not seconds from the first frame.
    """
    outside = (times < 0) | (times > last + 1)
    if outside.sum() > len(times) / 2:
        row = int(outside.argmax())
        what = f"the time is {times[row]:.13g}, and the video's frames come in seconds 0 to {last:g}"
        raise table.error(row, what, "count seconds from the first frame")
    if not outside.any():
        return []
    return [f"{int(outside.sum())} of {len(times)} events come before the first frame or after the last"]


def unevenly_spaced(times: Float64[np.ndarray, "f"]) -> int:
    """Return how many frames come more than half a frame early or late after the one before."""
    gaps = np.diff(times)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    return int((np.abs(gaps - usual) > 0.5 * usual).sum())


def _frame(times: Float64[np.ndarray, "n"], starts: Float64[np.ndarray, "f"]) -> Int64[np.ndarray, "n"]:
    """Return the frame that is on screen at each time."""
    return np.clip(np.searchsorted(starts, times + 1e-6, side="right") - 1, 0, None)


def splits_of(names: Collection[str]) -> dict[str, str | None]:
    """Return the split of each file by the folders that it lies in; None where no folder of any tells."""
    own = {name: _split_of(name) for name in names}
    rest = "train" if "validation" in own.values() else None
    return {name: split or rest for name, split in own.items()}


def _split_of(name: str) -> str | None:
    return next((SPLITS[part.lower()] for part in Path(name).parts[:-1] if part.lower() in SPLITS), None)


def _table_of(video: Path) -> Path:
    for suffix in SUFFIXES:
        for spelling in (suffix, suffix.upper()):
            if (table := video.with_suffix(spelling)).is_file():
                return table
    wanted = ", ".join(video.with_suffix(suffix).name for suffix in SUFFIXES)
    raise SourceError(video, "it has no actions beside it", f"write one of {wanted}")
