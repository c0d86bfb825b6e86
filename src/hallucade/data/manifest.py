"""What a store says about itself: one sealed ``manifest.json``, written once and replaced as a whole.

The list of episodes stands beside it in ``episodes.jsonl`` (see `journal`), which only grows: rewriting one file with
every episode at every commit would cost quadratic time on large stores.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.config import Config

MANIFEST = "manifest.json"
SEAL = "crc32"  # key of the checksum over everything else in a sealed JSON object


class StoreError(ValueError):
    """A store that cannot be read or written: where, what is wrong, and what to do."""

    def __init__(self, path: str | os.PathLike[str], what: str, remedy: str) -> None:
        super().__init__(f"{os.fspath(path)}: {what}; {remedy}")
        self.path, self.what, self.remedy = Path(path), what, remedy


@dataclass(frozen=True, kw_only=True)
class StoreColumn(Config):
    """One kind of data of every episode, kept in ``<name>.npy`` of each shard.

    Raises:
        ValueError: a name that is no plain file name, or a dtype that is no plain little-endian number.
    """

    name: str  # frames, actions, rewards, state, or extras.<name>
    dtype: str  # numpy's code, "|u1", "<f4"
    shape: tuple[int, ...]  # of one row
    per: Literal["frame", "action"]  # n + 1 or n rows an episode of n actions

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)?", self.name):
            raise ValueError(f"column name {self.name!r} is no plain file name; use letters, digits and _")
        if not re.fullmatch(r"\|[bu]1|\|i1|<[iuf][248]", self.dtype):
            raise ValueError(f"column {self.name!r} has dtype {self.dtype!r}; use a little-endian number such as '<f4'")
        if any(size < 1 for size in self.shape):
            raise ValueError(f"column {self.name!r} has rows of shape {self.shape}; leave an empty column out")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def rows(self, length: int) -> int:
        """Rows of an episode of `length` actions."""
        return length + (self.per == "frame")

    @classmethod
    def like(cls, name: str, column: np.ndarray) -> "StoreColumn":
        """Describe `column`, one episode's worth of rows."""
        per = "action" if name in ("actions", "rewards") else "frame"
        dtype = column.dtype.newbyteorder("<").str
        return cls(name=name, dtype=dtype, shape=column.shape[1:], per=per)


class FolderManifest(Config):
    """What every folder of column files says of itself; which fields that are is the subclass's choice."""

    format: ClassVar[str]
    version: ClassVar[int] = 1  # the newest that can be read
    what: ClassVar[str]  # the folder, in words, with its article
    remedy: ClassVar[str]  # how to make one

    columns: tuple[StoreColumn, ...]
    shard_bytes: int  # a shard is full when its files together reach this size
    notes: tuple[str, ...]  # on the folder as a whole
    closed_episodes: int  # episodes when a writer last closed: fewer in the journal means that it was cut

    def column(self, name: str) -> StoreColumn:
        """Return the column of this name; KeyError if there is none."""
        return {column.name: column for column in self.columns}[name]


M = TypeVar("M", bound=FolderManifest)


@dataclass(frozen=True, kw_only=True)
class StoreManifest(FolderManifest):
    """Everything about a store but its episodes.

    Raises:
        ValueError: columns that no episode can have, or a share outside [0, 0.5].
    """

    format: ClassVar[str] = "hallucade-episodes"
    what: ClassVar[str] = "an episode store"
    remedy: ClassVar[str] = "record one with `hallucade record`"

    actions: ActionSpace
    columns: tuple[StoreColumn, ...]  # frames and actions always
    fps: float
    state_names: tuple[str, ...] = ()  # one name a column of `state`
    game: str | None = None  # name of the simulator of the same game, if there is one
    source: str = ""  # where the play comes from
    licence: str = ""  # what others may do with it
    command: str = ""  # the exact command that made the store
    settings: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])  # must fit to resume
    validation_share: float = 0.05  # of the episodes, see `split_of`
    shard_bytes: int = 2**28  # a shard is full when its files together reach this size
    notes: tuple[str, ...] = ()  # on the store as a whole, such as episodes of the source that could not be read
    closed_episodes: int = 0  # episodes when a writer last closed: fewer in the journal means that it was cut

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or not {"frames", "actions"} <= set(names):
            raise ValueError(f"store columns are {names}; they must differ and hold frames and actions")
        if len(self.column("frames").shape) != 3 or self.column("frames").shape[2] != 3:
            raise ValueError(f"a frame has shape {self.column('frames').shape}; it must be height, width, 3")
        if self.column("actions").shape != (self.actions.size,):
            have = self.column("actions").shape
            raise ValueError(f"action rows have shape {have}, the action space has {self.actions.size} column(s)")
        if not 0 <= self.validation_share <= 0.5:
            raise ValueError(f"validation share is {self.validation_share}; use 0 to 0.5")
        if not self.fps > 0:
            raise ValueError(f"fps is {self.fps}; it must be positive")

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        height, width, _ = self.column("frames").shape
        return height, width

    def closed_at(self, episodes: int) -> "StoreManifest":
        """Return the manifest of a store that was closed holding `episodes`."""
        return replace(self, closed_episodes=episodes)


