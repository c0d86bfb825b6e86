"""A small Gaussian: the bottleneck of a variational autoencoder, whose latents are float channels.

Source: Kingma and Welling 2013, arXiv:1312.6114; with a weight this small, Rombach et al. 2021, arXiv:2112.10752.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.tokenizers.bottlenecks.base import Bottleneck, BottleneckConfig, Passed, all_finite

QUIET, LOUD = -30.0, 20.0  # logarithms of variances that are believed


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(BottleneckConfig):
    """A mean and a variance in every channel.

    Raises:
        ValueError: no channels, or a weight below 0.
    """

    channels: int = 4
    weight: float = 1e-6  # of the divergence from a standard Gaussian, nats an element
    memory: float = 0.99  # share of the running mean and deviation that a batch leaves as they are

    def __post_init__(self) -> None:
        if self.channels < 1 or self.weight < 0 or not 0 <= self.memory < 1:
            raise ValueError(
                f"channels is {self.channels}, weight {self.weight}, memory {self.memory}; "
                "use 1 or more, 0 or more, and 0 to below 1"
            )

    def build(self) -> "Gaussian":
        return Gaussian(self)


class Gaussian(Bottleneck):
    """Draws features in training; latents are means, each channel shifted and scaled to the size of noise.

    A diffusion model of these latents then has levels of noise that mean what they say.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.channels
        self.to_moments = torch.nn.Conv2d(config.channels, 2 * config.channels, 1)
        self.register_buffer("mean", torch.zeros(config.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(config.channels, 1, 1))

    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        mean, log_variance = self._moments(encoded)
        if all_finite(mean):  # or the running mean would never be finite again
            self._follow(mean.detach())
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return Passed(drawn, None, {"divergence": self.config.weight * divergence})

    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        return (self._moments(encoded)[0] - self.mean) / self.deviation

    def features(self, latents: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        return latents.float() * self.deviation + self.mean

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (self.width, rows, columns)

    def _moments(self, encoded: Float[Tensor, "n d h w"]) -> tuple[Float[Tensor, "n d h w"], Float[Tensor, "n d h w"]]:
        mean, log_variance = self.to_moments(encoded).float().chunk(2, 1)
        return mean, log_variance.clamp(QUIET, LOUD)

    @torch.no_grad()
    def _follow(self, mean: Float[Tensor, "n d h w"]) -> None:
        """Move the running mean and deviation of each channel toward a batch's."""
        share = 1 - self.config.memory
        self.mean.lerp_(mean.mean((0, 2, 3))[:, None, None], share)
        spread = (mean - self.mean).square().mean((0, 2, 3)).sqrt()
        self.deviation.lerp_(spread[:, None, None].clamp_min(1e-4), share)
