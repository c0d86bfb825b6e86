"""Appends episodes to a folder of column files, so that it holds all committed ones, however it ends.

A commit writes the data to the open shard, syncs it, and then adds the episodes' lines to the journal. What lies
behind the journal's last line is not part of the folder: the next writer cuts it off.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from hallucade.data.column import checksums, column_path, header, position, shard_path, write_all
from hallucade.data.journal import JOURNAL, EpisodeRecord, journal_lines, read_journal
from hallucade.data.lock import LOCK, lock_folder
from hallucade.data.manifest import (
    MANIFEST,
    FolderManifest,
    M,
    StoreColumn,
    StoreError,
    read_manifest,
    save_manifest,
    sync_folder,
)
from hallucade.data.store import check_sizes, committed_rows

W = TypeVar("W")  # a writer, as the block of a `with` sees it


@dataclass(frozen=True)
class EpisodeRows:
    """One episode as the bytes that are kept, and what its line in the journal says of it."""

    columns: Mapping[str, np.ndarray]
    length: int  # actions, n
    split: str  # "train" or "validation"
    seed: int | None = None  # that the game was started from
    name: str = ""  # of the episode in the source that it comes from
    notes: tuple[str, ...] = ()


class ColumnWriter(Generic[M]):
    """The one writer of a folder of column files; a context manager.

    Args:
        path: a folder that is absent or empty to create one, or an existing one to append to.
        kind: of the folder.
        manifest: of the folder to create; None to append.
    Raises:
        StoreError: the folder is not empty, is of another kind, or has another writer.
    """

    def __init__(self, path: str | os.PathLike[str], kind: type[M], manifest: M | None = None) -> None:
        self.path = Path(path)
        self._files = contextlib.ExitStack()
        if manifest is None:
            read_manifest(self.path, kind)  # before the lock: it leaves a file, and this may be no such folder
        else:
            _make_folder(self.path)
        self._lock = _lock_folder(self.path)
        try:
            if manifest is not None:
                _create(self.path, manifest)
            self.manifest: M = read_manifest(self.path, kind)
            self._recover()
        except BaseException as error:
            self._files.close()
            os.close(self._lock)
            if isinstance(error, OSError):
                raise _refused(self.path, error) from error
            raise

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(StoreError) if error is not None else contextlib.nullcontext():
            self.close()

    def __len__(self) -> int:
        return len(self.episodes)

    def write(self, episodes: Sequence[EpisodeRows]) -> None:
        """Commit episodes in order: they are in the folder when this returns.

        Raises:
            StoreError: the disk is full or failing; the folder holds the first ``len(writer)`` episodes, all whole.
        """
        assert self._shard.open, "write with a writer that was closed, or could not recover from a failing disk"
        try:
            records: list[EpisodeRecord] = []
            for episode in episodes:
                if self._shard.would_overflow(episode.columns, self.manifest.shard_bytes):
                    self._commit(records)
                    records = []
                    self._shard.close()
                    self._shard = self._open_shard(self._shard.index + 1, NO_ROWS)
                place = self._shard.append(episode.columns, episode.length)
                sums = {name: checksums(data) for name, data in episode.columns.items()}
                records.append(EpisodeRecord(*place, episode.split, episode.seed, sums, episode.name, episode.notes))
            self._commit(records)
        except OSError as error:
            self._roll_back()
            remedy = f"free some space and resume: all {len(self.episodes)} earlier episodes are kept"
            raise StoreError(self.path, f"cannot write ({error.strerror or error})", remedy) from error
        except BaseException:  # Ctrl-C above all: leave nothing half behind
            self._roll_back()
            raise

    def remark(self, note: str) -> None:
        """Keep a note on the folder as a whole, once: an episode of the source that could not be read, for example.

        Raises:
            StoreError: the disk is full or failing; the folder is as it was.
        """
        if note in self.manifest.notes:
            return
        manifest = replace(self.manifest, notes=(*self.manifest.notes, note))
        try:
            save_manifest(self.path, manifest)
        except OSError as error:
            raise _refused(self.path, error) from error
        self.manifest = manifest

    def close(self) -> None:
        """Finish the files and release the lock; harmless when repeated.

        Raises:
            StoreError: the disk is full or failing; all committed episodes are kept.
        """
        if self._lock < 0:
            return
        try:
            with self._files:
                if self._shard.open:
                    self._shard.close()
            if self.manifest.closed_episodes != len(self.episodes):
                save_manifest(self.path, replace(self.manifest, closed_episodes=len(self.episodes)))
        except OSError as error:
            remedy = f"free some space: all {len(self.episodes)} episodes are kept"
            raise StoreError(self.path, f"cannot finish the folder ({error.strerror or error})", remedy) from error
        finally:
            os.close(self._lock)
            self._lock = -1

    def _recover(self) -> None:
        """Return to what the journal says: cut off everything behind it and open the last shard."""
        records, self._end = read_journal(self.path, self.manifest.closed_episodes)
        self.episodes = list(records)
        rows = committed_rows(self.episodes)
        check_sizes(self.path, self.manifest.columns, rows)
        last = max(rows, default=0)
        for folder in (self.path / "shards").iterdir():
            if folder.name.isdigit() and int(folder.name) > last:
                shutil.rmtree(folder)
        self._journal = self._files.enter_context((self.path / JOURNAL).open("r+b", buffering=0))
        self._journal.truncate(self._end)
        self._journal.seek(self._end)
        self._shard = self._open_shard(last, rows.get(last, NO_ROWS))

    def _roll_back(self) -> None:
        """Give back what a failed append took; if even that fails, the next writer does it."""
        self._shard.open = False
        with contextlib.suppress(OSError), self._files:
            self._journal.truncate(self._end)
        with contextlib.suppress(OSError, StoreError):
            self._recover()

    def _open_shard(self, index: int, rows: Mapping[str, int]) -> "OpenShard":
        return OpenShard(self.path, index, self.manifest.columns, rows, self._files)

    def _commit(self, records: Sequence[EpisodeRecord]) -> None:
        """Make the rows that were appended to the open shard count."""
        self._shard.sync()
        lines = journal_lines(records)
        write_all(self._journal, lines)
        os.fsync(self._journal.fileno())
        self.episodes += records
        self._end += len(lines)
        self._shard.write_headers()


NO_ROWS: Mapping[str, int] = {"frame": 0, "action": 0}


class OpenShard:
    """The column files of the shard that grows."""

    def __init__(
        self,
        store: Path,
        index: int,
        columns: Sequence[StoreColumn],
        rows: Mapping[str, int],
        files: contextlib.ExitStack,
    ) -> None:
        self.index, self.rows, self.open = index, dict(rows), True
        folder = shard_path(store, index)
        folder.mkdir(exist_ok=True)
        self._files: dict[StoreColumn, FileIO] = {}
        for column in columns:
            path = column_path(store, index, column.name)
            path.touch()
            self._files[column] = files.enter_context(path.open("r+b", buffering=0))
        self.write_headers()
        for column, file in self._files.items():
            file.truncate(position(column, self.rows[column.per]))
        sync_folder(folder)
        sync_folder(folder.parent)

    def would_overflow(self, columns: Mapping[str, np.ndarray], limit: int) -> bool:
        """Say whether an episode belongs into the next shard; one that is larger than a shard has one to itself."""
        size = sum(self.rows[column.per] * column.row_bytes for column in self._files)
        return size > 0 and size + sum(data.nbytes for data in columns.values()) > limit

    def append(self, columns: Mapping[str, np.ndarray], length: int) -> tuple[int, int, int, int]:
        """Write the rows of an episode of `length` actions; return shard, frame offset, action offset and length."""
        for column, file in self._files.items():
            file.seek(position(column, self.rows[column.per]))
            write_all(file, columns[column.name].data.cast("B"))
        frame, action = self.rows["frame"], self.rows["action"]
        self.rows = {"frame": frame + length + 1, "action": action + length}
        return self.index, frame, action, length

    def write_headers(self) -> None:
        """Name the rows in every file, so that any reader of ``.npy`` sees them."""
        for column, file in self._files.items():
            file.seek(0)
            write_all(file, header(column, self.rows[column.per]))

    def sync(self) -> None:
        """Wait until the rows are on the disk."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files; all their rows are committed."""
        self.sync()
        self.open = False
        for file in self._files.values():
            file.close()


