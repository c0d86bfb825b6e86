"""From an episode store to a LeRobot v3.0 data set, which LeRobot's library, its viewer and its policies read.

    PATH/meta/info.json, stats.json, tasks.parquet, hallucade.json
    PATH/meta/episodes/chunk-000/file-000.parquet     which rows and seconds are whose
    PATH/data/chunk-000/file-000.parquet              action, observation.state, next.reward, ...
    PATH/videos/observation.images.screen/chunk-000/file-000.mp4

A LeRobot row holds a frame and the action that is taken then, so n + 1 frames become n + 1 rows; the last frame's
action, of which a store knows nothing, is the idle one. Episodes for training come first, then those for validation,
as LeRobot's splits are ranges. Each file holds many episodes, up to a size.

Source: LeRobotDataset v3.0, github.com/huggingface/lerobot.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from av.error import FFmpegError

from hallucade.config import Config
from hallucade.data.episode import Episode
from hallucade.data.exporters.feature_stats import Stats, joined_stats, number_stats, picture_stats
from hallucade.data.exporters.film import Film, pixel_format
from hallucade.data.importers.lerobot_facts import FACTS, EpisodeFacts, StoreFacts
from hallucade.data.importers.parquet import pyarrow
from hallucade.data.manifest import StoreError
from hallucade.data.store import EpisodeStore

VERSION = "v3.0"
CAMERA = "observation.images.screen"
FILES = 1000  # in a chunk's folder
BATCH = 200  # episodes of whose list the rows are written at once
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
# LeRobot looks tasks up by their words: what pandas takes for the index of the table, it learns from the schema.
INDEXED = {
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ],
}
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


@dataclass(frozen=True, kw_only=True)
class LeRobotExportConfig(Config):
    """How a store becomes a LeRobot data set.

    Raises:
        ValueError: a quality or a size that no file can have.
    """

    pictures: Literal["video", "png"] = "video"  # H.264 is small; PNG in the Parquet files is exact
    crf: int = 18  # quality of the video, 0 (large) to 51 (coarse)
    task: str | None = None  # what was to be done, in words; by default "play" and the game's name
    data_megabytes: int = 100  # of a Parquet file, at most
    video_megabytes: int = 200  # of a video, at most

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf is {self.crf}; use 0 (large) to 51 (coarse)")
        if min(self.data_megabytes, self.video_megabytes) < 1:
            raise ValueError(f"files of {self.data_megabytes} and {self.video_megabytes} megabytes; use at least 1")


def export_lerobot(
    store: EpisodeStore,
    path: str | os.PathLike[str],
    config: LeRobotExportConfig = LeRobotExportConfig(),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a store as a LeRobot v3.0 data set and return its folder.

    Args:
        store: to export, with at least one episode.
        path: a folder that is absent or empty; it is there only when all is written.
        config: pictures and file sizes.
        progress: called with (episodes written, episodes).

    Raises:
        StoreError: the folder is not empty, or the disk is full; nothing is left behind.
        ValueError: the store has no episode.
        ValueError: pyarrow is not installed.
    """
    target = Path(path)
    pyarrow()
    if len(store) == 0:
        raise ValueError(f"{store.path} has no episode; record or import some first")
    part = target.absolute().with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StoreError(target, "the folder is not empty", "choose another one")
        part.mkdir(parents=True)
        with _Export(store, part, config) as export:
            export.run(progress)
        if target.exists():
            target.rmdir()
        part.rename(target)
    except (OSError, FFmpegError) as error:
        remedy = "free some space or choose another folder; nothing was left behind"
        raise StoreError(target, f"cannot write there ({error.strerror or error})", remedy) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


