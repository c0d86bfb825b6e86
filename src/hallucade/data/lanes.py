"""Lanes: how each batch is shared out between populations of windows, exactly and without a state.

A lane draws its share of every batch from its own population, in an order that the step names. Over a run each lane
gets its share to within a few windows, whatever the batch; within an epoch of a lane, every window comes as often as
its population says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Int64, Integer

from hallucade.data.shuffle import shuffled
from hallucade.games.counter_random import random_bits

Numbers = range | Integer[np.ndarray, "_"]  # of windows
FINEST = 10_000  # denominator of a share
_EPOCH_SHIFT = np.uint64(44)  # leaves 20 random bits: far from where positions overflow, for any population


class Population:
    """Windows to draw from, each part of them so many times an epoch."""

    def __init__(self, parts: Sequence[tuple[Numbers, int]]) -> None:
        self._parts = [(windows, repeat) for windows, repeat in parts if len(windows) * repeat]
        self._ends = np.cumsum([len(windows) * repeat for windows, repeat in self._parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._parts else 0

    def draw(self, positions: Int64[np.ndarray, "n"], seed: int) -> Int64[np.ndarray, "n"]:
        """Return the windows at `positions` of an endless shuffled sequence over all epochs."""
        items = shuffled(positions, len(self), seed)
        part_of = np.searchsorted(self._ends, items, side="right")
        drawn = np.empty_like(items)
        for number, (windows, _) in enumerate(self._parts):
            mine = part_of == number
            places = items[mine] - (self._ends[number - 1] if number else 0)
            places %= len(windows)
            drawn[mine] = places + windows.start if isinstance(windows, range) else windows[places]
        return drawn


@dataclass(frozen=True)
class Lane:
    """A share of each batch, and where it comes from."""

    share: Fraction
    population: Population
    seed: int


class Lanes:
    """Draws batches of `batch` windows from lanes whose shares add up to one, in the order of the lanes."""

    def __init__(self, lanes: Sequence[Lane], batch: int) -> None:
        self._lanes, self.batch = [lane for lane in lanes if lane.share > 0], batch
        self._shares = [lane.share for lane in self._lanes]

    def ids_at(self, step: int) -> Int64[np.ndarray, "b"]:
        """Return the windows of the batch of `step`."""
        taken = zip(self._lanes, self._positions(step), strict=True)
        return np.concatenate([lane.population.draw(np.arange(p.start, p.stop), lane.seed) for lane, p in taken])

    def substitutes(self, step: int, slot: int) -> Iterator[int]:
        """Yield the windows that may stand in for that of a slot of a batch: all of its lane, in a random order."""
        slots = [(lane, p) for lane, taken in zip(self._lanes, self._positions(step), strict=True) for p in taken]
        lane, position = slots[slot]
        size = len(lane.population)
        epoch = int(random_bits(lane.seed, step, position)[0] >> _EPOCH_SHIFT)
        for place in range(epoch * size, (epoch + 1) * size):
            yield int(lane.population.draw(np.array([place]), ~lane.seed)[0])

    def _positions(self, step: int) -> list[range]:
        """Return which positions of its own sequence each lane gives to a batch."""
        starts, stops = (divided(slots, self._shares) for slots in (step * self.batch, (step + 1) * self.batch))
        return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def fraction(share: float) -> Fraction:
    """Return a share as the nearest fraction whose parts can be counted out: 0.3 as 3/10."""
    return Fraction(share).limit_denominator(FINEST)


def divided(slots: int, shares: Sequence[Fraction]) -> list[int]:
    """Say how many of the first `slots` slots each of some shares gets.

    Each share is split off from what the ones before it left, rounded to the nearest. So every count only grows with
    `slots`, they add up to it, and none is further than half the number of shares from its due.
    """
    counts: list[int] = []
    remaining, left = sum(shares, Fraction(0)), slots
    for share in shares:
        part = share / remaining
        taken = (2 * left * part.numerator + part.denominator) // (2 * part.denominator)
        counts.append(taken)
        left, remaining = left - taken, remaining - share
    return counts
