"""Windows: every stretch of a number of frames within one episode, numbered over one store or several."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from hallucade.data.latent_cache import LatentCache, caches_of
from hallucade.data.store import EpisodeStore
from hallucade.data.verified import DamageError

DamagePolicy = Literal["raise", "skip"]  # what to do about a window that touches damaged bytes


class Windows:
    """All windows of `frames` frames in the episodes of one split, read with their checksums checked.

    Args:
        stores: with equal actions and frame size.
        frames: t, frames in a window, joined by t - 1 actions.
        split: "train" or "validation".
        damage: whether `columns` raises at a damaged episode or leaves it out; `gather` always raises.
        latents: one cache a store, whose latents are read in place of frames.

    Raises:
        ValueError: a store has no such window, or the caches are of other stores.
    """

    def __init__(
        self,
        stores: Sequence[EpisodeStore],
        frames: int,
        split: str = "train",
        damage: DamagePolicy = "raise",
        latents: Sequence[LatentCache] = (),
    ) -> None:
        if frames < 2:
            raise ValueError(f"windows of {frames} frames; use at least 2")
        self.stores, self.frames, self.split, self.damage = tuple(stores), frames, split, damage
        self._caches = caches_of(stores, latents) if latents else ()
        places: list[tuple[int, int]] = []  # number of the store, of the episode in it
        legal: list[int] = []
        ranges: list[range] = []
        for number, store in enumerate(stores):
            indices = store.indices(split)
            counts = [max(store.episodes[index].frames - frames + 1, 0) for index in indices]
            if not any(counts):
                raise ValueError(_no_window(store, split, frames))
            first = ranges[-1].stop if ranges else 0
            ranges.append(range(first, first + sum(counts)))
            places += [(number, index) for index in indices]
            legal += counts
        self.ranges = tuple(ranges)  # the windows of each store
        self._places = np.array(places, np.int64)
        self._ends = np.cumsum(np.array(legal, np.int64))  # of the episodes
        self._starts = self._ends - np.array(legal, np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def episodes_of(self, ids: Int64[np.ndarray, "b"]) -> Int64[np.ndarray, "b"]:
        """Return the number of each window's episode, counted over all stores."""
        return np.searchsorted(self._ends, ids, side="right")

    def columns(self, store: int, name: str) -> Iterator[tuple[range, np.ndarray]]:
        """Yield the windows of each episode of one of the stores, and all the episode's rows of a column.

        Raises:
            DamageError: an episode's rows are not what was recorded, and damage is not to be skipped.
        """
        column = self.stores[store].verified(name)
        for place in np.flatnonzero((self._places[:, 0] == store) & (self._ends > self._starts)):
            try:
                rows = column.episode(int(self._places[place, 1]))
            except DamageError:
                if self.damage == "raise":
                    raise
                continue
            yield range(int(self._starts[place]), int(self._ends[place])), rows

    def gather(self, ids: Int64[np.ndarray, "b"]) -> tuple[Shaped[np.ndarray, "b t ..."], Float32[np.ndarray, "b n c"]]:
        """Copy windows out of the stores: frames, or their latents where there are caches, and raw action rows.

        Raises:
            DamageError: one of them touches bytes that are not what was recorded.
        """
        column = self._caches[0].column if self._caches else self.stores[0].manifest.column("frames")
        frames = np.empty((len(ids), self.frames, *column.shape), column.dtype)
        rows = np.empty((len(ids), self.frames - 1, self.stores[0].actions.size), np.float32)
        episodes = self.episodes_of(ids)
        starts, places = ids - self._starts[episodes], self._places[episodes]
        numbers: list[int] = np.unique(places[:, 0]).tolist()
        for number in numbers:
            mine = np.flatnonzero(places[:, 0] == number)
            store = self.stores[number]
            pictures = self._caches[number].verified if self._caches else store.verified("frames")
            for reader, out in ((store.verified("actions"), rows), (pictures, frames)):
                reader.read(out, mine, places[mine, 1], starts[mine])
        return frames, rows


def _no_window(store: EpisodeStore, split: str, frames: int) -> str:
    longest = max((store.episodes[i].frames for i in store.indices(split)), default=0)
    if longest == 0:
        return f"{store.path} has no {split} episode; record more episodes or change the validation share"
    return (
        f"no {split} episode of {store.path} holds a window of {frames} frames, the longest has {longest}; "
        "use shorter windows or record longer episodes"
    )
