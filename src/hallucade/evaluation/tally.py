"""Means of named numbers over videos and ranks: what is not finite is left out, and nothing else."""

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from hallucade.evaluation.intervals import exact_mean
from hallucade.evaluation.ranks import from_every_rank


class Tally:
    """Collects values by name; no order or division of them over ranks changes a bit of their means."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, values: Mapping[str, float]) -> None:
        """Add one value a name; those that are not finite are unknown and not counted."""
        for name, value in values.items():
            if math.isfinite(value):
                self._values[name].append(float(value))

    def means(self) -> dict[str, float]:
        """Return the mean of each name that has a value."""
        return {name: exact_mean(np.array(values)) for name, values in self._values.items()}

    def counts(self) -> dict[str, int]:
        """Return how many values each mean is of."""
        return {name: len(values) for name, values in self._values.items()}

    def across_ranks(self) -> "Tally":
        """Return the values of all ranks together, on every rank."""
        together = Tally()
        for values in from_every_rank(dict(self._values)):
            for name, part in values.items():
                together._values[name] += part
        return together
