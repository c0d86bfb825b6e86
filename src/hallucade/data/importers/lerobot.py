"""LeRobot data sets, versions 2.0, 2.1 and 3.0: RT-1 (fractal), PushT and every other robot of that hub.

    SRC/meta/info.json            columns, frames a second, where the files are (see `lerobot_info`)
    SRC/data/...                  Parquet: action, observation.state, timestamp, frame_index, episode_index, ...
    SRC/videos/...                mp4 of each camera; or pictures as PNG bytes in the Parquet files

Row i of an episode holds the observation at i and the action that is taken then: n rows are n frames joined by the
first n - 1 actions.

Source: LeRobotDataset, github.com/huggingface/lerobot.
"""

import importlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from hallucade.actions import ActionSpace, Axis
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.lerobot_facts import FACTS, EpisodeFacts, load_facts
from hallucade.data.importers.lerobot_info import INFO, EpisodeRows, Feature, Info, episodes_of, range_of
from hallucade.data.importers.parquet import ParquetFile, Rows
from hallucade.data.source import ForeignEpisode, FrameReader, ImporterConfig, Picture, SourceError
from hallucade.data.video import REMEDY, probe, video_frames
from hallucade.shapes import ActionRows

HUB = "hf://"
REWARD = "next.reward"
RATE_SLACK = 0.01  # share by which a video's rate may differ from the data set's


@dataclass(frozen=True, kw_only=True)
class LeRobotConfig(ImporterConfig):
    """A LeRobot data set: a folder, or hf://organisation/name.

    Raises:
        ValueError: a tolerance that is not positive.
    """

    format: ClassVar[str] = "lerobot"
    about: ClassVar[str] = "a LeRobot data set, version 2.0, 2.1 or 3.0: a folder with meta/info.json, or hf://ORG/NAME"

    camera: str | None = None  # whose pictures to take; needed where there are several
    action: str = "action"  # the column with the actions
    deltas: tuple[str, ...] = ()  # actions that are movements since the last frame, so that they are summed over frames
    # least and most of an action, by name, in place of what the statistics say
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    state: str | None = "observation.state"  # the column to keep as state, where there is one
    episodes: str | None = None  # which to take: numbers and ranges such as "0:50,61"
    task: str | None = None  # take only episodes whose task has this text in it
    tolerance: float = 0.01  # seconds by which a step between timestamps may be off
    revision: str | None = None  # of a data set on the hub

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"tolerance is {self.tolerance} seconds; it must be positive")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with LeRobot's ``meta/info.json``."""
        try:
            return b'"codebase_version"' in (path / INFO).read_bytes()[:4096]
        except OSError:
            return False

    def build(self) -> "LeRobot":
        """Read the meta folder."""
        return LeRobot(self)


