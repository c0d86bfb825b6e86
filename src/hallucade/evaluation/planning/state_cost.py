"""A cost of the state, wherever it comes from: a probe that reads it off pictures, or the simulator itself."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from hallucade.evaluation.planning.costs import Over
from hallucade.evaluation.planning.futures import Futures

ReadStates = Callable[[Futures], np.ndarray]  # states of futures, `n f s`


class StateCost:
    """A function of states `n f s` that gives each frame a cost, `n f`.

    Args:
        read: gives the states.
        cost: of each of them.
        over: which frames count.
    """

    def __init__(self, read: ReadStates, cost: Callable[[np.ndarray], np.ndarray], over: Over = "last") -> None:
        self._read, self._cost, self._over = read, cost, over

    def __call__(self, futures: Futures) -> Float64[np.ndarray, "n"]:
        seen = futures.last() if self._over == "last" else futures
        return np.asarray(self._cost(self._read(seen)), np.float64).mean(1)
