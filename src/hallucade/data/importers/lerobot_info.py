"""The meta folder of a LeRobot data set: ``info.json``, statistics and the list of episodes of v2.0, v2.1 and v3.0.

v2.x keeps one Parquet file and one video an episode and lists episodes in ``meta/episodes.jsonl``; v3.0 packs many
episodes into each file and says in ``meta/episodes/*/*.parquet`` which rows and which seconds are whose.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from hallucade.data.importers.foreign_json import ForeignModel, parse_json, read_bytes
from hallucade.data.importers.parquet import ParquetFile
from hallucade.data.source import SourceError
from hallucade.data.video import REMEDY

INFO = Path("meta/info.json")
VERSIONS = ("v2.0", "v2.1", "v3.0")


class _FeatureSpec(ForeignModel):
    dtype: str
    shape: tuple[int, ...]
    names: Any = None  # a list, or lists in a table
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None  # before v2.1


class _InfoFile(ForeignModel):
    codebase_version: str
    robot_type: str | None = None
    fps: float = Field(gt=0)
    features: dict[str, _FeatureSpec]
    data_path: str
    video_path: str | None = None
    chunks_size: int = Field(gt=0)
    splits: dict[str, str] = Field(default_factory=dict[str, str])


class _EpisodeLine(ForeignModel):
    episode_index: int = Field(ge=0)
    length: int = Field(ge=0)
    tasks: tuple[str, ...] = ()


class _StatsFile(ForeignModel):
    stats: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Feature:
    """One column of a data set, as ``info.json`` declares it."""

    name: str
    dtype: str  # of numpy, or "video" or "image"
    shape: tuple[int, ...]
    names: tuple[str, ...]  # of the numbers of a row; empty where the data set has none that fit
    depth: bool  # a map of distances and no picture

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class EpisodeRows:
    """Where an episode lies: its rows in `data`, one a frame, and its pictures in `videos`."""

    index: int
    data: Path
    start: int  # row of the file
    stop: int | None  # None for the whole file
    length: int  # rows, as listed
    tasks: tuple[str, ...]
    videos: Mapping[str, tuple[Path, float | None]]  # by camera: the file; the second of its first frame, None for all


class Info:
    """``meta/info.json``.

    Raises:
        SourceError: it is missing or damaged, or of another version.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / INFO
        if not root.is_dir():
            raise SourceError(root, "there is no such folder", "check the path")
        self._file = parse_json(_InfoFile, read_bytes(self.path), self.path)
        self.version, self.robot = self._file.codebase_version, self._file.robot_type
        self.fps, self.chunk = self._file.fps, self._file.chunks_size
        if self.version not in VERSIONS:
            remedy = "convert it with LeRobot's own scripts: this reads " + ", ".join(VERSIONS)
            raise SourceError(self.path, f"codebase_version is {self.version!r}", remedy)
        self.features = {name: _feature(name, spec) for name, spec in self._file.features.items()}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Columns with pictures."""
        return tuple(f.name for f in self.features.values() if f.dtype in ("video", "image") and not f.depth)

    def split_of(self, episode: int) -> str | None:
        """Return "train" or "validation", or None where the data set does not tell them apart."""
        if len(self._splits) < 2:
            return None
        names = [name for name, part in self._splits.items() if episode in part]
        return "train" if not names or names[0] == "train" else "validation"

    def data_file(self, **place: int) -> Path:
        """Return the Parquet file of an episode or of a number of them."""
        return self._filled("data_path", self._file.data_path, place)

    def video_file(self, camera: str, **place: int) -> Path:
        """Return the video of an episode or of a number of them."""
        return self._filled("video_path", self._file.video_path or "", {"video_key": camera, **place})

    def _filled(self, key: str, template: str, values: Mapping[str, str | int]) -> Path:
        try:
            path = PurePosixPath(template.format(**values))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            what = f"{key} is {template!r}, which cannot be filled in ({error!r})"
            raise SourceError(self.path, what, REMEDY) from error
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise SourceError(self.path, f"{key} is {template!r}, which is no file of the data set", "do not trust it")
        return self.root / path

    @cached_property
    def _splits(self) -> dict[str, range]:
        try:
            return {name: range(*map(int, text.split(":"))) for name, text in self._file.splits.items()}
        except (ValueError, TypeError) as error:
            remedy = 'write ranges such as {"train": "0:90", "val": "90:100"}'
            raise SourceError(self.path, f"splits is {self._file.splits}", remedy) from error


def episodes_of(info: Info) -> list[EpisodeRows]:
    """Return every episode of a data set, by number.

    Raises:
        SourceError: the list of episodes is missing, damaged, or names one twice.
    """
    found = sorted(_packed(info) if info.version == "v3.0" else _separate(info), key=lambda episode: episode.index)
    for before, after in pairwise(found):
        if before.index == after.index:
            raise SourceError(info.root / "meta", f"episode_index {after.index} is listed twice", REMEDY)
    return found


def range_of(info: Info, feature: Feature) -> tuple[Float64[np.ndarray, "w"], Float64[np.ndarray, "w"]]:
    """Return the lowest and the highest value of each number of a column, from the data set's statistics.

    Raises:
        SourceError: there are none of this column.
    """
    remedy = "give a range for each action: --ranges NAME LOW HIGH ..."
    path = info.root / "meta/episodes_stats.jsonl"
    if info.version == "v2.1" and path.exists():
        tables = [parse_json(_StatsFile, text, path, f"line {i}: ").stats for i, text in _lines(path)]
    else:
        path = info.root / "meta/stats.json"
        tables = [parse_json(_StatsFile, b'{"stats":' + read_bytes(path) + b"}", path).stats]
    try:
        low = np.min([np.ravel(np.asarray(stats[feature.name]["min"], np.float64)) for stats in tables], axis=0)
        high = np.max([np.ravel(np.asarray(stats[feature.name]["max"], np.float64)) for stats in tables], axis=0)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(path, f"it has no min and max of {feature.name!r}", remedy) from error
    if low.shape != (feature.width,) or high.shape != low.shape or not np.isfinite([low, high]).all():
        raise SourceError(path, f"min and max of {feature.name!r} are no {feature.width} finite numbers", remedy)
    return low, high


def _separate(info: Info) -> Iterator[EpisodeRows]:
    """Yield the episodes of v2.x: one file each."""
    cameras = [f.name for f in info.features.values() if f.dtype == "video"]
    path = info.root / "meta/episodes.jsonl"
    for number, text in _lines(path):
        line = parse_json(_EpisodeLine, text, path, f"line {number}: ")
        index = line.episode_index
        place = {"episode_chunk": index // info.chunk, "episode_index": index}
        videos = {key: (info.video_file(key, **place), None) for key in cameras}
        yield EpisodeRows(index, info.data_file(**place), 0, None, line.length, line.tasks, videos)


def _packed(info: Info) -> Iterator[EpisodeRows]:
    """Yield the episodes of v3.0: many a file."""
    cameras = [f.name for f in info.features.values() if f.dtype == "video"]
    columns = _episode_table(info, cameras)
    places = list(zip(columns["data/chunk_index"], columns["data/file_index"], strict=True))
    first: dict[tuple[int, int], int] = {}  # rows of the data set before each file
    for place, start in zip(places, columns["dataset_from_index"], strict=True):
        first[place] = min(start, first.get(place, start))
    for row, (chunk, number) in enumerate(places):
        one = {name: values[row] for name, values in columns.items()}
        start, length = int(one["dataset_from_index"]) - first[chunk, number], int(one["length"])
        data = info.data_file(chunk_index=int(chunk), file_index=int(number))
        videos = {key: _video(info, key, one) for key in cameras}
        tasks = tuple(str(task) for task in one["tasks"] or ())
        yield EpisodeRows(int(one["episode_index"]), data, start, start + length, length, tasks, videos)


def _episode_table(info: Info, cameras: Sequence[str]) -> dict[str, list[Any]]:
    folder = info.root / "meta/episodes"
    files = sorted(folder.glob("*/*.parquet"))
    if not files:
        raise SourceError(folder, "there is no list of episodes (chunk-000/file-000.parquet)", REMEDY)
    numbers = ["episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index"]
    numbers += [f"videos/{key}/{part}" for key in cameras for part in ("chunk_index", "file_index", "from_timestamp")]
    table: dict[str, list[Any]] = {name: [] for name in [*numbers, "tasks"]}
    for path in files:
        rows = ParquetFile(path).rows(tuple(table))
        table["tasks"] += rows.objects("tasks")
        for name in numbers:
            table[name] += rows.numbers(name).tolist()
    return table


def _video(info: Info, camera: str, one: Mapping[str, Any]) -> tuple[Path, float]:
    chunk, number = int(one[f"videos/{camera}/chunk_index"]), int(one[f"videos/{camera}/file_index"])
    return info.video_file(camera, chunk_index=chunk, file_index=number), float(one[f"videos/{camera}/from_timestamp"])


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    return ((i, text) for i, text in enumerate(read_bytes(path).splitlines(), 1) if text.strip())


def _feature(name: str, spec: _FeatureSpec) -> Feature:
    facts = {**(spec.video_info or {}), **(spec.info or {})}
    depth = bool(facts.get("is_depth_map") or facts.get("video.is_depth_map"))
    return Feature(name, spec.dtype, spec.shape, _names(spec.names, math.prod(spec.shape)), depth)


def _names(found: Any, width: int) -> tuple[str, ...]:
    """Return one unique name a number, or none: found are lists, and lists in a table such as {"motors": [...]}."""
    if isinstance(found, Mapping):
        found = [name for names in cast("Mapping[str, Any]", found).values() for name in _listed(names)]
    names = [str(name) for name in _listed(found)]
    return tuple(_unique(names)) if len(names) == width else ()


def _listed(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else []


def _unique(names: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        others = (f"{name}_{i}" for i in count(2))
        unique = name if name not in seen else next(other for other in others if other not in seen)
        seen.add(unique)
        yield unique
