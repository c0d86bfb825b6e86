"""An episode store on disk: plain ``.npy`` columns in shards, read by memory map.

    STORE/manifest.json           what the play is: actions, columns, rate, source (see `manifest`)
    STORE/episodes.jsonl          one line an episode: where it lies, its checksums (see `journal`)
    STORE/shards/00000/frames.npy   the columns: frames, actions, rewards, state, extras.<name> (see `column`)

Opening reads the first two and only looks at the sizes of the shards, so that a store of any size opens at once.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.data.column import (
    HEADER_BYTES,
    blocks,
    column_path,
    file_size,
    first_row,
    header_rows,
    map_rows,
    position,
)
from hallucade.data.episode import Episode
from hallucade.data.journal import EpisodeRecord, read_journal
from hallucade.data.manifest import StoreColumn, StoreError, load_manifest
from hallucade.data.verified import Damage, VerifiedColumn

MAPS = 384  # column files kept mapped at once: each holds a file descriptor, of which systems grant 1,024


class EpisodeStore:
    """Recorded play, open for reading; sees the episodes that were committed when it was opened.

    Raises:
        StoreError: `path` holds no store, one of a newer format, or one that is damaged or cut short.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = load_manifest(self.path)
        self.episodes, _ = read_journal(self.path, self.manifest.closed_episodes)
        self._rows = committed_rows(self.episodes)
        check_sizes(self.path, self.manifest.columns, self._rows)
        self._map = lru_cache(MAPS)(self._open_map)
        self._reader = cache(self._open_reader)

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def actions(self) -> ActionSpace:
        """What the players could do."""
        return self.manifest.actions

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        return self.manifest.frame_size

    @property
    def fps(self) -> float:
        """Frames per second of play."""
        return self.manifest.fps

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name a column of `state`; empty if the source had none."""
        return self.manifest.state_names

    @property
    def game(self) -> str | None:
        """Name of the simulator of the same game, if there is one."""
        return self.manifest.game

    @property
    def total_frames(self) -> int:
        """Frames of all episodes."""
        return sum(record.frames for record in self.episodes)

    @property
    def hours(self) -> float:
        """Length of all episodes at the speed of play."""
        return self.total_frames / self.fps / 3600

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any recorded byte, split or convention; for run configs."""
        manifest = self.manifest.to_json()
        content = {key: manifest[key] for key in ("actions", "columns", "fps", "state_names")}
        episodes = [(r.length, r.split, r.seed, r.crc32) for r in self.episodes]
        return hashlib.sha256(json.dumps([content, episodes], sort_keys=True).encode()).hexdigest()[:16]

    def indices(self, split: str) -> list[int]:
        """Return the numbers of the episodes of "train" or "validation"."""
        return [i for i, record in enumerate(self.episodes) if record.split == split]

    def column(self, shard: int, name: str) -> np.ndarray:
        """Return one column of a shard as a read-only view of the disk, all episodes end to end.

        The view is unverified (see ``verified``), and a file that is cut while the view is in use ends the process.

        Raises:
            StoreError: the file has been cut or removed since the store was opened.
        """
        column = self.manifest.column(name)
        check_size(column_path(self.path, shard, name), position(column, self._rows[shard][column.per]))
        return self._map(shard, name)

    def verified(self, name: str) -> VerifiedColumn:
        """Return the reader of a column that hands out no damaged byte; it remembers what it has verified."""
        return self._reader(name)

    def episode(self, index: int) -> Episode:
        """Return one episode as read-only views of the disk."""
        return self.read(index, 0, self.episodes[index].frames)

    def read(self, index: int, start: int, frames: int) -> Episode:
        """Return `frames` frames of an episode from frame `start`, and what joins them.

        Raises:
            ValueError: the window leaves the episode.
        """
        record = self.episodes[index]
        if not 0 <= start <= start + frames <= record.frames or frames < 1:
            last = start + frames
            raise ValueError(f"frames {start} to {last} are not in episode {index}; it has {record.frames} frames")
        parts = {c.name: self._window(record, c, start, frames) for c in self.manifest.columns}
        extras = {n.removeprefix("extras."): part for n, part in parts.items() if n.startswith("extras.")}
        return Episode(parts["frames"], parts["actions"], parts.get("rewards"), parts.get("state"), extras)

    def damage(self, episodes: Iterable[int] | None = None) -> Iterator[Damage]:
        """Compare the checksums (crc32 of every MiB) of all or some episodes and of all file headers.

        Reads through the file system and not the memory map, so that even a file cut while it is read is reported.
        """
        yield from self._damaged_headers()
        for index in range(len(self)) if episodes is None else episodes:
            for column in self.manifest.columns:
                yield from self._damaged_blocks(index, column)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Check every byte.

        Args:
            progress: called with (episodes checked, episodes).
        Raises:
            StoreError: names the first damaged file and offset, and how many there are.
        """
        found = list(self.damage([]))
        for index in range(len(self)):
            found += [damage for c in self.manifest.columns for damage in self._damaged_blocks(index, c)]
            if progress is not None:
                progress(index + 1, len(self))
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise StoreError(self.path, f"{found[0]}{more}", "restore the file from a copy or record again")

    def _open_reader(self, name: str) -> VerifiedColumn:
        return VerifiedColumn(self.path, self.manifest.column(name), self.episodes)

    def _open_map(self, shard: int, name: str) -> np.ndarray:
        column = self.manifest.column(name)
        return map_rows(column_path(self.path, shard, name), column, self._rows[shard][column.per])

    def _window(self, record: EpisodeRecord, column: StoreColumn, start: int, frames: int) -> np.ndarray:
        first = first_row(record, column) + start
        return self.column(record.shard, column.name)[first : first + column.rows(frames - 1)]

    def _damaged_headers(self) -> Iterator[Damage]:
        closed = len(self) == self.manifest.closed_episodes
        for shard, rows in self._rows.items():
            for column in self.manifest.columns:
                path = column_path(self.path, shard, column.name)
                with path.open("rb") as file:
                    named = header_rows(column, file.read(HEADER_BYTES))
                # A writer that was killed may leave the last header behind the journal.
                behind = not closed and shard == max(self._rows) and named is not None and named < rows[column.per]
                if named != rows[column.per] and not behind:
                    yield Damage(path, 0, None)

    def _damaged_blocks(self, index: int, column: StoreColumn) -> Iterator[Damage]:
        record = self.episodes[index]
        path = column_path(self.path, record.shard, column.name)
        size, expected = column.rows(record.length) * column.row_bytes, record.crc32[column.name]
        with path.open("rb") as file:
            found = blocks(file, position(column, first_row(record, column)), size)
            for (offset, crc), recorded in zip(found, expected, strict=True):
                if crc != recorded:
                    yield Damage(path, offset, index)


def committed_rows(episodes: Iterable[EpisodeRecord]) -> dict[int, dict[str, int]]:
    """Return the rows that count in each shard: of columns per "frame" and per "action"."""
    rows: dict[int, dict[str, int]] = {}
    for record in episodes:
        shard = rows.setdefault(record.shard, {"frame": 0, "action": 0})
        shard["frame"] = max(shard["frame"], record.frame_offset + record.frames)
        shard["action"] = max(shard["action"], record.action_offset + record.length)
    return rows


def check_sizes(path: Path, columns: Iterable[StoreColumn], rows: dict[int, dict[str, int]]) -> None:
    """Compare file sizes with the journal, without reading any.

    Raises:
        StoreError: a column file is missing or shorter than its episodes.
    """
    for column in columns:
        for shard, counts in rows.items():
            check_size(column_path(path, shard, column.name), position(column, counts[column.per]))


def check_size(file: Path, needed: int) -> None:
    """Compare the size of a file with the bytes that its episodes need.

    Raises:
        StoreError: the file is missing or shorter.
    """
    size = file_size(file)
    if size < needed:
        what = "the file is missing" if size < 0 else f"the file has {size} bytes, its episodes need {needed}"
        raise StoreError(file, what, "restore it from a copy or record again")
