"""What an objective is: named losses of one model on one recorded clip."""

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from hallucade.config import Config
from hallucade.models.base import LatentClip
from hallucade.shapes import Scalar

Model = TypeVar("Model", contravariant=True)


@runtime_checkable
class Objective(Protocol[Model]):
    """Grades a model on a clip."""

    def __call__(self, model: Model, clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        """Return named losses, weights applied, whose sum is minimised; each is a mean per latent element or token.

        `generator` lives on the CPU and is the only source of randomness.
        """
        ...


class ObjectiveConfig(Config):
    """Base of objective configs."""

    def build(self) -> Objective[Any]:
        """Build the objective."""
        raise NotImplementedError
