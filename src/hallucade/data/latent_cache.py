"""The latents of every frame of a store, made once so that training never encodes.

    CACHE/manifest.json              whose latents they are: the store, the tokenizer, the precision (`LatentManifest`)
    CACHE/episodes.jsonl             one line an episode, in the order of the store (see `journal`)
    CACHE/shards/00000/latents.npy   one row a frame, all episodes end to end (see `column`)
    CACHE/tokenizer/                 the autoencoder that made them, so that nothing else is needed to decode

The files are those of a store, written and read by the same code: appended to atomically, locked while they are, and
held against their checksums when they are read.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from hallucade.data.journal import read_journal
from hallucade.data.manifest import FolderManifest, StoreColumn, StoreError, read_manifest
from hallucade.data.store import EpisodeStore, check_sizes, committed_rows
from hallucade.data.verified import DamageError, VerifiedColumn

LATENTS = "latents"  # the one column
LatentType = Literal["float16", "float32", "uint16"]  # on disk; codes are uint16


@dataclass(frozen=True, kw_only=True)
class LatentManifest(FolderManifest):
    """Whose latents a cache holds, and how they were made."""

    format: ClassVar[str] = "hallucade-latents"
    what: ClassVar[str] = "a latent cache"
    remedy: ClassVar[str] = "make one with `hallucade tokenize`"

    columns: tuple[StoreColumn, ...]  # latents, one row a frame
    store: str  # fingerprint of the store
    tokenizer_fingerprint: str
    tokenizer: dict[str, int | float | str | None]  # its config as JSON
    stride: int = 1  # frames a latent
    codes: int | None = None  # how many there are; None: latents are float channels
    device: str = "cpu"  # kind of device that computed them: another one gives other last digits
    relative_error: float = 0.0  # against float32, of the worst frame of a sample; of codes the share that differs
    command: str = ""  # the exact command that made the cache
    shard_bytes: int = 2**28
    notes: tuple[str, ...] = field(default_factory=tuple[str, ...])
    closed_episodes: int = 0

    def __post_init__(self) -> None:
        if [column.name for column in self.columns] != [LATENTS] or self.columns[0].per != "frame":
            raise ValueError(
                f"columns are {[column.name for column in self.columns]}; a cache has latents, one a frame"
            )
        if (self.codes is not None) != (np.dtype(self.columns[0].dtype).kind == "u"):
            raise ValueError(f"codes is {self.codes} and latents are {self.columns[0].dtype}; codes are unsigned")
        if self.stride != 1:
            raise ValueError(f"stride is {self.stride}; a cache holds one latent a frame")


class LatentCache:
    """Latents on disk, open for reading.

    Raises:
        StoreError: `path` holds no latent cache, one of a newer format, or one that is damaged or cut short.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path, LatentManifest)
        self.episodes, _ = read_journal(self.path, self.manifest.closed_episodes)
        check_sizes(self.path, self.manifest.columns, committed_rows(self.episodes))
        self.column = self.manifest.column(LATENTS)
        self.verified = VerifiedColumn(self.path, self.column, self.episodes)  # hands out no damaged byte

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        return self.column.shape

    @property
    def total_frames(self) -> int:
        """Frames of all episodes."""
        return sum(record.frames for record in self.episodes)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any latent."""
        made = [self.manifest.store, self.manifest.tokenizer_fingerprint, self.column.to_json()]
        content = [made, [(record.length, record.crc32) for record in self.episodes]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def episode(self, index: int) -> np.ndarray:
        """Return a copy of the latents of one episode, `t *latent`.

        Raises:
            DamageError: a byte of them is not what was written.
        """
        return self.verified.episode(index)

    def check(self, tokenizer_fingerprint: str) -> None:
        """Refuse latents of another tokenizer.

        Raises:
            StoreError: names both fingerprints.
        """
        made_by = self.manifest.tokenizer_fingerprint
        if made_by != tokenizer_fingerprint:
            what = f"its latents were made by the tokenizer {made_by}, and the run has {tokenizer_fingerprint}"
            raise StoreError(self.path, what, "train with that tokenizer, or make another cache: hallucade tokenize")

    def check_codes(self, codes: int | None) -> None:
        """Refuse codes that a tokenizer with so many does not have; reads all of them.

        Raises:
            StoreError: names both numbers.
        """
        held, remedy = self.manifest.codes, "make another cache with that tokenizer: hallucade tokenize"
        if held != codes:
            counts = [f"{count:,} codes" if count is not None else "float channels" for count in (held, codes)]
            raise StoreError(self.path, "it holds {}, and its tokenizer makes {}".format(*counts), remedy)
        for index in range(len(self) if codes is not None else 0):
            try:
                most = int(self.episode(index).max(initial=0))
            except DamageError:
                continue  # whoever reads a window of it is asked what to do about that
            if most >= (codes or 0):
                what = f"episode {index} holds the code {most:,}, and its tokenizer has {codes:,}, counted from 0"
                raise StoreError(self.path, what, remedy)


def caches_of(stores: Sequence[EpisodeStore], caches: Sequence[LatentCache]) -> tuple[LatentCache, ...]:
    """Return the cache of each store, in the order of the stores.

    Raises:
        StoreError: a store has none, a cache is of none of them or not finished, or two differ in tokenizer or shape.
    """
    by_store = {cache.manifest.store: cache for cache in caches}
    wanted = {store.fingerprint: store for store in stores}
    for cache in caches:
        if cache.manifest.store not in wanted:
            given = ", ".join(f"{store.path} is {fingerprint}" for fingerprint, store in wanted.items())
            what = f"it holds the latents of a store with the fingerprint {cache.manifest.store}, and {given}"
            raise StoreError(cache.path, what, f"make its own: hallucade tokenize {stores[0].path} CACHE")
        _check_agreement(caches[0], cache)
    for fingerprint, store in wanted.items():
        if fingerprint not in by_store:
            raise StoreError(store.path, "no cache of its latents is given", f"hallucade tokenize {store.path} CACHE")
        cache = by_store[fingerprint]
        if len(cache) < len(store):
            what = f"it holds {len(cache)} of the {len(store)} episodes of {store.path}"
            raise StoreError(cache.path, what, "finish it: the same hallucade tokenize with --resume")
    return tuple(by_store[store.fingerprint] for store in stores)


def _check_agreement(first: LatentCache, other: LatentCache) -> None:
    other.check(first.manifest.tokenizer_fingerprint)
    if other.column != first.column:
        here, there = (f"{'x'.join(map(str, c.latent_shape))} {np.dtype(c.column.dtype).name}" for c in (other, first))
        what = f"its latents are {here}, and those of {first.path} {there}"
        raise StoreError(other.path, what, "make both with the same options")
