"""One measured figure, printed as one JSON object a line."""

import json
from dataclasses import dataclass, field

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


def _rounded(value: float | int | str | bool) -> float | int | str | bool:
    """Keep four significant digits: the fifth differs from run to run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