def _make_folder(path: Path) -> None:
    left = {LOCK, JOURNAL, f"{MANIFEST}.tmp", "shards"}  # by a writer that was killed before the first commit
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = [entry.name for entry in path.iterdir() if entry.name not in left]
    except OSError as error:
        raise _refused(path, error) from error
    if found:
        raise StoreError(path, f"the folder is not empty: it holds {found[0]}", "choose another one, or resume")
    if (path / JOURNAL).exists() and (path / JOURNAL).stat().st_size:  # such a writer leaves it empty
        what = f"{JOURNAL} lists episodes, and {MANIFEST} is missing"
        raise StoreError(path, what, f"restore {MANIFEST} from a copy, or choose another folder")


def _lock_folder(path: Path) -> int:
    try:
        handle = lock_folder(path)
    except OSError as error:
        raise _refused(path, error) from error
    if handle is None:
        raise StoreError(path, "another process is writing to it", "wait for it or stop it")
    return handle


def _create(path: Path, manifest: FolderManifest) -> None:
    _make_folder(path)  # again, now that no other writer can be creating it
    (path / "shards").mkdir(exist_ok=True)
    (path / JOURNAL).write_bytes(b"")
    save_manifest(path, replace(manifest, closed_episodes=0))


def _refused(path: Path, error: OSError) -> StoreError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space or choose another folder" if full else "choose another folder"
    return StoreError(path, f"cannot write there ({error.strerror or error})", remedy)