class _Export:
    """One data set that is being written."""

    def __init__(self, store: EpisodeStore, root: Path, config: LeRobotExportConfig) -> None:
        self._store, self._root, self._config = store, root, config
        self._order = sorted(range(len(store)), key=lambda i: store.episodes[i].split != "train")
        self._features = _features(store, config)
        self._data = _Tables(root, DATA_PATH, config.data_megabytes << 20)
        self._list = _Tables(root, EPISODES_PATH, config.data_megabytes << 20)
        self._films = _Films(root, store, config)
        self._stats: list[dict[str, Stats]] = []
        game = store.game or ""
        self._task = config.task or f"play {game}".strip()

    def __enter__(self) -> "_Export":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:  # the files are thrown away: errors of closing them would hide the first one
            for files in (self._data, self._list, self._films):
                files.abandon()

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Write everything."""
        waiting: list[dict[str, Any]] = []
        first = 0
        for number, index in enumerate(self._order):
            waiting.append(self._episode(number, first, self._store.episode(index)))
            first += waiting[-1]["length"]
            if len(waiting) == BATCH or number == len(self._order) - 1:
                self._write_list(waiting)
                waiting = []
            if progress is not None:
                progress(number + 1, len(self._order))
        for files in (self._data, self._list, self._films):
            files.close()
        self._write_meta(first)

    def _episode(self, number: int, first: int, episode: Episode) -> dict[str, Any]:
        """Write one episode's rows and frames; return its line of the list."""
        n = len(episode.frames)
        columns = _columns(episode, self._store, number, first)
        stats = {name: number_stats(np.asarray(column).reshape(n, -1)) for name, column in columns.items()}
        stats[CAMERA] = picture_stats(episode.frames)
        self._stats.append(stats)
        line: dict[str, Any] = {"episode_index": number, "tasks": [self._task], "length": n}
        pictures: list[bytes] | None = None
        if self._config.pictures == "video":
            line |= self._films.append(episode)
        else:
            pictures = [_png(frame) for frame in episode.frames]
        chunk, file = self._data.append(_table(columns, self._features, pictures))
        line |= {"data/chunk_index": chunk, "data/file_index": file}
        line |= {"dataset_from_index": first, "dataset_to_index": first + n}
        return line | {f"stats/{name}/{key}": v.tolist() for name, s in stats.items() for key, v in s.items()}

    def _write_list(self, lines: Sequence[Mapping[str, Any]]) -> None:
        arrow = pyarrow()
        chunk, file = self._list.next_place(arrow.Table.from_pylist(list(lines)).nbytes)
        place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        self._list.append(arrow.Table.from_pylist([{**line, **place} for line in lines]))

    def _write_meta(self, frames: int) -> None:
        arrow, store, meta = pyarrow(), self._store, self._root / "meta"
        train, total = len(store.indices("train")), len(store)
        splits = {"train": f"0:{train}", "validation": f"{train}:{total}"}
        info = {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": total,
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": FILES,
            "data_files_size_in_mb": self._config.data_megabytes,
            "video_files_size_in_mb": self._config.video_megabytes,
            "fps": int(store.fps) if store.fps == int(store.fps) else store.fps,
            "splits": {name: part for name, part in splits.items() if part not in ("0:0", f"{total}:{total}")},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._config.pictures == "video" else None,
            "features": self._features,
        }
        _write_json(meta / "info.json", info)
        names = self._stats[0]
        stats = {name: joined_stats([one[name] for one in self._stats]) for name in names}
        _write_json(meta / "stats.json", {name: {k: v.tolist() for k, v in s.items()} for name, s in stats.items()})
        tasks = arrow.table({"task_index": arrow.array([0], arrow.int64()), "task": [self._task]})
        arrow.parquet.write_table(
            tasks.replace_schema_metadata({"pandas": json.dumps(INDEXED)}), meta / "tasks.parquet"
        )
        _write_json(self._root / FACTS, _facts(store, self._order).to_json())


