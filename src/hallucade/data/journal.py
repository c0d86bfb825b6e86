"""The episodes of a store: ``episodes.jsonl``, one sealed line each, only ever appended to.

A line is written after the data it names, so a line that is complete is an episode that is complete; a last line
without its newline is a commit that was cut off, and does not count.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hallucade.data.manifest import StoreError

JOURNAL = "episodes.jsonl"
_SEAL = b',"line":"'  # the last key: crc32 of the line up to here


@dataclass(frozen=True)
class EpisodeRecord:
    """Where one episode lies and how to tell that it is whole."""

    shard: int
    frame_offset: int  # first row in columns of one row a frame
    action_offset: int  # first row in columns of one row an action
    length: int  # actions, n
    split: str  # "train" or "validation"
    seed: int | None  # that the game was started from
    crc32: dict[str, list[int]]  # a column's checksums, one a block of `column.BLOCK` bytes
    name: str = ""  # of the episode in the source that it comes from; a source's episode may be cut into several
    notes: tuple[str, ...] = ()  # what an importer cut, clipped or repaired

    @property
    def frames(self) -> int:
        """Frames, n + 1."""
        return self.length + 1


def journal_lines(records: Iterable[EpisodeRecord]) -> bytes:
    """Return the lines that commit `records`."""
    lines: list[bytes] = []
    for record in records:
        known = {key: value for key, value in vars(record).items() if key not in ("name", "notes") or value}
        body = json.dumps(known, separators=(",", ":")).encode()[:-1]
        lines.append(body + _SEAL + b'%08x"}\n' % zlib.crc32(body))
    return b"".join(lines)


def read_journal(path: Path, closed_episodes: int) -> tuple[tuple[EpisodeRecord, ...], int]:
    """Return the committed episodes of the store at `path`, and how many bytes of its journal they take.

    Raises:
        StoreError: the journal is missing, damaged, or shorter than when it was last closed.
    """
    try:
        content = (path / JOURNAL).read_bytes()
    except FileNotFoundError:
        raise StoreError(path, f"{JOURNAL} is missing", "restore it from a copy of the store") from None
    end = content.rfind(b"\n") + 1
    lines = content[:end].splitlines()
    for number, line in enumerate(lines, 1):
        body, _, tail = line.rpartition(_SEAL)
        if tail != b'%08x"}' % zlib.crc32(body):
            remedy = "restore it from a copy; if there is none, cut this line and all after it"
            raise StoreError(path / JOURNAL, f"line {number} is damaged", remedy)
    if len(lines) < closed_episodes:
        what = f"it was closed with {closed_episodes} episodes and lists {len(lines)}"
        raise StoreError(path / JOURNAL, what, "restore it from a copy")
    return _records(path, lines), end


def _records(path: Path, lines: list[bytes]) -> tuple[EpisodeRecord, ...]:
    rows: list[dict[str, Any]] = json.loads(b"[" + b",".join(lines) + b"]")
    try:
        records = tuple(_record(row) for row in rows)
    except TypeError as error:
        what = f"a line is not an episode of format 1 ({error})"
        raise StoreError(path / JOURNAL, what, "record or import the store again") from error
    if any(min(r.shard, r.frame_offset, r.action_offset, r.length - 1) < 0 for r in records):
        raise StoreError(path / JOURNAL, "an episode has a negative offset or no action", "record the store again")
    return records


def _record(row: dict[str, Any]) -> EpisodeRecord:
    del row["line"]
    row["notes"] = tuple(row.get("notes", ()))
    return EpisodeRecord(**row)
