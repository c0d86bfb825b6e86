"""Encodes every frame of a store into a latent cache: side by side, and resumable at any episode.

The cache is a function of the store, the tokenizer and the options: any number of workers, an interruption and a
resumption give the same bytes, because frames are encoded in chunks that no episode shares, on one thread of a CPU.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from hallucade.data.column_writer import ColumnWriter, EpisodeRows
from hallucade.data.executors import AnyExecutor, Refused, serial
from hallucade.data.latent_cache import LATENTS, LatentCache, LatentManifest, LatentType
from hallucade.data.manifest import MANIFEST, StoreColumn, StoreError
from hallucade.data.store import EpisodeStore
from hallucade.tokenizers.base import Tokenizer, TokenizerError
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig

SAMPLE = 16  # frames that are encoded in float32 as well
TOLERANCE = 0.02  # relative error of the worst of them
Encoded = Shaped[np.ndarray, "t ..."] | Refused
Progress = Callable[[int, int], None]  # (frames that are done, frames)


def tokenize(
    store: EpisodeStore,
    path: str | os.PathLike[str],
    tokenizer: PretrainedTokenizerConfig,
    *,
    dtype: LatentType | None = None,
    device: torch.device | str = "cpu",
    executor: AnyExecutor = serial,
    tolerance: float = TOLERANCE,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> LatentCache:
    """Write the latents of all frames of `store` into a cache at `path`, and open it.

    Args:
        store: recorded play.
        path: a folder that is absent or empty, unless `resume`.
        tokenizer: whose latents; its precision is checked on some frames before any is written.
        dtype: of the latents on disk; None is uint16 for codes, and float16 for channels.
        device: that encodes.
        executor: who encodes; by default this process.
        tolerance: the largest relative error, against float32, of any of these frames.
        resume: continue what is there; absent counts as nothing yet.
        command: the command line that asked for it, kept with the cache.
        progress: called after each episode.

    Raises:
        TokenizerError: the tokenizer cannot be used.
        StoreError: a frame is damaged, the folder is not empty or holds something else, or the disk is full.
        ValueError: the store is empty, its frames do not suit the tokenizer, the precision does not suffice, or the
            device cannot be used.
    """
    path, pinned, device = Path(path), tokenizer.pinned(), usable_device(device)
    if len(store) == 0:
        raise StoreError(store.path, "the store has no episode yet", "record or import play first")
    dtype = _fitting(dtype, pinned)
    about = _manifest(store, pinned, dtype, device, command)
    if (path / MANIFEST).exists():
        if not resume:
            raise StoreError(path, "the folder is not empty", "choose another one, or go on with it: --resume")
        writer = ColumnWriter(path, LatentManifest)
    else:
        error = _accepted(precision_error(store, pinned, dtype, device), tolerance, pinned, dtype)
        writer = ColumnWriter(path, LatentManifest, replace(about, relative_error=error))
    with writer:
        _refuse_other(path, writer.manifest, about)
        pinned.keep_in(path)
        encode = Encoder(store.path.resolve(), pinned.kept_in(path.resolve()), dtype, str(device))
        _fill(writer, store, executor(encode, range(len(writer), len(store))), progress)
    return LatentCache(path)


def usable_device(name: torch.device | str) -> torch.device:
    """Return a device that can compute here.

    Raises:
        ValueError: torch does not know it, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device is {str(name)!r}, which cannot be used here ({reason}); use cpu, or leave it out"
        ) from None
    return device


def _fill(
    writer: ColumnWriter[LatentManifest],
    store: EpisodeStore,
    latents: Iterable[Encoded],
    progress: Progress | None,
) -> None:
    """Commit episodes from the first that is missing on."""
    done = sum(record.frames for record in writer.episodes)
    for encoded in latents:
        if isinstance(encoded, Refused):
            raise StoreError(encoded.path, encoded.what, f"{encoded.remedy}")
        record = store.episodes[len(writer)]
        writer.write([EpisodeRows({LATENTS: encoded}, record.length, record.split, record.seed, record.name)])
        done += record.frames
        if progress is not None:
            progress(done, store.total_frames)


def _manifest(
    store: EpisodeStore, pinned: PretrainedTokenizerConfig, dtype: LatentType, device: torch.device, command: str
) -> LatentManifest:
    shape = pinned.latent_shape(*store.frame_size)
    return LatentManifest(
        columns=(StoreColumn(name=LATENTS, dtype=np.dtype(dtype).str, shape=shape, per="frame"),),
        store=store.fingerprint,
        tokenizer_fingerprint=str(pinned.fingerprint),
        tokenizer=pinned.to_json(),
        codes=pinned.codes,
        device=device.type,
        command=command,
    )


def _fitting(dtype: LatentType | None, tokenizer: PretrainedTokenizerConfig) -> LatentType:
    """Return how latents lie on disk.

    Raises:
        ValueError: a type that cannot hold them.
    """
    if tokenizer.codes is None:
        if dtype == "uint16":
            raise ValueError(f"dtype is uint16 and {tokenizer.path} makes channels, no codes; use float16 or float32")
        return dtype or "float16"
    if dtype not in (None, "uint16"):
        raise ValueError(f"dtype is {dtype}, and the latents of {tokenizer.path} are codes; they are kept as uint16")
    return "uint16"


