"""Teaches a latent-action model to tell the next frame from the past and one code.

Left to itself a codebook of a few codes starts on what differs most between frames, which is not what players do, and
stays there. So for a while the encoder's word goes past it, under noise that makes words few; then codes begin where
these are, far apart. And the encoder sees the picture shifted by some pixels, of which the decoder does not know:
otherwise one code may mean left on even columns and right on odd ones, which tells the next frame as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.diffusion.weighting import motion_weight
from hallucade.methods.base import Method
from hallucade.models.latent_actions import LatentActions
from hallucade.shapes import Scalar
from hallucade.tokenizers.bottlenecks.base import code_use


@dataclass(frozen=True, kw_only=True)
class LatentActionTrainingConfig(Config):
    """How it is taught.

    Raises:
        ValueError: a negative weight.
    """

    motion_weight: float = 9.0  # additional weight of pixels that change: what a player does is a small part of them
    free: float = 0.4  # share of the steps before the bottleneck closes
    noise: float = 0.5  # deviation of what is added until then, beside features of deviation 1
    shift: int = 3  # pixels by which the encoder's view is moved, at most

    def __post_init__(self) -> None:
        for name in ("motion_weight", "noise", "shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more")
        if not 0 <= self.free < 1:
            raise ValueError(f"free is {self.free}; it is a share of the steps, from 0 and below 1")


class LatentActionTraining(Method):
    """Role "latent_actions", on every window of a clip.

    Args:
        network: what is trained.
        config: how.
        steps: of the whole training.
    """

    averaged = ()  # a codebook's running sums follow the weights as they are

    def __init__(self, network: LatentActions, config: LatentActionTrainingConfig, steps: int) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.free_steps = round(config.free * steps)  # before the bottleneck closes

    def roles(self) -> dict[str, nn.Module]:
        return {"latent_actions": self.network}

    def check_clips(self, stages: Sequence[tuple[int, int]]) -> None:
        shortest = min(frames for _, frames in stages)
        if shortest < self.network.config.window:
            raise ValueError(
                f"clips have {shortest} frames, and latent actions are read off {self.network.config.window}: use "
                "longer ones, or less past"
            )

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        windows = self.network.windows(batch.frames)
        pixels = windows[:, -2:].movedim(-1, 2).float() / 127.5 - 1  # n 2 3 h w
        generator, count = torch.Generator().manual_seed(batch.seed), len(windows)
        shift = self.config.shift
        shifts = torch.randint(-shift, shift + 1, (count, 2), generator=generator).to(windows.device)
        noise = None
        if step < self.free_steps:
            noise = self.config.noise * torch.randn(count, self.network.bottleneck.width, generator=generator)
            noise = noise.to(windows.device)
        shown, passed = self.network(windows, shifts, noise)
        weight = motion_weight(pixels, self.config.motion_weight)[:, 0]
        parts = {"next_frame": ((shown - pixels[:, 1]).square() * weight).mean(), **passed.losses}
        self.metrics = {name: loss.detach() for name, loss in parts.items()}
        self.metrics |= code_use(passed.codes, self.network.codes)
        yield "latent_actions", torch.stack(list(parts.values())).sum()
