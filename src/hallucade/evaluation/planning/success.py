"""Shares of successes with their uncertainty."""

import math
from dataclasses import dataclass

Z = 1.959963984540054  # of a normal distribution: 95 % lie within


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.of

    def interval(self) -> tuple[float, float]:
        """Return the 95 % score interval of Wilson (1927), which stays honest near 0 and 1 and for few episodes."""
        n, p = self.of, self.value
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)
