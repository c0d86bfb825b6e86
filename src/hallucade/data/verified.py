"""Reading that hands out no damaged byte: each block is held against its checksum the first time a window touches it.

After that a block costs a look-up, until its file's stamp (inode, size, time of change) says that somebody wrote to it.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from hallucade.data import column as layout
from hallucade.data.column_file import ColumnFile, Stamp
from hallucade.data.journal import EpisodeRecord
from hallucade.data.manifest import StoreColumn, StoreError

OPEN_FILES = 48  # of a column: each holds a file descriptor, of which systems grant 1,024


@dataclass(frozen=True)
class Damage:
    """A place where the bytes on disk are not those that were recorded."""

    file: Path
    offset: int  # byte in the file at which the damaged block starts
    episode: int | None  # None for the file's own header

    def __str__(self) -> str:
        where = "header" if self.episode is None else f"episode {self.episode}"
        return f"{self.file} from byte {self.offset} ({where}) is not what was recorded"


class DamageError(StoreError):
    """A window that touches bytes which are not those that were recorded."""

    def __init__(self, damage: Damage, slot: int) -> None:
        what = f"from byte {damage.offset} (episode {damage.episode}) it is not what was recorded"
        super().__init__(damage.file, what, "restore it from a copy, or train with --damage skip")
        self.damage = damage
        self.slot = slot  # of the window, among those that were asked for


class Span(NamedTuple):
    """The bytes of one window in its episode's rows."""

    slot: int  # where they go
    episode: int
    begin: int
    blocks: range  # that they touch


@dataclass(frozen=True)
class Spans:
    """The bytes of windows of one size."""

    slots: Int64[np.ndarray, "b"]
    episodes: Int64[np.ndarray, "b"]
    begins: Int64[np.ndarray, "b"]  # byte in the episode's rows
    size: int  # bytes of each

    @property
    def last_bytes(self) -> Int64[np.ndarray, "b"]:
        """The last byte of each in its episode's rows."""
        return self.begins + (self.size - 1)

    def __iter__(self) -> Iterator[Span]:
        for slot, episode, begin in zip(self.slots, self.episodes, self.begins, strict=True):
            blocks = range(int(begin) // layout.BLOCK, (int(begin) + self.size - 1) // layout.BLOCK + 1)
            yield Span(int(slot), int(episode), int(begin), blocks)


class VerifiedColumn:
    """One column of a store, by episodes.

    Args:
        store: the folder of the store.
        column: which column.
        episodes: of the store, all of them.
    """

    def __init__(self, store: Path, column: StoreColumn, episodes: Sequence[EpisodeRecord]) -> None:
        self.column, self._row_bytes = column, column.row_bytes
        self._store, self._episodes = store, episodes
        sizes = np.array([column.rows(record.length) * self._row_bytes for record in episodes], np.int64)
        counts = layout.block_count(sizes)
        self._sizes, self._counts, self._first_block = sizes, counts, np.cumsum(counts) - counts
        rows = np.array([layout.first_row(record, column) for record in episodes], np.int64)
        self._positions = layout.position(column, rows)  # of the episodes in their files
        self._shards = np.array([record.shard for record in episodes], np.int64)
        self._whole = np.zeros(counts.sum(), np.bool_)  # the blocks that are known to be
        self._stamps: dict[int, Stamp | None] = {}  # of the shards' files, under which `_whole` holds
        self._file = lru_cache(OPEN_FILES)(self._open)

    def episode(self, index: int) -> np.ndarray:
        """Return a copy of all rows of one episode.

        Raises:
            DamageError: a byte of them is not what was recorded.
        """
        rows = int(self._sizes[index]) // self._row_bytes
        found = np.empty((1, rows, *self.column.shape), self.column.dtype)
        only = np.zeros(1, np.int64)
        self.read(found, only, only + index, only)
        return found[0]

    def read(
        self,
        out: np.ndarray,
        slots: Int64[np.ndarray, "b"],
        episodes: Int64[np.ndarray, "b"],
        starts: Int64[np.ndarray, "b"],
    ) -> None:
        """Fill `slots` of `out` (`slot rows ...`) with the windows that begin at row `starts` of `episodes`.

        Raises:
            DamageError: names the slot of the first window that touches a damaged block.
        """
        size = out[0].nbytes
        spans = Spans(slots, episodes, starts * self._row_bytes, size)
        self._verify(spans)
        buffer = out.data.cast("B")
        shards = self._shards[episodes].tolist()
        places = zip(slots.tolist(), shards, (self._positions[episodes] + spans.begins).tolist(), strict=True)
        read = all(self._read(shard, buffer[slot * size : (slot + 1) * size], at) for slot, shard, at in places)
        if not read or self._forget_changed(shards):  # else what was read is what was verified
            self._read_through_blocks(buffer, spans)

    def _verify(self, spans: "Spans") -> None:
        """Check the blocks that windows touch and that are not known to be whole."""
        first_block = self._first_block[spans.episodes]
        firsts, lasts = first_block + spans.begins // layout.BLOCK, first_block + spans.last_bytes // layout.BLOCK
        most = int((lasts - firsts).max())
        if all(self._whole[np.minimum(firsts + i, lasts)].all() for i in range(most + 1)):
            return
        for span in spans:
            for block in span.blocks:
                place = self._first_block[span.episode] + block
                if not self._whole[place]:
                    self._block(span, block)
                    self._whole[place] = True

    def _read_through_blocks(self, buffer: memoryview, spans: "Spans") -> None:
        """Fill the buffer from blocks that are verified in memory, whatever is done to the file meanwhile."""
        for span in spans:
            content = b"".join(self._block(span, block) for block in span.blocks)
            first = span.begin - span.blocks.start * layout.BLOCK
            buffer[span.slot * spans.size : (span.slot + 1) * spans.size] = content[first : first + spans.size]

    def _block(self, span: "Span", block: int) -> bytearray:
        """Return a block of an episode, for a window that touches it; raise DamageError if it is damaged."""
        record, start = self._episodes[span.episode], block * layout.BLOCK
        self._stamps.setdefault(record.shard, self._stamp(record.shard))  # before the reading
        content = bytearray(min(layout.BLOCK, int(self._sizes[span.episode]) - start))
        position = int(self._positions[span.episode]) + start
        whole = self._read(record.shard, memoryview(content), position)
        if not whole or zlib.crc32(content) != record.crc32[self.column.name][block]:
            raise DamageError(Damage(self._path(record.shard), position, span.episode), span.slot)
        return content

    def _forget_changed(self, shards: Sequence[int]) -> bool:
        """Forget what is known of files that somebody wrote to since it was learnt; say whether there are any."""
        changed = [shard for shard in set(shards) if self._stamp(shard) != self._stamps.get(shard)]
        for shard in changed:
            self._stamps.pop(shard, None)
            self._whole[np.repeat(self._shards == shard, self._counts)] = False
        return bool(changed)

    def _read(self, shard: int, buffer: memoryview, position: int) -> bool:
        """Fill a buffer from a shard's file; say whether that was possible."""
        try:
            file = self._file(shard)
        except FileNotFoundError:
            return False
        try:
            return file.read_into(buffer, position)
        except OSError:  # a bad sector
            return False

    def _stamp(self, shard: int) -> Stamp | None:
        try:
            return self._file(shard).stamp()
        except FileNotFoundError:
            return None

    def _open(self, shard: int) -> ColumnFile:
        return ColumnFile(self._path(shard))

    def _path(self, shard: int) -> Path:
        return layout.column_path(self._store, shard, self.column.name)