def _refuse_other(path: Path, there: LatentManifest, wanted: LatentManifest) -> None:
    """Refuse to continue a cache of something else.

    Raises:
        StoreError: names what differs.
    """
    before, after = ({**m.to_json(), **m.tokenizer} for m in (there, wanted))
    for name in ("store", "tokenizer_fingerprint", "precision", "chunk", "columns", "device"):
        if before[name] != after[name]:
            what = f"it was made with {name} {before[name]!r}, not {after[name]!r}"
            raise StoreError(path, what, "resume with the same, or write into another folder")


def _accepted(error: float, tolerance: float, pinned: PretrainedTokenizerConfig, dtype: LatentType) -> float:
    """Return the error of a precision.

    Raises:
        ValueError: it is above the tolerance.
    """
    if not error <= tolerance:
        raise ValueError(
            f"latents computed in {pinned.precision} and kept as {dtype} are up to {error:.2g} of their size away from "
            f"float32, more than the tolerance {tolerance:g}; use --precision fp32 --dtype float32, or allow more"
        )
    return error


@dataclass(frozen=True)
class Encoder:
    """Encodes an episode by its number; travels to other processes as paths and options."""

    store: Path
    tokenizer: PretrainedTokenizerConfig
    dtype: LatentType
    device: str

    @cached_property
    def opened(self) -> EpisodeStore:
        """The store, opened once in each process."""
        return EpisodeStore(self.store)

    @cached_property
    def network(self) -> Tokenizer:
        """The tokenizer, built once in each process."""
        return self.tokenizer.build().to(self.device)

    def __call__(self, index: int) -> Encoded:
        try:
            with one_thread():
                parts = [self._encode(index, start) for start in range(0, self._frames(index), self.tokenizer.chunk)]
            latents = np.ascontiguousarray(np.concatenate(parts))
            if not np.isfinite(latents).all():
                return Refused(str(index), str(self.store), f"a latent of episode {index} overflows", self._remedy())
            return latents
        except StoreError as error:  # which does not survive the way between processes
            return Refused(str(index), str(error.path), error.what, error.remedy)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("store", "tokenizer", "dtype", "device")}

    def _remedy(self) -> str:
        if (self.tokenizer.precision, self.dtype) == ("fp32", "float32"):
            return "the autoencoder's weights are damaged: copy or download them again"
        return "write another cache with --precision fp32 --dtype float32"

    def _frames(self, index: int) -> int:
        return self.opened.episodes[index].frames

    def _encode(self, index: int, start: int) -> Shaped[np.ndarray, "k ..."]:
        count = min(self.tokenizer.chunk, self._frames(index) - start)
        latents = self.network.encode(torch.from_numpy(read_frames(self.opened, index, start, count)).to(self.device))
        return _stored(latents[0], self.dtype)


def read_frames(store: EpisodeStore, index: int, start: int, count: int) -> UInt8[np.ndarray, "1 k h w 3"]:
    """Copy frames of an episode that are known to be what was recorded."""
    frames = np.empty((1, count, *store.frame_size, 3), np.uint8)
    zero = np.zeros(1, np.int64)
    store.verified("frames").read(frames, zero, zero + index, zero + start)
    return frames


def precision_error(
    store: EpisodeStore,
    tokenizer: PretrainedTokenizerConfig,
    dtype: LatentType,
    device: torch.device | str,
    sample: int = SAMPLE,
) -> float:
    """Return how far latents are from float32's: the norm of the difference over that of the latent, or, of codes, the
    share that differs.

    The worst of `sample` frames that are spread evenly over the episodes; infinite where a latent overflows.
    """
    if tokenizer.precision == "fp32" and dtype != "float16":
        return 0.0
    exact = replace(tokenizer, precision="fp32").build().to(device)
    quick = exact if tokenizer.precision == "fp32" else tokenizer.build().to(device)
    worst = 0.0
    for k in range(sample):
        index = k * len(store) // sample
        start = (store.episodes[index].frames - 1) * k // sample
        frames = torch.from_numpy(read_frames(store, index, start, 1)).to(device)
        with one_thread():
            true = exact.encode(frames)
            found = true if quick is exact else quick.encode(frames)
        if not torch.isfinite(true).all():
            what = f"{tokenizer.path} makes latents that are no finite numbers, in float32 too"
            raise TokenizerError(f"{what}; its weights are damaged: copy or download them again")
        kept = torch.from_numpy(_stored(found[0], dtype).astype(np.float32))
        worst = max(worst, _share(true[0].cpu(), kept) if dtype == "uint16" else _relative(true[0].cpu(), kept))
    return worst


def _stored(latents: Shaped[Tensor, "..."], dtype: LatentType) -> Shaped[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # of the sample, which is then refused
        return latents.cpu().numpy().astype(dtype)


def _share(true: Shaped[Tensor, "..."], found: Shaped[Tensor, "..."]) -> float:
    return float((found != true).float().mean())


def _relative(true: Float[Tensor, "..."], found: Float[Tensor, "..."]) -> float:
    if not torch.isfinite(found).all():
        return float("inf")
    return float(((found - true).square().sum() / true.square().sum().clamp_min(1e-12)).sqrt())


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Compute on one thread of the CPU: another number of them gives other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
