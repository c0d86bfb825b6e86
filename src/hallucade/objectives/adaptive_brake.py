"""Fewer of a model's own frames where it cannot bear them: held by the ratio of two losses.

What is compared is the loss after its own frames with the loss after true ones, both as running means. Where the ratio
is too large, or its own frames use too few codes, one more frame of the unroll is held back; where it is small, one
less. Source: project-ochre, version 4.7.1, on losses in place of its LPIPS.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed, nn

from hallucade.config import Config


@dataclass(frozen=True, kw_only=True)
class AdaptiveBrakeConfig(Config):
    """When to hold back and when to let go.

    Raises:
        ValueError: bounds that cross each other, shares that are none, or no step between two changes.
    """

    most_ratio: float | None = None  # above it one more frame is held back, 1.4 say; None never holds any
    least_ratio: float = 1.1  # below it one more is let go
    decay: float = 0.98  # of the running means, a step
    every: int = 20  # steps between two changes
    least_codes: float = 0.3  # share of the true frames' number of different codes that its own must have

    def __post_init__(self) -> None:
        if not 0 < self.least_ratio < (self.most_ratio or math.inf):
            raise ValueError(
                f"least_ratio is {self.least_ratio} and most_ratio {self.most_ratio}; use 0 < least < most"
            )
        for name in ("decay", "least_codes"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies in [0, 1)")
        if self.every < 1:
            raise ValueError(f"every is {self.every} steps; use 1 or more")

    def build(self) -> "AdaptiveBrake | None":
        """Build the brake, if there is to be one."""
        return None if self.most_ratio is None else AdaptiveBrake(self, self.most_ratio)


class AdaptiveBrake(nn.Module):
    """Holds back frames of an unroll; all it knows is in buffers, so that a resumed training goes on as it was."""

    means: Float[Tensor, "3"]  # loss after true frames, after own ones, share of codes
    seen: Int64[Tensor, ""]  # steps that had all three
    held: Int64[Tensor, ""]  # frames

    def __init__(self, config: AdaptiveBrakeConfig, most_ratio: float) -> None:
        super().__init__()
        self.config, self._most_ratio = config, most_ratio
        self.register_buffer("means", torch.zeros(3))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("held", torch.tensor(0))

    def limited(self, frames: int) -> int:
        """Return how many of so many frames are let through: one at least, or nothing could be learned of them."""
        return min(frames, max(frames - int(self.held), 1))

    @torch.no_grad()
    def update(self, forced: Tensor, own: Tensor, codes: Tensor, asked: int) -> None:
        """Take in what one step showed, the mean over ranks; what is not finite is passed over.

        Args:
            forced: loss after true frames.
            own: loss after own frames.
            codes: number of different codes in own frames, over that in true ones.
            asked: frames of the unroll before any were held back.
        """
        now = _mean_over_ranks(torch.stack([forced, own, codes]).to(self.means))
        finite = now.isfinite().all()
        share = torch.where(self.seen == 0, 1.0, 1 - self.config.decay)
        self.means.copy_(torch.where(finite, self.means.lerp(now, share), self.means))
        self.seen.add_(finite)
        due = finite & (self.seen % self.config.every == 0)
        self.held.copy_(torch.where(due, (self.held + self._change()).clamp(0, max(asked - 1, 0)), self.held))

    def ratio(self) -> Float[Tensor, ""]:
        """Return the running loss after own frames over that after true ones; nothing if there was no step yet."""
        return self.means[1] / self.means[0]

    def _change(self) -> Int64[Tensor, ""]:
        """Return 1 for a frame more that is held back, -1 for one less."""
        ratio = self.ratio()
        too_far = (ratio > self._most_ratio) | (self.means[2] < self.config.least_codes)
        return too_far.long() - (~too_far & (ratio < self.config.least_ratio)).long()


def _mean_over_ranks(values: Tensor) -> Tensor:
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    distributed.all_reduce(values)  # pyright: ignore[reportUnknownMemberType]
    return values / distributed.get_world_size()