class LeRobot:
    """The episodes of a LeRobot data set, in the order of their numbers."""

    def __init__(self, config: LeRobotConfig) -> None:
        self.config = config
        self._root = _downloaded(config) if config.path.startswith(HUB) else Path(config.path)
        self._info = Info(self._root)
        self._facts = load_facts(self._root)
        self._camera = self._chosen_camera(config.camera)
        self._action = self._feature(config.action, "--action")
        self._episodes = {str(e.index): e for e in self._chosen_episodes(config)}
        self.fps = self._info.fps
        self.state_names = self._state_names()
        self.actions = self._facts.actions if self._facts else self._axes()
        self.game = self._facts.game if self._facts else None
        name = config.path.removeprefix(HUB) if config.path.startswith(HUB) else self._root.resolve().name
        robot = f" of {self._info.robot}" if self._info.robot else ""
        self.origin = f"LeRobot {self._info.version} data set {name}{robot}, camera {self._camera.name}"
        self.licence = self._facts.licence if self._facts else _licence(self._root / "README.md")

    @property
    def episodes(self) -> Sequence[str]:
        """Their numbers."""
        return tuple(self._episodes)

    def _axes(self) -> ActionSpace:
        """Return the actions as the data set names them."""
        names = self._action.names or tuple(f"{self._action.name}_{i}" for i in range(self._action.width))
        unknown = sorted({*self.config.deltas, *self.config.ranges} - set(names))
        if unknown:
            what = f"there is no action {', '.join(unknown)}"
            raise SourceError(self._info.path, what, f"choose among {', '.join(names)}")
        ranges = self.config.ranges
        if not set(names) <= set(ranges):
            ends = zip(*range_of(self._info, self._action), strict=True)
            ranges = {name: _open_range(float(a), float(b)) for name, (a, b) in zip(names, ends, strict=True)} | ranges
        deltas = self.config.deltas
        return ActionSpace(
            axes=tuple(
                Axis(name=name, low=ranges[name][0], high=ranges[name][1], kind="delta" if name in deltas else "value")
                for name in names
            )
        )

    def _state_names(self) -> tuple[str, ...]:
        state = self._state
        if state is None:
            return ()
        names = self._facts.state_names if self._facts else state.names
        return names or tuple(f"state_{i}" for i in range(state.width))

    def read(self, name: str) -> ForeignEpisode:
        """Read one episode's rows; its frames are decoded when they are asked for."""
        episode = self._episodes[name]
        rows = self._rows(episode)
        n = len(rows) - 1  # the last row's action leads to no frame
        actions, notes = self._action_rows(rows)
        facts = self._facts_of(episode)
        columns = self._info.features
        state = self._state
        return ForeignEpisode(
            self._frames(episode, rows),
            actions[:n],
            rows.numbers(REWARD)[:n].astype(np.float32) if REWARD in columns else None,
            rows.numbers(state.name, state.width).astype(np.float64) if state else None,
            self._extras(rows),
            split=facts.split if facts else self._info.split_of(episode.index),
            seed=facts.seed if facts else None,
            notes=(*(facts.notes if facts else ()), *notes),
        )

    @cached_property
    def _state(self) -> Feature | None:
        name = self.config.state
        if name is None or (name == "observation.state" and name not in self._info.features):
            return None
        return self._feature(name, "--state")

    def _facts_of(self, episode: EpisodeRows) -> EpisodeFacts | None:
        if self._facts is None:
            return None
        if episode.index >= len(self._facts.episodes):
            what = f"it knows {len(self._facts.episodes)} episodes and not number {episode.index}"
            raise SourceError(self._root / FACTS, what, "delete it to import what LeRobot's own files say")
        return self._facts.episodes[episode.index]

    def _action_rows(self, rows: Rows) -> tuple[ActionRows, list[str]]:
        values = rows.numbers(self._action.name, self._action.width).astype(np.float32)
        broken = np.flatnonzero(~np.isfinite(values).all(1))
        if len(broken):
            what = f"column {self._action.name!r} is not finite in row {broken[0]} of the episode"
            raise SourceError(rows.path, what, REMEDY)
        return clipped(self.actions, values)

    def _extras(self, rows: Rows) -> dict[str, np.ndarray]:
        shapes = self._facts.extras if self._facts else {}
        extras: dict[str, np.ndarray] = {}
        for name, shape in shapes.items():
            feature = self._feature(f"extras.{name}", f"or delete {FACTS}")
            values = rows.numbers(feature.name, feature.width).astype(feature.dtype)
            extras[name] = values.reshape(len(rows), *shape)
        return extras

    def _rows(self, episode: EpisodeRows) -> Rows:
        """Read and check an episode's rows."""
        file = _opened(episode.data)
        columns = ["timestamp", "frame_index", "episode_index", self._action.name]
        columns += [REWARD] if REWARD in self._info.features else []
        columns += [self._state.name] if self._state else []
        columns += [self._camera.name] if self._camera.dtype == "image" else []
        columns += [f"extras.{name}" for name in (self._facts.extras if self._facts else {})]
        rows = file.rows(columns, episode.start, episode.stop)
        self._check(episode, rows)
        return rows

    def _check(self, episode: EpisodeRows, rows: Rows) -> None:
        if len(rows) != episode.length or len(rows) < 2:
            what = f"episode {episode.index} has {len(rows)} rows here and {episode.length} in the list of episodes"
            raise SourceError(rows.path, what, f"at least 2, and as many as listed, are needed; {REMEDY}")
        numbers = rows.numbers("episode_index")
        strangers = numbers[numbers != episode.index]
        if len(strangers):
            what = f"rows of episode {episode.index} have episode_index {strangers[0]}"
            raise SourceError(rows.path, what, f"the files do not belong together; {REMEDY}")
        if not np.array_equal(rows.numbers("frame_index"), np.arange(len(rows))):
            what = f"frame_index of episode {episode.index} does not count from 0 to {len(rows) - 1}"
            raise SourceError(rows.path, what, f"rows are missing or out of order; {REMEDY}")
        times = rows.numbers("timestamp").astype(np.float64)
        off = np.abs(np.diff(times) - 1 / self.fps)
        if not off.max() <= self.config.tolerance:
            worst = int(np.nanargmax(off)) if not np.isnan(off).all() else 0
            what = (
                f"timestamp of episode {episode.index} goes from {times[worst]:g} to {times[worst + 1]:g} s "
                f"at {self.fps:g} frames a second"
            )
            raise SourceError(rows.path, what, f"allow it with --tolerance {off[worst] * 1.01:.3g}, or leave it out")

    def _frames(self, episode: EpisodeRows, rows: Rows) -> FrameReader:
        if self._camera.dtype == "image":
            return partial(_images, rows, self._camera.name, self._root)
        file, start = episode.videos[self._camera.name]
        fps = probe(file).fps
        if abs(fps / self.fps - 1) > RATE_SLACK:
            what = f"the video has {fps:g} frames a second and {INFO} says {self.fps:g}"
            raise SourceError(file, what, f"the files do not belong together; {REMEDY}")
        stop = None if start is None else start + len(rows) / self.fps
        return partial(_counted, video_frames(file, start or 0.0, stop), file, episode)

    def _chosen_camera(self, name: str | None) -> Feature:
        cameras = self._info.cameras
        if name is None and len(cameras) == 1:
            return self._info.features[cameras[0]]
        if name in cameras:
            return self._info.features[name]
        what = "it has no camera" if not cameras else f"it has cameras {', '.join(cameras)}"
        what += f" and none named {name!r}" if name else ""
        raise SourceError(self._info.path, what, "choose one: --camera NAME" if cameras else "choose another data set")

    def _chosen_episodes(self, config: LeRobotConfig) -> Iterator[EpisodeRows]:
        wanted = None if config.episodes is None else _numbers(config.episodes)
        for episode in episodes_of(self._info):
            if wanted is not None and not any(episode.index in part for part in wanted):
                continue
            if config.task is None or any(config.task.lower() in task.lower() for task in episode.tasks):
                yield episode

    def _feature(self, name: str, option: str) -> Feature:
        features = self._info.features
        if name not in features:
            numeric = [f.name for f in features.values() if f.dtype not in ("video", "image", "string")]
            what = f"it has no column {name!r}; there are {', '.join(numeric)}"
            raise SourceError(self._info.path, what, f"name one of them: {option}")
        return features[name]


