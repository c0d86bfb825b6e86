"""Clips: batches of windows cut from stores, each a pure function of (seed, step, rank, world).

There is no sampler state: a resumed run, or one that goes on with another number of ranks, sees the windows that it
would have seen. Within an epoch every window of the split comes exactly once, in an order of that epoch's own.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.data.balance import GROUPS, Balance, group_labels, group_members, group_sizes
from hallucade.data.focus import Focus, focused_windows
from hallucade.data.framing import AS_RECORDED, Framing
from hallucade.data.lanes import Lane, Lanes, Population, fraction
from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Blend, Mixture
from hallucade.data.store import EpisodeStore
from hallucade.data.verified import DamageError
from hallucade.data.windows import DamagePolicy, Windows
from hallucade.games.counter_random import random_bits
from hallucade.shapes import Actions, Frames, Latents


@dataclass(frozen=True)
class Clip:
    """A batch of windows: t frames joined by t - 1 encoded actions.

    `seed` is a pure function of (seed, step, rank): every random draw made for this batch starts from it, so that
    resume is exact without saving a generator.
    """

    frames: Frames  # of no pixels, b t 0 0 3, where latents are given in their place
    actions: Actions
    seed: int = 0
    skipped: int = 0  # windows that stand in for damaged ones
    latents: Latents | None = None  # what the tokenizer makes of the frames, from a `LatentCache`
    part: int = 0  # which microbatch of its batch, for methods that go on with one from step to step
    pace: float = 1.0  # frames of the game that is learned from one of these to the next
    episodes: Int64[Tensor, "b"] | None = None  # that the windows are from, by numbers of the source's own

    def split(self, parts: int) -> "tuple[Clip, ...]":
        """Cut the batch into equal microbatches, each with a seed of its own.

        Raises:
            ValueError: the batch is not a multiple of `parts`.
        """
        batch = len(self.frames)
        if parts < 1 or batch % parts:
            raise ValueError(f"a batch of {batch} windows cannot be cut into {parts} equal parts; choose a divisor")
        latents = [None] * parts if self.latents is None else self.latents.chunk(parts)
        episodes = [None] * parts if self.episodes is None else self.episodes.chunk(parts)
        pieces = zip(self.frames.chunk(parts), self.actions.chunk(parts), latents, episodes, strict=True)
        return tuple(
            Clip(frames, actions, _seed(self.seed, part), latents=latents, part=part, pace=self.pace, episodes=episodes)
            for part, (frames, actions, latents, episodes) in enumerate(pieces)
        )


@runtime_checkable
class ClipSource(Protocol):
    """Whatever says which clip belongs to which step."""

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's share of the global batch of `step`."""
        ...


