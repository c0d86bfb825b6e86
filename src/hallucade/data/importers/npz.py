"""Numpy archives of others' making: sizes are checked before anything is inflated, and nothing is unpickled."""

import io
import math
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from hallucade.data.source import SourceError
from hallucade.data.video import REMEDY

MAX_BYTES = 1 << 27  # of one array: a day of float32 pairs at 100 a second is half of it
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read some arrays of plain numbers from an ``.npz``.

    Raises:
        SourceError: the file is missing or damaged, or an array is missing, damaged, pickled, or too large to be true.
    """
    with _opened(path) as archive:
        there = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if missing := [name for name in names if name not in there]:
            known = ", ".join(sorted(there)[:12]) or "nothing"
            raise SourceError(path, f"there is no array {missing[0]!r}; it has {known}", "check that it is this format")
        return {name: _read(archive, there[name], name, path) for name in names}


@contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise SourceError(path, "there is no such file", "check the path, or download what is missing") from None
    except zipfile.BadZipFile as error:
        what = "the file is empty" if path.stat().st_size == 0 else f"it is no .npz, or damaged ({error})"
        raise SourceError(path, what, REMEDY) from error
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror or error})", "check its permissions") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, path: Path) -> np.ndarray:
    if info.file_size > MAX_BYTES:
        what = f"array {name!r} would take {info.file_size / 2**20:.0f} MiB, at most {MAX_BYTES >> 20} are read"
        raise SourceError(path, what, "check that it is this format")
    try:
        return array_from_bytes(archive.read(info))
    except (ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise SourceError(path, f"array {name!r} cannot be read ({error})", REMEDY) from error


def array_from_bytes(content: bytes) -> np.ndarray:
    """Return the array of an ``.npy`` file of plain numbers or text.

    Raises:
        ValueError: it is damaged, of a newer format, or holds pickled objects.
    """
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"format {version} is not known")
    shape, by_column, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which could run code")
    data = content[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"shape {shape} of {dtype} does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_column else "C")
