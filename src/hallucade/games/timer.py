"""A clock that rings at random times, one for every game that a bot plays."""

import numpy as np
from jaxtyping import Bool, UInt64

from hallucade.games.counter_random import random_bits, uniform


class Timer:
    """Rings in every game at random times, `low` to `high` frames apart, and in the first frame."""

    def __init__(self, streams: UInt64[np.ndarray, "n"], low: int, high: int) -> None:
        self._streams, self._low, self._span = streams, low, high - low + 1
        self.left = np.zeros(len(streams), np.int64)  # frames until the next ring
        self.rings = np.zeros(len(streams), np.int64)  # so far

    def tick(self) -> Bool[np.ndarray, "n"]:
        """Advance one frame and say in which games it rings."""
        due = self.left == 0
        share = uniform(random_bits(self._streams[due], self.rings[due], -1))
        self.left[due] = self._low + (share * self._span).astype(np.int64)
        self.rings[due] += 1
        self.left -= 1
        return due
