"""What an encoder learns from: named losses on recorded clips, with networks of their own that are thrown away after.

They stand beside the objectives of world models: these grade a model that is whole by itself, on latents, while an
encoder has nothing to say without a decoder, a predictor or a projection, and reads frames.
"""

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.nn.token_grid import TokenGrid
from hallucade.shapes import Scalar

AnyConfig = TypeVar("AnyConfig", bound=Config)


class EncoderObjective(nn.Module, ABC):
    """Grades an encoder on clips; what it trains beside the encoder are its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Tensor] = {}  # named detached scalars of the last loss, for logs

    @abstractmethod
    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        """Return named losses, whose sum is minimised; each is a mean over what it grades.

        `generator` lives on the CPU and is the only source of randomness.
        """

    def follow(self, encoder: VideoEncoder) -> None:
        """Take note of an encoder that was just updated."""


class EncoderObjectiveConfig(Config):
    """Base of the configs of such objectives."""

    def check_clips(self, encoder: VideoEncoderConfig, frames: int) -> None:
        """Refuse clips that the objective cannot use.

        Raises:
            ValueError: names their length and the remedy.
        """
        encoder.slots(frames)

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> EncoderObjective:
        """Build the objective for an encoder, and for play under these actions."""
        raise NotImplementedError


def shallow_grid(encoder: VideoEncoder, width: int, depth: int) -> TokenGrid:
    """Return fresh blocks over the places of an encoder: a decoder, or a predictor."""
    config = encoder.config
    return TokenGrid(
        encoder.grid.rows,
        encoder.grid.columns,
        width=width,
        depth=depth,
        heads=config.heads,
        layout=config.layout,
        mlp=config.mlp,
        mlp_ratio=config.mlp_ratio,
    )
