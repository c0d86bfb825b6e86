"""Appends episodes to a store, so that at any moment, however it ends, the store holds all committed episodes.

A commit writes the data to the open shard, syncs it, and then adds the episodes' lines to the journal. What lies
behind the journal's last line is not part of the store: the next writer cuts it off.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from hallucade.data.column import checksums, column_path, header, position, shard_path, write_all
from hallucade.data.episode import Episode
from hallucade.data.journal import JOURNAL, EpisodeRecord, journal_lines, read_journal
from hallucade.data.lock import LOCK, lock_folder
from hallucade.data.manifest import (
    MANIFEST,
    StoreColumn,
    StoreError,
    StoreManifest,
    load_manifest,
    save_manifest,
    split_of,
    sync_folder,
)
from hallucade.data.store import check_sizes, committed_rows


class StoreWriter:
    """The one writer of a store; a context manager.

    Args:
        path: a folder that is absent or empty to create a store, or an existing store to append to.
        manifest: of the store to create; None to append.
    Raises:
        StoreError: the folder is not empty, holds no store, or has another writer.
    """

    def __init__(self, path: str | os.PathLike[str], manifest: StoreManifest | None = None) -> None:
        self.path = Path(path)
        self._files = contextlib.ExitStack()
        if manifest is None:
            load_manifest(self.path)  # before the lock: it leaves a file, and this may be no store
        else:
            _make_folder(self.path)
        self._lock = _lock_store(self.path)
        try:
            if manifest is not None:
                _create(self.path, manifest)
            self.manifest = load_manifest(self.path)
            self._recover()
        except BaseException as error:
            self._files.close()
            os.close(self._lock)
            if isinstance(error, OSError):
                raise _refused(self.path, error) from error
            raise

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(StoreError) if error is not None else contextlib.nullcontext():
            self.close()

    def __len__(self) -> int:
        return len(self.episodes)

    def append(
        self,
        episodes: Sequence[Episode],
        seeds: Sequence[int | None] | None = None,
        splits: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        notes: Sequence[tuple[str, ...]] | None = None,
    ) -> None:
        """Commit episodes in order: they are in the store when this returns.

        Args:
            episodes: all with the columns of the manifest.
            seeds: that the games were started from, one an episode.
            splits: "train" or "validation", one an episode; by default `split_of` decides.
            names: of the episodes in the source that they come from.
            notes: what an importer cut, clipped or repaired, of each episode.
        Raises:
            ValueError: an episode that does not fit the manifest; nothing of this call is in the store.
            StoreError: the disk is full or failing; the store holds the first ``len(writer)`` episodes, all whole.
        """
        assert self._shard.open, "append to a writer that was closed, or could not recover from a failing disk"
        rows = [episode_columns(episode, self.manifest) for episode in episodes]
        first, share = len(self.episodes), self.manifest.validation_share
        splits = splits if splits is not None else [split_of(first + i, share) for i in range(len(rows))]
        known_seeds = seeds if seeds is not None else [None] * len(rows)
        names = names if names is not None else [""] * len(rows)
        notes = notes if notes is not None else [()] * len(rows)
        try:
            records: list[EpisodeRecord] = []
            facts = zip(splits, known_seeds, names, notes, strict=True)
            for columns, (split, seed, name, note) in zip(rows, facts, strict=True):
                if self._shard.would_overflow(columns, self.manifest.shard_bytes):
                    self._commit(records)
                    records = []
                    self._shard.close()
                    self._shard = self._open_shard(self._shard.index + 1, NO_ROWS)
                place = self._shard.append(columns)
                records.append(EpisodeRecord(*place, split, seed, _checksums(columns), name, note))
            self._commit(records)
        except OSError as error:
            self._roll_back()
            remedy = f"free some space and resume: all {len(self.episodes)} earlier episodes are kept"
            raise StoreError(self.path, f"cannot write ({error.strerror or error})", remedy) from error
        except BaseException:  # Ctrl-C above all: leave nothing half behind
            self._roll_back()
            raise

    def remark(self, note: str) -> None:
        """Keep a note on the store as a whole, once: an episode of the source that could not be read, for example.

        Raises:
            StoreError: the disk is full or failing; the store is as it was.
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
        """Finish the store's files and release the lock; harmless when repeated.

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
                save_manifest(self.path, self.manifest.closed_at(len(self.episodes)))
        except OSError as error:
            remedy = f"free some space: all {len(self.episodes)} episodes are kept"
            raise StoreError(self.path, f"cannot finish the store ({error.strerror or error})", remedy) from error
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

    def append(self, columns: Mapping[str, np.ndarray]) -> tuple[int, int, int, int]:
        """Write one episode's rows behind the last ones; return its shard, frame offset, action offset and length."""
        for column, file in self._files.items():
            file.seek(position(column, self.rows[column.per]))
            write_all(file, columns[column.name].data.cast("B"))
        frame, action, length = self.rows["frame"], self.rows["action"], len(columns["actions"])
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


def episode_columns(episode: Episode, manifest: StoreManifest) -> dict[str, np.ndarray]:
    """Return an episode's columns by name, as the bytes that a store keeps.

    Raises:
        ValueError: the episode is empty, or its columns or actions are not those of the manifest.
    """
    columns = {"frames": episode.frames, "actions": episode.actions}
    columns |= {} if episode.rewards is None else {"rewards": episode.rewards}
    columns |= {} if episode.state is None else {"state": episode.state}
    columns |= {f"extras.{name}": extra for name, extra in episode.extras.items()}
    if len(episode.actions) < 1:
        raise ValueError("the episode has no action; leave it out")
    have, want = sorted(columns), sorted(column.name for column in manifest.columns)
    if have != want:
        raise ValueError(f"the episode has columns {', '.join(have)}; the store keeps {', '.join(want)}")
    for name, data in columns.items():
        have, want = StoreColumn.like(name, data), manifest.column(name)
        if have != want:
            found, kept = (f"{' x '.join(map(str, c.shape)) or 1} {np.dtype(c.dtype).name}" for c in (have, want))
            raise ValueError(f"{name} has rows of {found}; the store keeps {kept}")
    manifest.actions.validate(episode.actions)
    return {name: np.ascontiguousarray(data, manifest.column(name).dtype) for name, data in columns.items()}


def _checksums(columns: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: checksums(data) for name, data in columns.items()}


def _make_folder(path: Path) -> None:
    left = {LOCK, JOURNAL, f"{MANIFEST}.tmp", "shards"}  # by a writer that was killed before the first commit
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = [entry.name for entry in path.iterdir() if entry.name not in left]
    except OSError as error:
        raise _refused(path, error) from error
    if found:
        raise StoreError(path, f"the folder is not empty: it holds {found[0]}", "choose another one, or resume")


def _lock_store(path: Path) -> int:
    try:
        handle = lock_folder(path)
    except OSError as error:
        raise _refused(path, error) from error
    if handle is None:
        raise StoreError(path, "another process is writing to this store", "wait for it or stop it")
    return handle


def _create(path: Path, manifest: StoreManifest) -> None:
    _make_folder(path)  # again, now that no other writer can be creating the store
    (path / "shards").mkdir(exist_ok=True)
    (path / JOURNAL).write_bytes(b"")
    save_manifest(path, manifest.closed_at(0))


def _refused(path: Path, error: OSError) -> StoreError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space or choose another folder" if full else "choose another folder"
    return StoreError(path, f"cannot write there ({error.strerror or error})", remedy)
