"""What every training algorithm offers: its roles, and their losses one after the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Sampler
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


class Method(nn.Module, ABC):
    """A training algorithm over roles (student, teacher, critic, or just the model).

    State beyond the roles' weights lives in buffers, so that ``state_dict`` holds it and resume is exact. Modules that
    are not a role are frozen: the trainer moves and saves them, and never updates them.
    """

    averaged: tuple[str, ...] | None = None  # roles whose weights are averaged and shared as such; None is all

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Tensor] = {}  # named detached scalars of the last loss, for logs

    @abstractmethod
    def roles(self) -> dict[str, nn.Module]:
        """Return the trainable networks by name; each has an optimizer of its own."""

    @abstractmethod
    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        """Yield (role, loss) in a fixed order.

        The trainer updates the role before it asks for the next loss. Branch on `step`, never on data: every rank and
        microbatch yields the same roles. Randomness comes from ``batch.seed`` alone.
        """

    def frames_of(self, batch: Clip) -> int:
        """Return how many frames the last step trained on; its batch was this one. Logs tell speed by it."""
        return batch.frames.shape[0] * batch.frames.shape[1]

    def hardest_step(self, step: int) -> int:
        """Return the first step from `step` on at which clips of that step's size need as much memory as ever."""
        return step

    def check_losses(self, batch: Clip, step: int) -> None:
        """Refuse losses that teach nothing, before the first step.

        Args:
            batch: a small one.
            step: which the first batch is tried at.

        Raises:
            ValueError: names the loss.
        """

    def check_clips(self, stages: Sequence[tuple[int, int]]) -> None:
        """Refuse clips that are too short for what the method draws from them.

        Args:
            stages: steps, and frames in a clip, of each part of the training.

        Raises:
            ValueError: names the length and the remedy.
        """


class RankState(nn.Module, ABC):
    """Part of a method's state that comes and goes, such as a game in progress.

    Names and shapes of its tensors change from step to step, and every rank has its own: the trainer saves them rank by
    rank, and `load_tensors` hands them over instead of copying one by one. It has no parameters.
    """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all state by name."""

    @abstractmethod
    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace all state by what ``tensors`` returned; by nothing for a fresh start."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, value in self.tensors().items():
            destination[prefix + name] = value if keep_vars else value.detach()


def rank_states(module: nn.Module) -> dict[str, RankState]:
    """Return the parts of a module that each rank has its own of, by how the names of their tensors begin."""
    named = cast("Iterator[tuple[str, nn.Module]]", module.named_modules())
    return {f"{name}." if name else "": part for name, part in named if isinstance(part, RankState)}


@torch.no_grad()
def latent_clip(tokenizer: Tokenizer, batch: Clip) -> LatentClip:
    """Return the latents of a batch: those of a cache where it has them, else those of its frames."""
    latents = tokenizer.encode(batch.frames) if batch.latents is None else batch.latents
    return replace(LatentClip.encoded(latents, batch.actions, tokenizer.stride), pace=batch.pace)


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Config):
    """Base of the methods that teach a model by other networks."""

    networks: ClassVar[tuple[str, ...]] = ()  # those that it needs beside "model": "teacher", "critic"

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> Method:
        """Build the method.

        Args:
            tokenizer: of all networks; frozen.
            networks: "model", and those that the class asks for.
            sampler: what the trained model is played with.
            seed: of what every rank must draw alike.
        """
        raise NotImplementedError

    def check_clips(self, frames: int) -> None:
        """Refuse clips that are too short for the method.

        Raises:
            ValueError: names how long they have to be.
        """

    def lasting(self, steps: int, planned: int) -> "MethodConfig":
        """Return the method of a training of `steps` steps that was planned with others: phases keep their shares."""
        return self


def freeze(network: WorldModel[Any]) -> WorldModel[Any]:
    """Freeze a network that is given, and leave it out of every ``state_dict``: its weights lie with its own run."""
    network.register_state_dict_post_hook(_leave_out)
    return network.requires_grad_(False).eval()


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]


def diffusion_roles(networks: Mapping[str, WorldModel[Any]]) -> dict[str, DiffusionModel[Any]]:
    """Return networks that all denoise latents of one shape.

    Raises:
        ValueError: names the network that does not.
    """
    roles: dict[str, DiffusionModel[Any]] = {}
    for name, network in networks.items():
        if not isinstance(network, DiffusionModel):
            raise ValueError(f"the {name} is a {type(network).__name__}, which does not denoise; use a diffusion model")
        roles[name] = network
    own = roles["model"].latent_shape
    for name, network in roles.items():
        if network.latent_shape != own:
            shapes = ("x".join(map(str, shape)) for shape in (network.latent_shape, own))
            raise ValueError(
                "the {} dreams latents of {} and the model of {}; use networks of one tokenizer".format(name, *shapes)
            )
    return roles