@lru_cache(4)
def _opened(path: Path) -> ParquetFile:
    return ParquetFile(path)


def _counted(frames: Callable[[], Iterator[Picture]], file: Path, episode: EpisodeRows) -> Iterator[Picture]:
    """Yield one picture a row.

    Raises:
        SourceError: there are fewer.
    """
    found = 0
    for frame in islice(frames(), episode.length):
        yield frame
        found += 1
    if found < episode.length:
        what = f"episode {episode.index} has {episode.length} rows and only {found} frames in it"
        raise SourceError(file, what, REMEDY)


def _images(rows: Rows, column: str, root: Path) -> Iterator[Picture]:
    """Yield the pictures that are in the table itself, or beside it in files of their own."""
    for number, cell in enumerate(rows.objects(column)):
        try:
            data = cell["bytes"]
            picture = Image.open(io.BytesIO(data) if data is not None else root / cell["path"])
            yield np.array(picture.convert("RGB"), np.uint8)
        except (TypeError, KeyError, UnidentifiedImageError, OSError) as error:
            what = f"column {column!r} has no picture in row {number} of the episode ({error})"
            raise SourceError(rows.path, what, REMEDY) from error


def _open_range(low: float, high: float) -> tuple[float, float]:
    """Return a range that holds two values; what never moves gets room of one on either side."""
    return (low, high) if low < high else (low - 1, high + 1)


def _numbers(text: str) -> list[range]:
    """Parse "0:50,61".

    Raises:
        ValueError: it is no such list.
    """
    try:
        parts = [part.partition(":") for part in text.split(",")]
        return [range(int(first), int(last) if colon else int(first) + 1) for first, colon, last in parts]
    except ValueError:
        raise ValueError(f"episodes is {text!r}; write numbers and ranges such as 0:50,61") from None


def _licence(readme: Path) -> str:
    """Return what the head of the data card says."""
    try:
        found = re.search(r"(?m)\A---\n(?:.*\n)*?license:\s*(\S+)", readme.read_text("utf-8", errors="replace")[:4096])
    except OSError:
        return "not said"
    return found[1] if found else "not said"


def _downloaded(config: LeRobotConfig) -> Path:
    """Return the folder of a data set of the hub, with all but the pictures of other cameras."""
    repository = config.path.removeprefix(HUB).removeprefix("datasets/")
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        remedy = "pip install huggingface_hub, or download the data set and give its folder"
        raise SourceError(config.path, "reading from the hub needs huggingface_hub", remedy) from error
    videos = f"videos/*{config.camera}/*" if config.camera else "videos/*"
    patterns = ["meta/*", "data/*", "README.md", videos]
    try:
        folder = hub.snapshot_download(
            repository, repo_type="dataset", revision=config.revision, allow_patterns=patterns
        )
    except (OSError, ValueError) as error:
        what = f"the hub does not give it ({str(error).splitlines()[0]})"
        raise SourceError(config.path, what, "check the name and the network, or give a folder") from error
    return Path(folder)
