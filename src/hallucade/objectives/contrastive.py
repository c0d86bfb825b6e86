"""Contrastive learning: two views of a clip are to be told from views of all other clips.

A view is a shorter stretch of the clip, moved and lit differently; what is done to it is the same at all its times, so
that motion stays motion. Nothing is mirrored: left and right are what actions mean. Clips of the same episode show the
same game and are no counterexamples; they are left out. Views of all ranks are compared.

Source: Qian et al. 2020, arXiv:2008.03800; shifts as Kostrikov et al. 2020, arXiv:2004.13649.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.objectives.infonce import build_projection, check_comparison, compared, same_episode
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class ViewConfig(Config):
    """What is done to a view, drawn once for all its frames.

    Raises:
        ValueError: numbers out of range.
    """

    shift: int = 1  # pixels that the picture moves, up to this in each direction; its edge is repeated
    brightness: float = 0.2  # of the whole range of colours, that is added or taken off, up to this
    contrast: float = 0.2  # by which differences from the view's mean grow or shrink, up to this

    def __post_init__(self) -> None:
        for name in ("shift", "brightness", "contrast"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 for none, or more")

    def draw(self, frames: UInt8[Tensor, "b t h w 3"], generator: torch.Generator) -> UInt8[Tensor, "b t h w 3"]:
        """Return a view of each clip."""
        b, _, h, w, _ = frames.shape
        moves = torch.randint(-self.shift, self.shift + 1, (2, b), generator=generator)
        light = (torch.rand((2, b, 1, 1, 1, 1), generator=generator) * 2 - 1).to(frames.device)
        rows = (torch.arange(h) + moves[0][:, None]).clamp(0, h - 1).to(frames.device)
        columns = (torch.arange(w) + moves[1][:, None]).clamp(0, w - 1).to(frames.device)
        clips = torch.arange(b, device=frames.device)
        moved = frames[clips[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1).float()
        mean = moved.mean((1, 2, 3), keepdim=True)
        lit = (moved - mean) * (1 + self.contrast * light[0]) + mean + 255 * self.brightness * light[1]
        return lit.round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(EncoderObjectiveConfig):
    """How views are cut, changed and compared.

    Raises:
        ValueError: numbers out of range.
    """

    frames: int = 4  # of a view
    view: ViewConfig = field(default_factory=ViewConfig)
    temperature: float = 0.07
    projection: int = 64  # numbers that views are compared by

    def __post_init__(self) -> None:
        check_comparison(self.temperature, self.projection)

    def check_clips(self, encoder: VideoEncoderConfig, frames: int) -> None:
        encoder.slots(self.frames)
        if frames < self.frames:
            raise ValueError(
                f"clips of {frames} frames hold no view of {self.frames}; lengthen the stages' clips, or shorten views"
            )

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "Contrastive":
        return Contrastive(self, encoder)


class Contrastive(EncoderObjective):
    """``{"contrast": loss}``: symmetric InfoNCE in nats; views that say nothing cost the logarithm of their number."""

    def __init__(self, config: ContrastiveConfig, encoder: VideoEncoder) -> None:
        super().__init__()
        self.config = config
        self.project = build_projection(encoder.config.width, config.projection)

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        views = [self._view(clip.frames, generator) for _ in range(2)]
        rows: Tensor = self.project(encoder.pooled(torch.cat(views)).mean(1))
        one, other = rows.chunk(2)
        loss, self.metrics = compared(one, other, same_episode(clip), self.config.temperature)
        return {"contrast": loss}

    def _view(self, frames: UInt8[Tensor, "b t h w 3"], generator: torch.Generator) -> UInt8[Tensor, "b v h w 3"]:
        starts = torch.randint(0, frames.shape[1] - self.config.frames + 1, (len(frames), 1), generator=generator)
        times = starts + torch.arange(self.config.frames)
        cut = frames[torch.arange(len(frames))[:, None], times]
        return self.config.view.draw(cut, generator)
