"""What a sampler is, and noise that does not depend on the batch."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from hallucade.config import Config
from hallucade.shapes import Action, Latent

Model = TypeVar("Model", contravariant=True)
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