class _Tables:
    """Parquet files with one row group an append, each up to a size."""

    def __init__(self, root: Path, template: str, limit: int) -> None:
        self._root, self._template, self._limit = root, template, limit
        self._writer: Any = None
        self._files = self._size = 0

    def next_place(self, size: int) -> tuple[int, int]:
        """Return chunk and file that rows of `size` bytes go to."""
        if self._writer is not None and self._size + size > self._limit:
            self.close()
        number = self._files - (self._writer is not None)
        return number // FILES, number % FILES

    def append(self, table: Any) -> tuple[int, int]:
        """Write rows; return chunk and file."""
        chunk, file = self.next_place(table.nbytes)
        if self._writer is None:
            path = self._root / self._template.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pyarrow().parquet.ParquetWriter(path, table.schema, compression="snappy")
            self._files, self._size = self._files + 1, 0
        self._writer.write_table(table)
        self._size += table.nbytes
        return chunk, file

    def close(self) -> None:
        """Finish the file that is open."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def abandon(self) -> None:
        """Let go of a file that could not be written."""
        with contextlib.suppress(OSError):
            self.close()


class _Films:
    """Videos with many episodes each, up to a size."""

    def __init__(self, root: Path, store: EpisodeStore, config: LeRobotExportConfig) -> None:
        self._root, self._store, self._config = root, store, config
        self._film: Film | None = None
        self._files = 0

    def append(self, episode: Episode) -> dict[str, Any]:
        """Write an episode's frames; return where they are."""
        film, fps = self._film_for(len(episode.frames)), self._store.fps
        start = film.frames
        for i, frame in enumerate(episode.frames):
            film.add(frame, first=i == 0)
        number = self._files - 1
        return {
            f"videos/{CAMERA}/chunk_index": number // FILES,
            f"videos/{CAMERA}/file_index": number % FILES,
            f"videos/{CAMERA}/from_timestamp": start / fps,
            f"videos/{CAMERA}/to_timestamp": film.frames / fps,
        }

    def _film_for(self, frames: int) -> Film:
        film = self._film
        if film is not None and film.size * (1 + frames / film.frames) > self._config.video_megabytes << 20:
            self.close()
        if self._film is None:
            place = {"chunk_index": self._files // FILES, "file_index": self._files % FILES}
            path = self._root / VIDEO_PATH.format(video_key=CAMERA, **place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._film = Film(path, self._store.frame_size, self._store.fps, self._config.crf)
            self._files += 1
        return self._film

    def close(self) -> None:
        """Finish the file that is open."""
        film, self._film = self._film, None
        if film is not None:
            film.close()

    def abandon(self) -> None:
        """Let go of a file that could not be written."""
        film, self._film = self._film, None
        if film is not None:
            with contextlib.suppress(OSError, FFmpegError):
                film.abandon()


def _features(store: EpisodeStore, config: LeRobotExportConfig) -> dict[str, dict[str, Any]]:
    """Return the columns as ``info.json`` declares them."""
    height, width = store.frame_size
    camera: dict[str, Any] = {"dtype": "image", "shape": [height, width, 3], "names": ["height", "width", "channels"]}
    if config.pictures == "video":
        camera |= {"dtype": "video", "info": _video_info(store)}
    features = {CAMERA: camera, "action": _numbers("float32", store.actions.size, list(store.actions.names))}
    for column in store.manifest.columns:
        flat = int(np.prod(column.shape, dtype=np.int64))
        match column.name.partition("."):
            case ("state", _, _):
                features["observation.state"] = _numbers("float64", flat, list(store.state_names))
            case ("rewards", _, _):
                features["next.reward"] = _numbers("float32", 1)
            case ("extras", _, _):
                features[column.name] = _numbers(np.dtype(column.dtype).name, flat)
            case _:
                pass
    counters = {name: _numbers("int64", 1) for name in ("frame_index", "episode_index", "index", "task_index")}
    return {**features, "timestamp": _numbers("float32", 1), **counters}


def _numbers(dtype: str, width: int, names: list[str] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [width], "names": names}


def _video_info(store: EpisodeStore) -> dict[str, Any]:
    height, width = store.frame_size
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": pixel_format(store.frame_size),
        "video.is_depth_map": False,
        "video.fps": store.fps,
        "video.channels": 3,
        "has_audio": False,
    }


def _columns(episode: Episode, store: EpisodeStore, number: int, first: int) -> dict[str, np.ndarray]:
    """Return an episode's columns, a row a frame."""
    n = len(episode.frames)
    columns = {"action": np.concatenate([episode.actions, store.actions.idle[None]])}
    if episode.state is not None:
        columns["observation.state"] = episode.state
    if episode.rewards is not None:
        columns["next.reward"] = np.append(episode.rewards, np.float32(0)).astype(np.float32)
    columns |= {f"extras.{name}": extra.reshape(n, -1) for name, extra in episode.extras.items()}
    return {
        **columns,
        "timestamp": (np.arange(n) / store.fps).astype(np.float32),
        "frame_index": np.arange(n),
        "episode_index": np.full(n, number),
        "index": np.arange(first, first + n),
        "task_index": np.zeros(n, np.int64),
    }


def _table(columns: Mapping[str, np.ndarray], features: Mapping[str, Any], pictures: list[bytes] | None) -> Any:
    """Return an episode's rows as an arrow table with the types that LeRobot expects."""
    arrow = pyarrow()
    table: dict[str, Any] = {}
    for name, column in columns.items():
        (width,), kind = features[name]["shape"], arrow.from_numpy_dtype(column.dtype)
        flat = arrow.array(np.ascontiguousarray(column).reshape(-1), kind)
        table[name] = flat if width == 1 else arrow.FixedSizeListArray.from_arrays(flat, width)
    if pictures is not None:
        cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        table[CAMERA] = arrow.array([{"bytes": picture, "path": None} for picture in pictures], cell)
    return arrow.table(table)


def _facts(store: EpisodeStore, order: Sequence[int]) -> StoreFacts:
    records = [store.episodes[i] for i in order]
    shapes = {c.name.removeprefix("extras."): c.shape for c in store.manifest.columns if c.name.startswith("extras.")}
    return StoreFacts(
        actions=store.actions,
        state_names=store.state_names,
        game=store.game,
        source=store.manifest.source,
        licence=store.manifest.licence,
        extras=shapes,
        episodes=tuple(EpisodeFacts(split=r.split, name=r.name, seed=r.seed, notes=r.notes) for r in records),
    )


def _png(frame: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), "utf-8")
