"""Frame regression: draw the next frames by their mean, from those before and what is pressed.

The plainest way to predict, kept as a baseline: where the future is open its answer is the mean of all futures, which
is a blur. World models draw instead, codes (`masked_tokens`) or noise that becomes a frame (`diffusion_forcing`).
"""

from dataclasses import dataclass

import torch
from torch import nn

from hallucade.actions import ActionSpace
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class FrameRegressionConfig(EncoderObjectiveConfig):
    """What the drawing is told."""

    actions: bool = True  # what is pressed on the way to the frames that are drawn

    def check_clips(self, encoder: VideoEncoderConfig, frames: int) -> None:
        if encoder.slots(frames) < 2:
            raise ValueError(
                f"clips of {frames} frames are one tubelet of {encoder.tubelet}, after which there is nothing to "
                f"predict; use clips of {2 * encoder.tubelet} or more"
            )

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "FrameRegression":
        return FrameRegression(self, encoder, actions.features)


class FrameRegression(EncoderObjective):
    """``{"regression": loss}``: mean squared error of the last tubelet of a clip, colours from -1 to 1."""

    adamw = ("leave",)

    def __init__(self, config: FrameRegressionConfig, encoder: VideoEncoder, action_features: int) -> None:
        super().__init__()
        width, tubelet = encoder.config.width, encoder.config.tubelet
        self.press = nn.Linear(tubelet * action_features, width) if config.actions else None
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.leave = nn.Linear(2 * width, 3 * tubelet * encoder.config.patch**2)

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        tubelet = encoder.config.tubelet
        features = encoder(clip.frames[:, :-tubelet])[:, -1]  # b n c
        if self.press is not None:
            pressed = clip.actions[:, -tubelet:].flatten(1)  # those that lead to the frames that are drawn
            features = features + self.press(pressed.to(features.dtype))[:, None]
        shown = self.leave(self.mix(features))
        target = encoder.patches(clip.frames[:, -tubelet:])[:, 0]
        return {"regression": (shown.float() - target).square().mean()}
