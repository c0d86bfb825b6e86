"""Checkpoints that a crash at any moment cannot break: safetensors and JSON, never pickle.

A checkpoint is a folder ``step_00000100``. It is written under a temporary name; every file is synced to disk; then
``manifest.json`` with their sizes and hashes; then the folder is renamed and the pointer ``latest`` replaced. Nothing
is ever overwritten in place, and only a folder whose manifest is complete and true is ever loaded.

- ``weights.safetensors``: every tensor of the method that plays or resumes; averaged weights where there is an average
- ``training.safetensors``: raw weights where there is an average, and the optimizers' momenta
- ``config.json`` the run's config, ``metadata.json`` where it comes from, ``state.json`` the trainer's counters
"""

import hashlib
import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hallucade.methods.base import rank_states
from hallucade.training.sharding import fill
from hallucade.training.tensor_file import file_parts

FORMAT = "hallucade-checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
LATEST = "latest"
MANIFEST_LIMIT = 1 << 20  # bytes; a longer one is not ours
CHUNK = 1 << 22  # bytes a write
LISTED = 6  # things that a sentence names before it only counts them
REMEDY = "restore it from a copy"
Content = bytes | Iterable[bytes | memoryview]  # of a file, at once or part by part


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message says which, why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is saved at one step."""

    step: int  # completed steps
    weights: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict[str, Any])  # the run's config as JSON
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])  # commit, versions, data fingerprint
    training: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    state: dict[str, Any] = field(default_factory=dict[str, Any])  # the trainer's counters; empty: cannot resume

    def files(self) -> Iterator[tuple[str, Content]]:
        """Yield file names and contents; tensors are copied to the CPU one at a time."""
        yield "weights.safetensors", file_parts(self.weights)
        if self.state:
            yield "training.safetensors", file_parts(self.training)
            yield "state.json", _json(self.state)
        yield "config.json", _json(self.config)
        yield "metadata.json", _json(self.metadata)


class CheckpointFolder:
    """The checkpoints of one run; the newest `keep` stay, and every `milestone_every` steps one for good."""

    def __init__(self, folder: Path, keep: int = 3, milestone_every: int | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.milestone_every = milestone_every

    def steps(self) -> list[int]:
        """Return the steps that have a folder, oldest first; whether it is whole shows in loading."""
        found = (re.fullmatch(r"step_(\d{8,})", path.name) for path in _entries(self.folder))
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint at `step`."""
        return self.folder / f"step_{step:08d}"

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, point ``latest`` to it and remove the oldest.

        Raises:
            CheckpointError: the disk is full or refuses; earlier checkpoints are untouched.
        """
        target = self.path(checkpoint.step)
        write_checkpoint(target, checkpoint)
        try:
            _write(self.folder / f"{LATEST}.tmp", f"{target.name}\n".encode())
            os.replace(self.folder / f"{LATEST}.tmp", self.folder / LATEST)
            _sync_folder(self.folder)
        except OSError as error:
            raise _write_error(target, error) from error
        self._prune()
        return target

    def load(self, *, weights_only: bool = False) -> Checkpoint:
        """Return the newest whole checkpoint, with a warning for each broken one on the way back.

        Args:
            weights_only: leave out what only a resumed training needs.

        Raises:
            CheckpointError: there is none, or the newest was written by a newer version.
        """
        for step in reversed(self.steps()):
            try:
                return read_checkpoint(self.path(step), weights_only=weights_only)
            except NewerFormatError:
                raise
            except CheckpointError as error:
                warnings.warn(f"{error}; trying the one before", stacklevel=2)
        raise CheckpointError(f"no whole checkpoint in {self.folder}; start the training again without resume")

    def sweep(self) -> None:
        """Remove what a killed writer left behind; only the one writer of a run calls this."""
        for path in _entries(self.folder):
            if ".tmp-" in path.name:
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self) -> None:
        steps = self.steps()
        for step in steps[: -self.keep]:
            if not (self.milestone_every and step % self.milestone_every == 0 and step > 0):
                _discard(self.path(step))


class NewerFormatError(CheckpointError):
    """The checkpoint was written by a newer version of this package."""


def write_checkpoint(target: Path, checkpoint: Checkpoint) -> None:
    """Write one checkpoint folder, atomically.

    Raises:
        CheckpointError: the disk is full or refuses; what stood at `target` is untouched.
    """
    temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        files = {name: _write(temporary / name, content) for name, content in checkpoint.files()}
        manifest = {"format": FORMAT, "version": VERSION, "step": checkpoint.step, "files": files}
        _write(temporary / MANIFEST, _json({**manifest, "sha256": _seal(manifest)}))
        _sync_folder(temporary)
        if target.exists():
            _discard(target)
        os.rename(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_checkpoint(folder: Path, *, weights_only: bool = False) -> Checkpoint:
    """Read one checkpoint folder; every byte that is used has passed its hash.

    Args:
        folder: a ``step_...`` folder, or any folder that ``write_checkpoint`` wrote.
        weights_only: leave out what only a resumed training needs.

    Raises:
        CheckpointError: the folder is missing, incomplete, damaged, foreign, or of a newer format.
    """
    manifest = _read_manifest(folder)
    files = cast("dict[str, Any]", manifest["files"])
    resumable = "state.json" in files and not weights_only
    return Checkpoint(
        step=int(manifest["step"]),
        weights=_unpack(folder, "weights.safetensors", files),
        config=_parse(folder, "config.json", files),
        metadata=_parse(folder, "metadata.json", files),
        training=_unpack(folder, "training.safetensors", files) if resumable else {},
        state=_parse(folder, "state.json", files) if resumable else {},
    )


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path) -> None:
    """Copy `tensors` into the module, all or nothing.

    Args:
        module: where to.
        tensors: one for each entry of ``module.state_dict()``; of a `RankState`, what it shall hold, which may be
            nothing.
        where: what the message calls the source.

    Raises:
        CheckpointError: names or shapes differ; the message lists the first few.
    """
    states = rank_states(module)
    handed = {prefix: tensors_below(prefix, tensors) for prefix in states}
    tensors = {name: value for name, value in tensors.items() if not name.startswith(tuple(states))}
    named = module.state_dict().items()
    wanted = {n: value for n, value in named if isinstance(value, Tensor) and not n.startswith(tuple(states))}
    faults = [f"missing {name}" for name in wanted if name not in tensors]
    faults += [f"unexpected {name}" for name in tensors if name not in wanted]
    faults += [
        f"{name} is {tuple(tensors[name].shape)} there and {tuple(value.shape)} here"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if faults:
        raise CheckpointError(f"{where} does not fit {type(module).__name__}: {listed(faults, '; ')}")
    with torch.no_grad():
        for name, value in wanted.items():
            fill(value, tensors[name])
        for prefix, state in states.items():
            state.take(handed[prefix])


def listed(things: Sequence[str], between: str = ", ") -> str:
    """Return a list for a sentence: the first few things, and how many more there are."""
    if not things:
        return "nothing"
    more = f" and {len(things) - LISTED} more" if len(things) > LISTED else ""
    return between.join(things[:LISTED]) + more


def tensors_below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def _write(path: Path, content: Content) -> dict[str, Any]:
    """Write and sync one file; return its manifest entry."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for part in [content] if isinstance(content, bytes) else content:
            digest.update(part)
            size += len(part)
            for start in range(0, len(part), CHUNK):
                file.write(part[start : start + CHUNK])
        file.flush()
        os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(folder: Path) -> None:
    """Remove a folder; it loses its name first, so that no half of it is ever taken for a checkpoint."""
    doomed = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
    try:
        os.rename(folder, doomed)
    except OSError:
        return  # a checkpoint too many harms nobody; the next save tries again
    shutil.rmtree(doomed, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _write_error(target: Path, error: OSError) -> CheckpointError:
    reason = error.strerror or str(error)
    return CheckpointError(
        f"cannot write checkpoint {target}: {reason}; earlier checkpoints are intact, so free space or choose "
        "another run folder, then resume"
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint at {folder}")
    if not _is_plain(path) or path.stat().st_size > MANIFEST_LIMIT:
        raise CheckpointError(f"{folder} is not a whole checkpoint: it has no usable {MANIFEST}; {REMEDY}")
    manifest = _decode(path, path.read_bytes())
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} is not a {FORMAT}: its {MANIFEST} says {manifest.get('format')!r}; give a run folder"
        )
    version = manifest.get("version")
    if isinstance(version, int) and version > VERSION:
        raise NewerFormatError(f"{folder} has format {version}, this version reads up to {VERSION}; update hallucade")
    if manifest.pop("sha256", None) != _seal(manifest):
        raise CheckpointError(f"{path} is damaged: it does not match its own hash; {REMEDY}")
    types_fit = isinstance(manifest.get("files"), dict) and isinstance(manifest.get("step"), int)
    if version != VERSION or not types_fit:
        raise CheckpointError(f"{path} is damaged: version, step or files are missing or of the wrong type; {REMEDY}")
    return manifest


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, name: str, files: dict[str, Any]) -> bytes:
    """Read a file that the manifest lists, and compare size and hash with it."""
    path, listed = folder / name, files.get(name)
    if not isinstance(listed, dict) or not _is_plain(path):
        raise CheckpointError(f"{folder} is incomplete: {name} is missing; {REMEDY}")
    entry = cast("dict[str, Any]", listed)
    size = path.stat().st_size
    if size != entry.get("size"):  # before reading: a foreign file may be huge
        raise CheckpointError(
            f"{path} is damaged: it has {size} bytes, its manifest says {entry.get('size')}; {REMEDY}"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise CheckpointError(f"{path} is damaged: its content does not match the hash in its manifest; {REMEDY}")
    return content


def _unpack(folder: Path, name: str, files: dict[str, Any]) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(_read(folder, name, files))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / name} is not a safetensors file ({error}); {REMEDY}") from error


def _parse(folder: Path, name: str, files: dict[str, Any]) -> dict[str, Any]:
    return _decode(folder / name, _read(folder, name, files))


def _decode(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON; {REMEDY}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: it is not a JSON object; {REMEDY}")
    return cast("dict[str, Any]", data)


def _is_plain(path: Path) -> bool:
    """Return whether `path` is a regular file: opening a pipe would hang, a link may lead anywhere."""
    return path.is_file() and not path.is_symlink()
