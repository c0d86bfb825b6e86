"""One measured figure, printed as one JSON object a line."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

Details = dict[str, float | int | str | bool]


@dataclass(frozen=True)
class Measurement:
    """A figure, its unit, and what has to be known to repeat it."""

    bench: str
    value: float
    unit: str
    details: Details = field(default_factory=Details)

    def print(self) -> None:
        """Print the line at once, so that a long run shows what it has."""
        figures = {"bench": self.bench, "value": self.value, "unit": self.unit, **self.details}
        print(json.dumps({name: _rounded(value) for name, value in figures.items()}), flush=True)


def device() -> torch.device:
    """Return the accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def wait(where: torch.device) -> None:
    """Return when all work on `where` is done."""
    if where.type != "cpu":
        torch.accelerator.synchronize(where)


@dataclass(frozen=True)
class PairedSeconds:
    """Median seconds of two things that were done in turns, and the median of their ratios."""

    first: float
    second: float
    ratio: float


def paired_seconds(
    first: Callable[[int], object], second: Callable[[int], object], pairs: int, where: torch.device
) -> PairedSeconds:
    """Do two things in turns, the one and the other first: what else a machine does slows both alike.

    On a CPU seconds are those that this process was given, which hardly depend on who else wants them.
    """
    clock = time.process_time if where.type == "cpu" else time.perf_counter
    seconds = np.empty((pairs, 2))
    for turn in range(pairs):
        order = (0, 1) if turn % 2 else (1, 0)
        for which in order:
            start = clock()
            (first, second)[which](turn)
            wait(where)
            seconds[turn, which] = clock() - start
    middle = np.median(seconds, axis=0)
    return PairedSeconds(float(middle[0]), float(middle[1]), float(np.median(seconds[:, 0] / seconds[:, 1])))


def _rounded(value: float | int | str | bool) -> float | int | str | bool:
    """Keep four significant digits: the fifth differs from run to run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
