"""The two kinds of files that recordings of Counter-Strike come in; see `csgo`."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from hallucade.data.importers.restricted_pickle import load_torch
from hallucade.data.source import FrameReader, Picture, SourceError, frames_of

AUX = 54  # numbers in frame_i_xaux: three past actions, each with health, ammunition and team
AUX_HEALTH = 15  # where those of the latest one stand
INSTALL = "pip install 'hallucade[formats]'"
COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Recording:
    """The columns of one file of n frames."""

    frames: FrameReader
    vectors: np.ndarray  # n, 51
    aux: np.ndarray | None  # n, 54
    events: np.ndarray | None  # n, 2: kill, death
    field: Callable[[int], str]  # where the vector of a frame stands, for errors
    original: str | None = None  # the file that this one was made from


def h5py() -> Any:
    """Return the h5py package, untyped: it ships no types.

    Raises:
        ValueError: it is not installed; says how to.
    """
    try:
        return import_module("h5py")
    except ModuleNotFoundError as error:
        raise ValueError(f"HDF5 files need h5py, which is not installed; {INSTALL}") from error


def read_hdf5(file: Path, facts: bool) -> Recording:
    """Read the columns of an HDF5 file, and that every picture is there.

    Raises:
        SourceError: it cannot be opened, frames are missing, or a field has another shape.
    """
    with _opened(file) as content:
        count = sum(1 for name in content if name.endswith("_x"))
        if not count:
            raise SourceError(file, "it has no frame_0_x", "give files of the data set, not of another one")
        for name in (f"frame_{i}_x" for i in range(count)):
            if name not in content:
                raise SourceError(file, f"{count} frames are there, and {name} is none of them", COPY_AGAIN)
        _picture(content, 0, content["frame_0_x"].shape, file)
        vectors = _column(content, "y", count, None, file)
        aux = _column(content, "xaux", count, AUX, file) if facts else None
        events = _column(content, "helperarr", count, 2, file) if facts else None
    return Recording(lambda: _pictures(file, count), vectors, aux, events, "frame_{}_y".format)


def read_pt(file: Path) -> Recording:
    """Read an episode of low resolution: ``obs`` n x 3 x h x w in RGB, ``act`` n x 51.

    Raises:
        SourceError: it cannot be read, or a field is missing or of another shape.
    """
    content = load_torch(file)
    if not isinstance(content, dict):
        raise SourceError(file, "it holds no dictionary with obs and act", "give an episode that DIAMOND wrote")
    fields = cast("dict[str, Any]", content)
    for name, dims in {"obs": 4, "act": 2}.items():
        if not isinstance(fields.get(name), torch.Tensor) or fields[name].ndim != dims:
            raise SourceError(file, f"{name} is no tensor of {dims} axes", "give an episode that DIAMOND wrote")
    pictures, vectors = cast("torch.Tensor", fields["obs"]), cast("torch.Tensor", fields["act"])
    if pictures.dtype != torch.uint8 or pictures.shape[1] != 3 or len(pictures) != len(vectors) or not len(vectors):
        what = f"obs is {tuple(pictures.shape)} of {pictures.dtype} and act {tuple(vectors.shape)}"
        raise SourceError(file, what, "give an episode that DIAMOND wrote: uint8, 3 colours, as many as actions")
    info = fields.get("info")
    original = cast("dict[str, Any]", info).get("original_file_id") if isinstance(info, dict) else None
    video = np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())
    named = original if isinstance(original, str) else None
    return Recording(frames_of(video), vectors.double().numpy(), None, None, "act[{}]".format, named)


@contextmanager
def _opened(file: Path) -> Generator[Any]:
    """Open an HDF5 file; whatever goes wrong inside is an error that names it."""
    package = h5py()
    try:
        with package.File(file, "r") as content:
            yield content
    except FileNotFoundError:
        raise SourceError(file, "there is no such file", "check the path") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, SourceError):
            raise
        what = f"it cannot be read as HDF5, most likely cut short or damaged ({' '.join(str(error).split())[:200]})"
        raise SourceError(file, what, COPY_AGAIN) from error


def _column(content: Any, name: str, count: int, width: int | None, file: Path) -> np.ndarray:
    """Stack one small vector a frame; all must be as wide as the first, or as `width`."""
    rows: list[np.ndarray] = []
    for field in (f"frame_{i}_{name}" for i in range(count)):
        if field not in content:
            remedy = COPY_AGAIN if name == "y" else f"{COPY_AGAIN}, or import with --no-facts"
            raise SourceError(file, f"{field} is missing", remedy)
        row = np.asarray(content[field])
        wanted = (width,) if width is not None else rows[0].shape if rows else row.shape
        if row.shape != wanted or row.dtype.kind not in "fiub":
            raise SourceError(file, f"{field} is {row.dtype} of shape {row.shape}, not {wanted}", COPY_AGAIN)
        rows.append(row)
    return np.stack(rows).astype(np.float64)


def _pictures(file: Path, count: int) -> Iterator[Picture]:
    with _opened(file) as content:
        shape = content["frame_0_x"].shape
        for i in range(count):
            yield _picture(content, i, shape, file)


def _picture(content: Any, i: int, shape: tuple[int, ...], file: Path) -> Picture:
    """Read a picture, which OpenCV wrote in BGR."""
    name = f"frame_{i}_x"
    picture = content[name]
    if picture.shape != shape or len(shape) != 3 or shape[2] != 3 or picture.dtype != np.uint8:
        what = f"{name} is {picture.dtype} of shape {picture.shape}, not uint8 of height, width and 3 colours"
        raise SourceError(file, what, COPY_AGAIN)
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])
