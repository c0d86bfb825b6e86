"""Column files: plain ``.npy`` with a header of fixed width, so that a file can grow in place.

The journal is the truth about how many rows count; the header follows it, and names fewer rows only after a crash.
"""

import os
import zlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from hallucade.data.journal import EpisodeRecord
from hallucade.data.manifest import StoreColumn

Count = TypeVar("Count", int, np.ndarray)  # of rows or bytes: one, or many at once

HEADER_BYTES = 192  # a multiple of 64, as numpy aligns
BLOCK = 2**20  # bytes under one checksum, counted from the start of an episode's rows


def header(column: StoreColumn, rows: int) -> bytes:
    """Return the ``.npy`` header of a file with this many rows, always `HEADER_BYTES` long."""
    shape = (rows, *column.shape)
    text = f"{{'descr': '{column.dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    room = HEADER_BYTES - 10
    assert len(text) < room, f"column {column.name} has too many axes"
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


def header_rows(column: StoreColumn, head: bytes) -> int | None:
    """Return the rows that a header names, or None if it is not a header of this column."""
    found = head.partition(b"'shape': (")[2].partition(b",")[0]
    rows = int(found) if found.isdigit() else -1
    return rows if rows >= 0 and head == header(column, rows) else None


def position(column: StoreColumn, row: Count) -> Count:
    """Return the byte at which a row starts."""
    return HEADER_BYTES + row * column.row_bytes


def first_row(record: EpisodeRecord, column: StoreColumn) -> int:
    """Return the row of a column file at which an episode starts."""
    return record.frame_offset if column.per == "frame" else record.action_offset


def shard_path(store: Path, shard: int) -> Path:
    """Return the folder of a shard."""
    return store / "shards" / f"{shard:05d}"


def column_path(store: Path, shard: int, name: str) -> Path:
    """Return the file of a column of a shard."""
    return shard_path(store, shard) / f"{name}.npy"


def map_rows(path: Path, column: StoreColumn, rows: int) -> np.ndarray:
    """Return the first `rows` rows of a column file as a read-only view of the disk."""
    mapped = np.memmap(path, np.dtype(column.dtype), "r", HEADER_BYTES, (rows, *column.shape))
    return mapped.view(np.ndarray)  # slicing the memmap subclass costs several times as much


def checksums(data: np.ndarray) -> list[int]:
    """Return the crc32 (zlib) of each block of an episode's rows."""
    view = np.ascontiguousarray(data).data.cast("B")
    return [zlib.crc32(view[i : i + BLOCK]) for i in range(0, len(view), BLOCK)]


def block_count(size: Count) -> Count:
    """Return how many blocks the `size` bytes of an episode's rows make."""
    return -(-size // BLOCK)


def blocks(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset in the file, crc32) of each block of the `size` bytes from `start`; short at the file's end."""
    file.seek(start)
    for offset in range(0, size, BLOCK):
        yield start + offset, zlib.crc32(file.read(min(BLOCK, size - offset)))


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write every byte to an unbuffered file, or raise OSError: one raw write may stop half-way."""
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view) :]


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, -1 if there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1
