"""Time-contrastive learning: the present, and what is pressed next, are to be told from futures of other times.

The first frames of a clip and the actions up to its last ones are matched with these last frames. All other futures of
the batch are counterexamples, those of the same episode too if asked for: then nothing that stays as it is tells them
apart. Without actions it is contrastive predictive coding.

Source: van den Oord et al. 2018, arXiv:1807.03748; with actions Guo et al. 2018, arXiv:1811.06407.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from hallucade.actions import ActionSpace
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives.contrastive import ViewConfig
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.objectives.infonce import build_projection, check_comparison, compared, same_episode
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class TimeContrastiveConfig(EncoderObjectiveConfig):
    """What is matched with what.

    Raises:
        ValueError: numbers out of range.
    """

    frames: int = 4  # at the start of a clip, and at its end
    actions: bool = True  # tell what is pressed between the two
    same_episode: bool = False  # other futures of the same episode are counterexamples too
    view: ViewConfig = field(default_factory=ViewConfig)
    temperature: float = 0.07
    projection: int = 64  # numbers that times are compared by

    def __post_init__(self) -> None:
        check_comparison(self.temperature, self.projection)

    def check_clips(self, encoder: VideoEncoderConfig, frames: int) -> None:
        encoder.slots(self.frames)
        if frames < 2 * self.frames:
            raise ValueError(
                f"clips of {frames} frames hold no two times of {self.frames}; lengthen the stages' clips to "
                f"{2 * self.frames} or more, or shorten what is matched"
            )

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "TimeContrastive":
        return TimeContrastive(self, encoder, actions.features)


class TimeContrastive(EncoderObjective):
    """``{"time_contrast": loss}``: symmetric InfoNCE in nats."""

    def __init__(self, config: TimeContrastiveConfig, encoder: VideoEncoder, action_features: int) -> None:
        super().__init__()
        width = encoder.config.width
        self.config = config
        self.project = build_projection(width, config.projection)
        self.press = nn.GRU(action_features, width, batch_first=True) if config.actions else None
        self.foresee = build_projection(2 * width if config.actions else width, config.projection)

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        count = self.config.frames
        ends = (clip.frames[:, :count], clip.frames[:, -count:])
        present, future = encoder.pooled(torch.cat([self.config.view.draw(end, generator) for end in ends])).chunk(2)
        present = present.mean(1)
        if self.press is not None:
            pressed = clip.actions[:, count - 1 :]  # from the last frame that is seen on
            present = torch.cat([present, self.press(pressed.to(present.dtype))[1][0]], -1)
        alike = same_episode(replace(clip, episodes=None) if self.config.same_episode else clip)
        rows = self.foresee(present), self.project(future.mean(1))
        loss, self.metrics = compared(*rows, alike, self.config.temperature)
        return {"time_contrast": loss}
