"""An exponential moving average of weights whose memory grows with the run.

Source: Karras et al. 2024, arXiv:2312.02696, section 3.1: with decay ``(1 - 1/t) ** (gamma + 1)`` the average weighs
the past by a power of its age relative to the run, so that one setting fits 500 steps and 500,000.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.training.sharding import fill


@dataclass(frozen=True, kw_only=True)
class EMAConfig(Config):
    """How long the average remembers."""

    gamma: float = 6.94  # relative width 0.10: the average spans about the last tenth of the run so far
    max_decay: float = 0.9999

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise ValueError(f"gamma is {self.gamma}; use 0 (plain mean of all steps) or more")
        if not 0 <= self.max_decay < 1:
            raise ValueError(f"max_decay is {self.max_decay}; it lies in [0, 1)")

    def build(self, parameters: dict[str, nn.Parameter]) -> "EMA":
        return EMA(self, parameters)

    def decay(self, updates: int) -> float:
        """Return the share that the average keeps at update `updates`, counted from 1."""
        return min(self.max_decay, (1 - 1 / updates) ** (self.gamma + 1))


class EMA:
    """float32 averages of named parameters."""

    def __init__(self, config: EMAConfig, parameters: dict[str, nn.Parameter]) -> None:
        self.config = config
        self.parameters = parameters
        self.updates = 0
        self.averages: dict[str, Tensor] = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the parameters' present values."""
        self.updates += 1
        keep = self.config.decay(self.updates)
        present = [p.detach().float() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.averages.values()), present, 1 - keep)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: the averages are the parameters' present values."""
        self.updates = 0
        for name, parameter in self.parameters.items():
            self.averages[name].copy_(parameter.detach())

    @contextlib.contextmanager
    def swapped(self) -> Generator[None]:
        """Put the averages into the parameters for the duration of the block; the exact values come back."""
        values = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._write(self.averages)
        try:
            yield
        finally:
            self._write(values)

    @torch.no_grad()
    def load(self, averages: dict[str, Tensor], updates: int) -> None:
        """Take over saved averages, one a parameter."""
        for name, average in self.averages.items():
            fill(average, averages[name])
        self.updates = updates

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        # copied in place: compiled graphs and optimizers hold on to the parameter objects
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
