"""Finds the samples of a Matrix-Game or FastVideo data set: a video each, and the arrays of its actions.

They are listed in ``metadata*.json`` or ``video2caption*.json``, in a validation JSON, in FastVideo's training Parquet,
or simply lie side by side: ``000000.mp4`` and ``000000_action.npy`` (or ``000000.npy``).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import Field

from hallucade.data.importers.file_tree import files_below
from hallucade.data.importers.foreign_json import ForeignModel, parse_json, read_bytes
from hallucade.data.importers.parquet import ParquetFile
from hallucade.data.importers.restricted_pickle import load_npy
from hallucade.data.source import SourceError
from hallucade.data.video import REMEDY

LISTS = ("metadata*.json", "video2caption*.json")  # the first pattern that has files counts
SUFFIXES = ("_action.npy", "_actions.npy", ".npy")
TENSORS = ("keyboard_cond", "mouse_cond")
PARTS = ("bytes", "shape", "dtype")


@dataclass(frozen=True)
class Arrays:
    """The actions of a sample: t rows, row i for the step from frame i to frame i + 1."""

    path: Path  # where they are from
    keyboard: np.ndarray | None  # t k
    mouse: np.ndarray | None  # t 2


@dataclass(frozen=True)
class Sample:
    """One video with actions."""

    name: str
    video: Path
    arrays: Callable[[], Arrays]
    frames: int | None = None  # as declared
    fps: float | None = None  # as declared


class _Entry(ForeignModel):
    path: str | None = None
    video_path: str | None = None
    action_path: str | None = None
    num_frames: int | None = Field(default=None, gt=0)
    fps: float | None = Field(default=None, gt=0)
    keyboard_cond: list[list[float]] | None = None
    mouse_cond: list[list[float]] | None = None


class _Listing(ForeignModel):
    data: list[_Entry]


def find_samples(path: Path, videos: Path | None) -> tuple[dict[str, Sample], int]:
    """Return the samples by name, in order, and how many listed ones have no video or no actions.

    Args:
        path: a folder, a JSON list, or a Parquet file.
        videos: where the videos of a Parquet file are, if not beside it.

    Raises:
        SourceError: there is nothing of the kind, or a list is damaged.
    """
    if not path.exists():
        raise SourceError(path, "there is no such file or folder", "check the path")
    samples = list(_samples(path, videos))
    found = {sample.name: sample for sample in samples if sample is not None}
    if not found:
        what = (
            f"none of its {len(samples)} entries names both a video and its actions" if samples else "it has no sample"
        )
        raise SourceError(path, what, "give a folder with videos and .npy files, a metadata.json, or a .parquet")
    return found, len(samples) - len(found)


def _samples(path: Path, videos: Path | None) -> Iterator[Sample | None]:
    if path.is_file():
        yield from _rows(path, path.parent, videos) if path.suffix == ".parquet" else _listed(path)
        return
    lists = next((found for pattern in LISTS if (found := sorted(path.glob(pattern)))), list[Path]())
    for file in lists:
        yield from _listed(file)
    tables = [] if lists else files_below(path, ".parquet")
    for file in tables:
        yield from _rows(file, path, videos)
    if not lists and not tables:
        yield from _pairs(path)


def _listed(file: Path) -> Iterator[Sample | None]:
    """Yield the entries of a list; None for one without a video or without actions."""
    text = read_bytes(file)
    listing = text if text.lstrip().startswith(b"{") else b'{"data":' + text + b"}"
    for number, entry in enumerate(parse_json(_Listing, listing, file).data):
        # Captions give names within the folder of videos, everything else paths from the list's own folder.
        folder = file.parent / "videos" if entry.path is not None and (file.parent / "videos").is_dir() else file.parent
        video = entry.video_path or entry.path
        inline = entry.keyboard_cond is not None or entry.mouse_cond is not None
        if video is None or not (inline or entry.action_path):
            yield None
            continue
        load = (
            partial(_inline, file, number, entry) if inline else partial(load_arrays, folder / str(entry.action_path))
        )
        name = str(Path(video).with_suffix(""))
        yield Sample(name, folder / video, load, entry.num_frames, entry.fps)


def _pairs(folder: Path) -> Iterator[Sample | None]:
    for video in files_below(folder, ".mp4"):
        tables = [table for suffix in SUFFIXES if (table := video.with_name(video.stem + suffix)).is_file()]
        name = str(video.relative_to(folder).with_suffix(""))
        yield Sample(name, video, partial(load_arrays, tables[0])) if tables else None


def _rows(file: Path, root: Path, videos: Path | None) -> Iterator[Sample | None]:
    """Yield the rows of a training table, whose videos lie elsewhere: it holds their latents only."""
    table = ParquetFile(file)
    table.require([f"keyboard_cond_{part}" for part in PARTS])
    named = table.rows(("file_name", "id"))
    folders = [videos] if videos else [file.parent, root, root / "videos", root.parent / "videos"]
    for number, (name, other) in enumerate(zip(named.objects("file_name"), named.objects("id"), strict=True)):
        stem = str(name or other).removesuffix(".mp4")
        found = [video for folder in folders if (video := folder / f"{stem}.mp4").is_file()]
        if not found:
            places = " or ".join(str(folder) for folder in folders)
            what = f"row {number} is of {stem}.mp4, which is not in {places}; the table itself holds only latents"
            raise SourceError(file, what, "say where the videos are: --videos FOLDER")
        yield Sample(stem, found[0], partial(_row, table, number))


def _row(table: ParquetFile, number: int) -> Arrays:
    columns = [f"{name}_{part}" for name in TENSORS for part in PARTS if f"{name}_{part}" in table.columns]
    rows = table.rows(columns, number, number + 1)
    cells = {name: next(rows.objects(name)) for name in columns}
    keyboard, mouse = (_tensor(table.path, number, name, cells) for name in TENSORS)
    return _checked(Arrays(table.path, keyboard, mouse))


def _tensor(path: Path, number: int, name: str, cells: Mapping[str, Any]) -> np.ndarray | None:
    """Return an array that is kept as bytes, shape and dtype; None where there are no bytes."""
    content, shape, kind = (cells.get(f"{name}_{part}") for part in PARTS)
    if not content:
        return None
    try:
        dtype = np.dtype(kind)
        if dtype.kind not in "fiub":
            raise ValueError(f"dtype {kind!r} is no number")
        return np.frombuffer(content, dtype).reshape(shape)
    except (TypeError, ValueError) as error:
        what = f"{name} of row {number} has {len(content)} bytes that are no {kind} of shape {shape} ({error})"
        raise SourceError(path, what, REMEDY) from error


def _inline(file: Path, number: int, entry: _Entry) -> Arrays:
    try:
        keyboard, mouse = (
            None if rows is None else np.array(rows, np.float32) for rows in (entry.keyboard_cond, entry.mouse_cond)
        )
    except ValueError as error:
        raise SourceError(file, f"keyboard_cond or mouse_cond of entry {number} has ragged rows", REMEDY) from error
    return _checked(Arrays(file, keyboard, mouse))


def load_arrays(path: Path) -> Arrays:
    """Read an ``.npy``: a dictionary {keyboard, mouse}, or the keyboard alone.

    Raises:
        SourceError: it is missing, damaged, or holds something else.
    """
    content = load_npy(path)
    if isinstance(content, np.ndarray):
        return _checked(Arrays(path, cast("np.ndarray", content), None))
    if not isinstance(content, dict):
        what = f"it holds a {type(content).__name__}"
        raise SourceError(path, what, "an array of keys, or a dictionary with keyboard and mouse, is needed")
    table = cast("dict[Any, Any]", content)
    keyboard, mouse = table.get("keyboard"), table.get("mouse")
    for name, array in (("keyboard", keyboard), ("mouse", mouse)):
        if array is not None and not isinstance(array, np.ndarray):
            raise SourceError(path, f"{name} is a {type(array).__name__} and no array", REMEDY)
    return _checked(Arrays(path, keyboard, mouse))


def _checked(arrays: Arrays) -> Arrays:
    there = {"keyboard": arrays.keyboard, "mouse": arrays.mouse}
    given = {name: array for name, array in there.items() if array is not None}
    if not given:
        raise SourceError(arrays.path, "it has neither keyboard nor mouse", "check that it is of this format")
    for name, array in given.items():
        if array.ndim != 2 or array.dtype.kind not in "fiub" or len(array) == 0 or array.shape[1] == 0:
            what = f"{name} is {array.dtype} of shape {array.shape}"
            raise SourceError(arrays.path, what, "numbers, frames x columns, are needed")
        if not np.isfinite(array).all():
            raise SourceError(
                arrays.path, f"{name} is not finite in row {np.argwhere(~np.isfinite(array))[0][0]}", REMEDY
            )
    if arrays.mouse is not None and arrays.mouse.shape[1] != 2:
        what = f"mouse has {arrays.mouse.shape[1]} columns"
        raise SourceError(arrays.path, what, "it needs 2: pitch (up is +) and yaw (right is +)")
    if len({len(array) for array in given.values()}) > 1:
        what = f"keyboard has {len(given['keyboard'])} rows and mouse {len(given['mouse'])}"
        raise SourceError(arrays.path, what, REMEDY)
    return arrays
