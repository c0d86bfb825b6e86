"""Trains a tokenizer to give back what it is shown, and a critic of its pictures if it is asked for one.

Source of the hinge losses: Lim and Ye 2017, arXiv:1705.02894; of a critic of patches beside a pixel loss: Isola et al.
2016, arXiv:1611.07004, and Esser et al. 2020, arXiv:2012.09841.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.methods.base import Method
from hallucade.objectives.base import PictureDistance
from hallucade.shapes import Scalar
from hallucade.tokenizers.bottlenecks.base import code_use
from hallucade.tokenizers.learned import LearnedTokenizer
from hallucade.tokenizers.pictures import as_pixels


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(Config):
    """What a tokenizer's pictures are graded by.

    Raises:
        ValueError: a weight below 0, or sizes that make no critic.
    """

    pixels: Literal["l1", "mse"] = "mse"  # distance of colours from -1 to 1; l1 leaves out what is small and moves
    lpips: float = 0.0  # weight of LPIPS once its ramp is over
    lpips_from: int = 0  # step at which its ramp begins
    lpips_ramp: int = 1000  # steps of the ramp
    lpips_backbone: Literal["alex", "vgg"] = "alex"
    lpips_weights: str | None = None  # file of the backbone; None looks in torch.hub's cache
    adversarial: float = 0.0  # weight of what the critic thinks of pictures
    adversarial_from: int = 1000  # step at which the critic begins to learn
    adversarial_warmup: int = 500  # steps of the critic before the tokenizer listens
    critic_width: int = 32  # channels

    def __post_init__(self) -> None:
        for name in ("lpips", "lpips_from", "adversarial", "adversarial_from", "adversarial_warmup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.lpips_ramp < 1 or self.critic_width < 1:
            raise ValueError(f"lpips_ramp is {self.lpips_ramp}, critic_width {self.critic_width}; use 1 or more")


class PatchCritic(nn.Module):
    """Says of every patch of a picture how real it looks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = ((3, width), (width, 2 * width), (2 * width, 4 * width))
        layers = [layer for a, b in sizes for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 y x"]:
        return self.layers(pixels).float()


class TokenizerTraining(Method):
    """Role "tokenizer", and role "critic" from the step on at which it begins to learn.

    Args:
        tokenizer: what is trained.
        config: what it is graded by.
        lpips: distance of pictures, where it has a weight.

    Raises:
        ValueError: LPIPS has a weight, and is not given.
    """

    averaged = ()  # a codebook's running sums follow the weights as they are

    def __init__(
        self, tokenizer: LearnedTokenizer, config: ReconstructionConfig, lpips: PictureDistance | None
    ) -> None:
        super().__init__()
        if config.lpips and lpips is None:
            raise ValueError(f"lpips has the weight {config.lpips} and no network; give its weights, or the weight 0")
        self.tokenizer, self.config, self._lpips = tokenizer, config, lpips
        self.critic = PatchCritic(config.critic_width) if config.adversarial else None

    def roles(self) -> dict[str, nn.Module]:
        roles: dict[str, nn.Module] = {"tokenizer": self.tokenizer}
        return roles if self.critic is None else roles | {"critic": self.critic}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        config, critic = self.config, self.critic
        pixels = as_pixels(batch.frames.flatten(0, 1))
        shown, passed = self.tokenizer(pixels)
        distance = F.l1_loss if config.pixels == "l1" else F.mse_loss
        parts = {"pixels": distance(shown, pixels), **passed.losses}
        if config.lpips and self._lpips is not None and step >= config.lpips_from:
            ramp = min((step - config.lpips_from + 1) / config.lpips_ramp, 1.0)
            parts["lpips"] = ramp * config.lpips * self._lpips(shown, pixels)
        learns = critic is not None and step >= config.adversarial_from
        if critic is not None and step >= config.adversarial_from + config.adversarial_warmup:
            critic.requires_grad_(False)
            parts["adversarial"] = -config.adversarial * critic(shown).mean()
            critic.requires_grad_(True)
        self.metrics = code_use(passed.codes, self.tokenizer.codes)
        self.metrics |= {name: loss.detach() for name, loss in parts.items()}
        yield "tokenizer", torch.stack(list(parts.values())).sum()
        if critic is not None and learns:
            real, made = critic(pixels), critic(shown.detach())
            hinge = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())
            self.metrics["critic"] = hinge.detach()
            yield "critic", hinge