def refuse_other(path: Path, there: StoreManifest, wanted: StoreManifest) -> None:
    """Refuse to continue a store of something else.

    Raises:
        StoreError: names what differs.
    """
    here, now = there.to_json(), wanted.to_json()
    before, after = {**here, **here["settings"]}, {**now, **now["settings"]}
    for name in (*wanted.settings, "actions", "columns", "fps", "state_names", "validation_share"):
        if before.get(name) != after[name]:
            what = f"it was made with {name} {before.get(name)!r}, not {after[name]!r}"
            raise StoreError(path, what, "resume with the same settings, or write into another folder")


def split_of(index: int, validation_share: float) -> str:
    """Say whether episode `index` is for "train" or "validation", spread evenly; episode 1 is the first to validate.

    A pure function, so that a store that grows never moves an episode across.
    """
    before, after = (int(np.floor((index + i) * validation_share)) for i in (-2, -1))
    return "validation" if index >= 1 and before != after else "train"


def save_manifest(path: Path, manifest: FolderManifest) -> None:
    """Write ``manifest.json`` in `path` so that at any moment either the old or the new one is there."""
    content = {"format": manifest.format, "version": manifest.version, **manifest.to_json()}
    text = json.dumps({**content, SEAL: _seal(content)}, indent=1)
    temporary = path / f"{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path / MANIFEST)
    sync_folder(path)


def load_manifest(path: Path) -> StoreManifest:
    """Read and check ``manifest.json`` of the store in `path`; see `read_manifest`."""
    return read_manifest(path, StoreManifest)


def read_manifest(path: Path, kind: type[M]) -> M:
    """Read and check ``manifest.json`` in `path`.

    Raises:
        StoreError: there is none, or it is of another kind, of a newer format, or damaged.
    """
    content = _read_json(path, kind)
    if content.pop("format", None) != kind.format:
        raise StoreError(path, f"{MANIFEST} is not of {kind.what}", f"give the folder of one, or {kind.remedy}")
    version = content.get("version")
    if not isinstance(version, int) or version > kind.version:
        what = f"{MANIFEST} names format version {version}, this hallucade reads up to {kind.version}"
        raise StoreError(path, what, "upgrade hallucade, or restore the file from a copy if it is damaged")
    seal = content.pop(SEAL, None)
    if seal != _seal({"format": kind.format, **content}):
        raise StoreError(path, f"{MANIFEST} is damaged: its checksum differs", "restore it from a copy")
    content.pop("version")
    try:
        return kind.from_json(content)
    except ValueError as error:
        raise StoreError(path, f"{MANIFEST} is not usable: {error}", f"make the folder again: {kind.remedy}") from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut, where the system lets a folder be opened."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_json(path: Path, kind: type[FolderManifest]) -> dict[str, Any]:
    if not path.is_dir():
        if path.exists():
            raise StoreError(path, "this is a file", f"give the folder of {kind.what}")
        raise StoreError(path, "there is no such folder", kind.remedy)
    try:
        content = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise StoreError(path, f"this is not {kind.what}: it has no {MANIFEST}", "give the folder of one") from None
    except OSError as error:
        raise StoreError(path, f"cannot read {MANIFEST} ({error.strerror})", "check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(path, f"{MANIFEST} is not JSON ({error})", "restore it from a copy") from error
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(plain.encode()):08x}"
