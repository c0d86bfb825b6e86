"""Reads .npy, .pkl and .pth files of strangers: what is in them is read as data and never run."""

import math
import mmap
import os
import warnings
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from hallucade.data.importers.pickle_arrays import NUMPY, checked_shape
from hallucade.data.importers.pickle_reader import Call, Name, PickleReader, Refusal
from hallucade.data.source import SourceError

LIMIT = 2**32  # bytes of memory that the content of one file may take
COPY_AGAIN = "copy or download it again"
NOT_TRUSTED = "nothing in it was run; ask its author for plain arrays"


def load_npy(path: str | os.PathLike[str], limit: int = LIMIT) -> object:
    """Read what ``numpy.save`` wrote.

    Returns:
        Numbers as an array that is mapped from the disk, read-only, so that a file of any size opens at once.
        Objects, which are pickled, as an array of plain data; a single one, such as a dictionary, as itself.

    Raises:
        SourceError: the file is missing, is no .npy, is shorter than it declares, or holds more than data.
    """
    path = Path(path)
    with _reading(path, "no .npy file"), path.open("rb") as file:
        shape, fortran, dtype = _npy_header(file)
        if not dtype.hasobject:
            return _mapped(path, file.tell(), shape, fortran, dtype)
        if dtype != np.dtype(object):
            raise Refusal(f"its type {dtype} has objects inside")
        array = _read_pickle(file, limit)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise Refusal(f"its header declares an array of shape {shape} and its content is another")
        return cast("object", array.item() if array.ndim == 0 else array)


def load_pickle(path: str | os.PathLike[str], limit: int = LIMIT) -> object:
    """Read a pickle of plain data: containers, numbers, text, bytes, numpy arrays and numbers; arrays are read-only.

    Raises:
        SourceError: the file is missing, damaged, or holds more than data; names what was refused.
    """
    path = Path(path)
    with _reading(path, "no pickle"), path.open("rb") as file:
        return _read_pickle(file, limit)


def load_torch(path: str | os.PathLike[str], limit: int = LIMIT) -> object:
    """Read what ``torch.save`` wrote: tensors, mapped from the disk, and plain data with numpy arrays.

    The file is read twice: by `PickleReader`, which holds every size against what the file contains, and then by
    ``torch.load`` with ``weights_only``.

    Raises:
        SourceError: the file is missing, damaged, compressed, older than torch 1.6, or holds more than tensors and
            data.
    """
    path = Path(path)
    with _reading(path, "no file of torch.save"), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise SourceError(path, "it is no file of torch.save, or cut short, or older than torch 1.6", COPY_AGAIN)
        with zipfile.ZipFile(path) as archive:
            records = _records(path, archive)
            pickled = BytesIO(archive.read(records["data.pkl"]))
            PickleReader(limit, {**NUMPY, **TORCH}, partial(_storage, records)).read(pickled)
        with torch.serialization.safe_globals(cast("Any", SAFE)):
            return torch.load(path, "cpu", weights_only=True, mmap=True)


@contextmanager
def _reading(path: Path, kind: str) -> Generator[None]:
    """Turn whatever the content of a file causes into one error that names the file."""
    try:
        if path.stat().st_size == 0:
            raise SourceError(path, "the file is empty", COPY_AGAIN)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in old pickles are no news to anybody
            yield
    except SourceError:
        raise
    except Refusal as error:
        raise SourceError(path, f"refused: {error}", NOT_TRUSTED) from error
    except FileNotFoundError:
        raise SourceError(path, "there is no such file", "check the path, or download what is missing") from None
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror or error})", "check its permissions") from error
    except Exception as error:  # a damaged file may break any assumption of a reader; here it becomes one error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(path, f"it is {kind}, or damaged ({reason})", COPY_AGAIN) from error


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise Refusal(f"its .npy version is {version[0]}.{version[1]}, for arrays with named fields")
    shape, fortran, dtype = readers[version](file)
    return checked_shape(shape), fortran, dtype


