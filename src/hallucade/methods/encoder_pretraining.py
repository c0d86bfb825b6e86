"""Trains a video encoder by one objective or by a weighted mix of several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.methods.base import Method
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class PartConfig(Config):
    """One objective of a mix.

    Raises:
        ValueError: a part that would never teach anything.
    """

    objective: EncoderObjectiveConfig
    weight: float = 1.0
    every: int = 1  # steps; it counts in the first of them

    def __post_init__(self) -> None:
        name = type(self.objective).__name__
        if not self.weight > 0:
            raise ValueError(f"{name} has the weight {self.weight} and would never teach; leave it out, or weigh it")
        if self.every < 1:
            raise ValueError(f"{name} counts every {self.every} steps; use 1 for each step, or more")


def check_mix(parts: Sequence[PartConfig], encoder: VideoEncoderConfig, stages: Sequence[tuple[int, int]]) -> None:
    """Refuse a mix of which a part would never run, or could not.

    Args:
        parts: of the mix.
        encoder: that they train.
        stages: steps, and frames in a clip, of each part of the training.

    Raises:
        ValueError: names the part and the remedy.
    """
    if not parts:
        raise ValueError("parts is empty; give one objective or more")
    if all(part.every > 1 for part in parts):
        raise ValueError("no part counts in every step; set every to 1 for one of them")
    steps = sum(count for count, _ in stages)
    for part in parts:
        if part.every >= max(steps, 2):
            raise ValueError(
                f"{type(part.objective).__name__} counts every {part.every} steps of {steps}: it would see the first "
                "one alone; lower its every, or train longer"
            )
        for _, frames in stages:
            part.objective.check_clips(encoder, frames)


class EncoderPretraining(Method):
    """Role "encoder": the encoder, and what the objectives train beside it.

    Args:
        encoder: that is trained.
        parts: of the mix.
        actions: of the play.
    """

    followed: Int64[Tensor, ""]  # the last step that objectives took note of

    def __init__(self, encoder: VideoEncoder, parts: Sequence[PartConfig], actions: ActionSpace) -> None:
        super().__init__()
        self.parts = tuple(parts)
        objectives = nn.ModuleList(part.objective.build(encoder, actions) for part in parts)
        self.networks = nn.ModuleDict({"encoder": encoder, "objectives": objectives})
        self.register_buffer("followed", torch.tensor(-1))

    @property
    def encoder(self) -> VideoEncoder:
        """What is trained."""
        return cast("VideoEncoder", self.networks["encoder"])

    @property
    def objectives(self) -> list[EncoderObjective]:
        """One a part."""
        return list(cast("Iterable[EncoderObjective]", self.networks["objectives"]))

    def roles(self) -> dict[str, nn.Module]:
        return {"encoder": self.networks}

    def check_clips(self, stages: Sequence[tuple[int, int]]) -> None:
        check_mix(self.parts, self.encoder.config, stages)

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        losses = list[Scalar]()
        self.metrics = {}
        for number, (part, objective) in enumerate(zip(self.parts, self.objectives, strict=True)):
            if step % part.every == 0:
                generator = torch.Generator().manual_seed(batch.seed + number)
                found: dict[str, Scalar] = objective(self.encoder, batch, generator)
                losses += [part.weight * loss for loss in found.values()]
                for name, value in (found | objective.metrics).items():
                    self.metrics[f"{name}.{number}" if name in self.metrics else name] = value.detach()
        if losses:
            yield "encoder", torch.stack(losses).sum()
            self._follow(step)

    def _follow(self, step: int) -> None:
        """Let objectives see what was just updated; once a step, whatever the microbatches."""
        if int(self.followed) != step:
            self.followed.fill_(step)
            for objective in self.objectives:
                objective.follow(self.encoder)