class ClipWindows:
    """All windows of `frames` frames of one split of a store or a mixture, in batches of `batch` over all ranks.

    Args:
        store: where the play lies.
        actions: encodes the action rows.
        frames: t, frames in a window, joined by t - 1 actions.
        batch: windows in a global batch.
        seed: of the order.
        split: "train" or "validation".
        focus: what to see more of than its share of the play.
        balance: how much to see of each kind of action.
        damage: whether a window that touches damaged bytes is an error, or another one of its kind stands in for it.
        latents: one cache a store; clips then hold its latents and no pixels. The windows are the same.
        framing: what a window shows of the frames that it reaches over. Focus and balance count shown frames and judge
            all recorded ones.
        pace: of the clips.

    Raises:
        ValueError: no episode of the split is long enough, the focus or the balance finds no window, a cache is of
            another store, or latents would have to be resized.
        DamageError: a state or an action that tells which windows to see is damaged.
    """

    def __init__(
        self,
        store: EpisodeStore | Mixture,
        actions: ActionSpace,
        *,
        frames: int = 9,
        batch: int = 64,
        seed: int = 0,
        split: str = "train",
        focus: Focus | None = None,
        balance: Balance | None = None,
        damage: DamagePolicy = "raise",
        latents: Sequence[LatentCache] = (),
        framing: Framing = AS_RECORDED,
        pace: float = 1.0,
    ) -> None:
        if frames < 2 or batch < 1:
            raise ValueError(f"windows of {frames} frames in batches of {batch}; use at least 2 frames and 1 window")
        if latents and framing.size is not None:
            raise ValueError(_no_pixels(framing.size, store.frame_size))
        self.store, self.actions, self.framing, self.pace = store, actions, framing, pace
        self.frames, self.batch, self.seed, self.split = frames, batch, seed, split
        self.focus, self.balance, self.damage, self.latents = focus, balance, damage, tuple(latents)
        mixture = store if isinstance(store, Mixture) else Mixture([store], [1])
        self.windows = Windows(mixture.stores, framing.span(frames), split, damage, self.latents)
        lanes = [lane for number, blend in enumerate(mixture.blends) for lane in self._lanes_of(blend, number)]
        self._lanes = Lanes(lanes, batch)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any batch would."""
        shape = [self.store.fingerprint, self.frames, self.batch, self.seed, self.split]
        choices: list[object] = [None if choice is None else choice.to_json() for choice in (self.focus, self.balance)]
        choices += [cache.fingerprint for cache in self.latents]
        if self.framing != AS_RECORDED:
            choices.append([self.framing.size, self.framing.stride])
        return hashlib.sha256(json.dumps([*shape, *choices]).encode()).hexdigest()[:16]

    def ids_at(self, step: int) -> Int64[np.ndarray, "b"]:
        """Return the window numbers of the global batch of `step`, the same for any world and whatever is damaged."""
        return self._lanes.ids_at(step)

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's windows of the global batch of `step`.

        Raises:
            ValueError: the batch is not a multiple of `world`.
            DamageError: a window is damaged, and not to be skipped or nothing can stand in for it.
        """
        if self.batch % world:
            raise ValueError(f"a batch of {self.batch} windows cannot be shared by {world} ranks; choose a multiple")
        share = self.batch // world
        ids = self.ids_at(step)[rank * share : (rank + 1) * share]
        read, pressed, skipped = self._gather(ids, step, rank * share)
        found, rows = self.framing.pictures(read), self.framing.rows(pressed, self.store.actions)
        episodes = torch.from_numpy(self.windows.episodes_of(ids))
        features, seed = self.actions.encode(torch.from_numpy(rows)), _seed(self.seed, step, rank)
        if not self.latents:
            frames = torch.from_numpy(np.ascontiguousarray(found))
            return Clip(frames, features, seed, skipped, pace=self.pace, episodes=episodes)
        unseen = torch.empty((*found.shape[:2], 0, 0, 3), dtype=torch.uint8)
        latents = found.astype(np.int64 if found.dtype.kind == "u" else np.float32)  # codes, or channels
        latents = torch.from_numpy(latents)
        return Clip(unseen, features, seed, skipped, latents, pace=self.pace, episodes=episodes)

    def _gather(
        self, ids: Int64[np.ndarray, "b"], step: int, first: int
    ) -> tuple[Shaped[np.ndarray, "b t ..."], Float32[np.ndarray, "b n c"], int]:
        """Read the slots of a batch from `first` on; say how many windows stand in for damaged ones, now among `ids`.

        What stands in depends on the seed, the step, the slot and what is damaged, and on nothing else.
        """
        stand_ins: dict[int, Iterator[int]] = {}
        while True:
            try:
                return *self.windows.gather(ids), len(stand_ins)
            except DamageError as error:
                if self.damage == "raise":
                    raise
                candidates = stand_ins.setdefault(error.slot, self._lanes.substitutes(step, first + error.slot))
                found = next(candidates, None)
                if found is None:  # nothing of its kind is whole
                    raise
                ids[error.slot] = found

    def _lanes_of(self, blend: Blend, number: int) -> Iterator[Lane]:
        """Divide a share of each batch into what the focus, the balance and the plain order take of it."""
        seed = self.seed if number == 0 else _seed(self.seed, number)
        left = blend.share
        if self.focus is not None and self.focus.share > 0:
            share, focus, stride = fraction(self.focus.share), self.focus, self.framing.stride
            sought = [(focused_windows(self.windows, i, focus, stride), repeat) for i, repeat in blend.sources]
            yield Lane(left * share, Population(sought), seed + 1)
            left *= 1 - share
        if self.balance is not None and self.balance.share > 0:
            share = fraction(self.balance.share)
            yield from self._balanced(self.balance, blend, left * share, seed + 2)
            left *= 1 - share
        yield Lane(left, Population([(self.windows.ranges[i], repeat) for i, repeat in blend.sources]), seed)

    def _balanced(self, balance: Balance, blend: Blend, share: Fraction, seed: int) -> Iterator[Lane]:
        labels = [group_labels(self.windows, i, balance.lead, self.framing.stride) for i, _ in blend.sources]
        for group, part in balance.shares_of(group_sizes(*labels)).items():
            members = [
                (group_members(found, group, self.windows.ranges[i].start), repeat)
                for found, (i, repeat) in zip(labels, blend.sources, strict=True)
            ]
            yield Lane(share * part, Population(members), seed + GROUPS.index(group))


def _no_pixels(size: tuple[int, int], recorded: tuple[int, int]) -> str:
    (h, w), (rh, rw) = size, recorded
    return (
        f"size is {h}x{w}, and a cache holds latents of one size, here of frames of {rh}x{rw}; train on frames (leave "
        f"out --latents), or give {h}x{w} a run on a store and a cache of its own, and start from it by init_from"
    )


def _seed(*counters: int) -> int:
    """Return 63 random bits named by counters."""
    return int(random_bits(*counters)[0] >> np.uint64(1))