def _mapped(path: Path, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> np.ndarray:
    order = "F" if fortran else "C"
    wanted, held = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
    if dtype.itemsize == 0:
        raise Refusal(f"its type {dtype} has no size")
    if wanted > held:
        what = f"its header declares {dtype} of shape {shape}, {wanted} bytes, and there are {held}"
        raise SourceError(path, f"{what}: it is cut short", COPY_AGAIN)
    if wanted == 0:
        return np.empty(shape, dtype, order)
    return np.memmap(path, dtype, "r", start, shape, order)


def _read_pickle(file: IO[bytes], limit: int) -> Any:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        content.seek(file.tell())
        return PickleReader(limit, NUMPY).read(content)


ITEM = {  # bytes of one number
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "Short": 2,
    "Half": 2,
    "BFloat16": 2,
    "Int": 4,
    "Float": 4,
    "Long": 8,
    "Double": 8,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
}


@dataclass(frozen=True)
class Storage:
    """The numbers of tensors."""

    count: int


@dataclass(frozen=True)
class CheckedTensor:
    """A tensor that lies within its storage."""


def _records(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the records of a file of torch by their names without its folder.

    Raises:
        Refusal: the archive is packed, or could say one thing to one reader and another to the next.
    """
    infos = archive.infolist()
    folders = {info.filename.split("/", 1)[0] for info in infos}
    records = {info.filename.split("/", 1)[-1]: info for info in infos}
    if len(folders) != 1 or len(records) != len(infos):
        raise Refusal("an archive with records of one name, or of several folders")
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise Refusal("an archive that is packed")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise Refusal("an archive whose records overlap")
    if "data.pkl" not in records:
        raise Refusal("an archive without data.pkl")
    return records


def _storage(records: Mapping[str, zipfile.ZipInfo], reader: PickleReader, key: tuple[Any, ...]) -> None:
    """Hold what a pickle says of a storage against the record that has it."""
    if len(key) != 5 or key[0] != "storage" or not isinstance(key[1], Name) or type(key[4]) is not int:
        raise Refusal("content that is stored elsewhere")
    kind, record, count = key[1].text, records.get(f"data/{key[2]}"), key[4]
    item = ITEM.get(kind.removeprefix("torch.").removesuffix("Storage"))
    if item is None or record is None or not 0 <= count * item <= record.file_size:
        held = "none" if record is None else f"{record.file_size} bytes"
        raise Refusal(f"{count} numbers of {kind} in a record of {held}")
    reader.box(Storage(count), plain=False)


def _tensor(reader: PickleReader, args: tuple[Any, ...]) -> None:
    """Hold a tensor's size against its storage: one number repeated a million times is a bomb."""
    if len(args) < 6 or not isinstance(args[0], Storage) or type(args[1]) is not int:
        raise Refusal("a tensor without numbers")
    storage, offset, size, stride = args[:4]
    sizes, strides = checked_shape(size), checked_shape(stride)
    last = sum((length - 1) * step for length, step in zip(sizes, strides, strict=True)) if all(sizes) else -1
    if math.prod(sizes) > storage.count or offset < 0 or offset + last >= storage.count:
        raise Refusal(f"a tensor of shape {sizes} in {storage.count} numbers")
    reader.box(CheckedTensor())


def _size(reader: PickleReader, args: tuple[Any, ...]) -> None:
    reader.box(checked_shape(args[0] if args else ()))


TORCH: dict[str, Call | None] = {
    **dict.fromkeys(f"torch.{name}Storage" for name in ITEM),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.Size": _size,
}
_RECONSTRUCT, _SCALAR = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
_CODES = ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D", "G", "S", "U", "O")
SAFE = (  # what torch may make of numpy's; the first reader has seen every size by then
    *((_RECONSTRUCT, f"{module}.multiarray._reconstruct") for module in ("numpy.core", "numpy._core")),
    *((_SCALAR, f"{module}.multiarray.scalar") for module in ("numpy.core", "numpy._core")),
    bytes,  # none of them: protocol 2 writes an empty array so
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in _CODES},
)
