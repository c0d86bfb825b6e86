"""Clip reconstruction: draw a clip again from one short vector a tubelet's time.

Without the narrow way every patch could copy itself and nothing would be learned. Tokenizers reconstruct too, but keep
a vector for every patch; this asks for one that says what a whole frame shows.
"""

from dataclasses import dataclass

import torch
from torch import nn

from hallucade.actions import ActionSpace
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig, shallow_grid
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class ClipReconstructionConfig(EncoderObjectiveConfig):
    """How narrow the way is, and the decoder.

    Raises:
        ValueError: sizes below 1.
    """

    bottleneck: int = 32  # numbers of the vector
    decoder_width: int = 64
    decoder_depth: int = 2

    def __post_init__(self) -> None:
        for name in ("bottleneck", "decoder_width", "decoder_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "ClipReconstruction":
        return ClipReconstruction(self, encoder)


class ClipReconstruction(EncoderObjective):
    """``{"reconstruction": loss}``: mean squared error of all pixels, colours from -1 to 1."""

    adamw = ("narrow", "widen", "leave")

    def __init__(self, config: ClipReconstructionConfig, encoder: VideoEncoder) -> None:
        super().__init__()
        self.narrow = nn.Linear(encoder.config.width, config.bottleneck)
        self.widen = nn.Linear(config.bottleneck, config.decoder_width)
        self.grid = shallow_grid(encoder, config.decoder_width, config.decoder_depth)
        self.norm = nn.LayerNorm(config.decoder_width)
        self.leave = nn.Linear(config.decoder_width, 3 * encoder.config.tubelet * encoder.config.patch**2)

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        told = self.widen(self.narrow(encoder.pooled(clip.frames)))[:, :, None]
        tokens = told + self.grid.vectors(told.shape[1], None, told.device).to(told.dtype)
        shown = self.leave(self.norm(self.grid(tokens)))
        return {"reconstruction": (shown.float() - encoder.patches(clip.frames)).square().mean()}
