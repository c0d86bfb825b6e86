"""What a sampler is, and noise that does not depend on the batch."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import shift_levels
from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.shapes import Action, Latent

Model = TypeVar("Model", contravariant=True)
MOST_STEPS = 10_000  # ten times as many as training numbers levels
Generators = Sequence[torch.Generator]  # one a row of the batch, so that batch size never changes a frame


@runtime_checkable
class Sampler(Protocol[Model]):
    """Draws the next latent block; never changes `state`."""

    def __call__(self, model: Model, state: Any, action: Action, generators: Generators) -> Latent: ...


class SamplerConfig(Config):
    """Base of sampler configs."""

    def build(self) -> Sampler[Any]:
        """Build the sampler."""
        raise NotImplementedError

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        """Return what to dream with: `model`, or a view of it whose memory holds what this sampler's guidance needs."""
        return model


def denoising(model: WorldModel[Any], sampler: str) -> DiffusionModel[Any]:
    """Return `model` as one that denoises, which the sampler of this name needs.

    Raises:
        ValueError: it does not denoise.
    """
    if isinstance(model, DiffusionModel):
        return model
    raise ValueError(
        f"the {sampler} steps through noise levels, and {type(model).__name__} has none; use the sampler of its recipe"
    )


def sampling_levels(steps: int, shift: float = 1.0) -> list[float]:
    """Return `steps` + 1 levels from 1 down to 0, even before the shift of `shift_levels`."""
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return [float(level) for level in shift_levels(even, shift)]


def check_steps(steps: int) -> None:
    """Refuse a number of steps below one, or beyond what any schedule tells apart.

    Raises:
        ValueError: names the value.
    """
    if steps < 1:
        raise ValueError(f"sampling steps is {steps}; use 1 or more")
    if steps > MOST_STEPS:
        raise ValueError(f"sampling steps is {steps}; use {MOST_STEPS} or fewer, which no dream can tell from more")


def seeded(seed: int, count: int) -> list[torch.Generator]:
    """Return `count` CPU generators; row i depends on (`seed`, i) only."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(count)]


def normal(shape: tuple[int, ...], generators: Generators, device: torch.device) -> Tensor:
    """Draw standard normal float32 noise, row i of `shape` from generator i.

    Raises:
        ValueError: the number of generators is not the number of rows.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for a batch of {shape[0]}; pass one a row")
    rows = [torch.randn(shape[1:], generator=g, device=g.device) for g in generators]
    return torch.stack(rows).to(device)
