"""What an objective is: named losses of one model on one recorded clip."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.models.base import LatentClip
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer

Model = TypeVar("Model", contravariant=True)
PictureDistance = Callable[[Float[Tensor, "n 3 h w"], Float[Tensor, "n 3 h w"]], Scalar]  # of pixels from -1 to 1


@dataclass(frozen=True)
class Setting:
    """What an objective may need of its run beside model and clip.

    Args:
        tokenizer: of the run, frozen.
        actions: of the game.
        frame_size: height, width in pixels.
        lpips: loads LPIPS on a backbone, with its weights from a file or from torch.hub's cache.
    """

    tokenizer: Tokenizer
    actions: ActionSpace
    frame_size: tuple[int, int]
    lpips: Callable[[str, str | None], PictureDistance] | None = None


@runtime_checkable
class Objective(Protocol[Model]):
    """Grades a model on a clip."""

    def __call__(self, model: Model, clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        """Return named losses, weights applied, whose sum is minimised; each is a mean per latent element or token.

        `generator` lives on the CPU and is the only source of randomness.
        """
        ...


@runtime_checkable
class Scheduled(Protocol[Model]):
    """An objective that changes as training goes on, as a pure function of the step and of its own buffers."""

    hardest_step: int  # the first one that needs as much memory as any

    def at(self, step: int) -> Objective[Model]:
        """Return what grades a model at this step."""
        ...


@runtime_checkable
class Measured(Protocol):
    """An objective that has more to say of its last call than losses."""

    metrics: dict[str, Tensor]  # named detached scalars, for logs; the same names on every rank


@runtime_checkable
class TaughtObjective(Protocol):
    """An objective with networks of its own, which learn beside the model, each from a loss of its own."""

    def networks(self) -> dict[str, nn.Module]:
        """Return them by the role that they are trained in."""
        ...

    def network_losses(self, clip: LatentClip, generator: torch.Generator) -> Iterator[tuple[str, Scalar]]:
        """Yield the loss of each, in the order of ``networks``; it reaches no other network."""
        ...


class ObjectiveConfig(Config):
    """Base of objective configs."""

    def build(self) -> Objective[Any]:
        """Build the objective."""
        raise NotImplementedError

    def build_for(self, setting: Setting) -> Objective[Any]:
        """Build the objective of a run, for those that need to know of it.

        Raises:
            ValueError: the run lacks what a part with a weight needs.
        """
        return self.build()

    def remarks(self) -> tuple[str, ...]:
        """Say what is allowed and probably not meant."""
        return ()

    def check_clips(self, frames: int) -> None:
        """Refuse training whose longest clips, of so many frames, are too short for what the objective draws from them.

        Raises:
            ValueError: names the length and the remedy.
        """

    def lasting(self, steps: int, planned: int) -> "ObjectiveConfig":
        """Return the objective of a training of `steps` steps that was planned with others: ramps keep their shares."""
        return self
