"""Autoregressive tokens: a clip is played through, and after its first frames the model sees what it drew itself.

How many of the last frames are its own grows with the step, and each of them is now and then the true one after all,
clip by clip. What it drew are codes, through which no gradient goes; the memory that they enter lets it back a number
of blocks. Every answer is graded against the truth.

A clip is gone through block by block, as in play, so this is for models whose step is no dearer than its share of a
parallel pass; transformers learn the same from `self_conditioned_tokens` in two passes. Activations are kept for a
chunk of blocks only and computed again in the backward pass, so memory hardly grows with the clip.

Source: Bengio et al. 2015, arXiv:1506.03099; project-ochre's unroll, version 4.5.2, whose one coin was tossed for the
whole batch.
"""

import functools
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.models.base import LatentClip, TokenModel, forced_latents
from hallucade.nn.recomputation import Recomputation
from hallucade.objectives.adaptive_brake import AdaptiveBrake, AdaptiveBrakeConfig
from hallucade.objectives.base import Objective, Setting
from hallucade.objectives.played_clip import BlockGrader, PlayedClip
from hallucade.objectives.token_losses.weighted import TokenLosses
from hallucade.objectives.token_objective import TokenObjective, TokenObjectiveConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp
from hallucade.rollout import rollout
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class AutoregressiveTokensConfig(TokenObjectiveConfig):
    """How far a model goes on from its own frames, and what memory that may take.

    Raises:
        ValueError: shares that lie outside 0 to 1, or no block in a chunk.
    """

    all_share: float = 1.0  # share of frames that are asked whole; of others some cells are known, a cosine's
    unroll: UnrollRamp = field(default_factory=UnrollRamp)
    truth: ScheduledSampling = field(default_factory=ScheduledSampling)  # among the frames of the unroll
    own: MaskGITSamplerConfig = field(default_factory=lambda: MaskGITSamplerConfig(steps=1))  # how its own are drawn
    chunk: int | None = 8  # blocks whose activations are kept together, and recomputed; None keeps those of all
    through: int | None = 16  # blocks after which no gradient goes back any further; None lets it go back to the start
    brake: AdaptiveBrakeConfig = field(default_factory=AdaptiveBrakeConfig)  # holds back what it cannot bear

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("chunk", "through"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value} blocks; use 1 or more, or none for no limit")

    def build(self) -> "AutoregressiveTokens":
        return AutoregressiveTokens(self, self.losses.build())

    def build_for(self, setting: Setting) -> "AutoregressiveTokens":
        return AutoregressiveTokens(self, self.losses.build(setting))

    def check_clips(self, frames: int) -> None:
        if self.unroll.most > frames - 2:
            raise ValueError(
                f"unroll.most is {self.unroll.most} frames and the longest clips have {frames}: the first is true and "
                f"nothing follows the last, which leaves {frames - 2}; use clips of {self.unroll.most + 2} or more, or "
                "a shorter unroll"
            )

    def lasting(self, steps: int, planned: int) -> "AutoregressiveTokensConfig":
        unroll, truth = self.unroll.lasting(steps, planned), self.truth.lasting(steps, planned)
        return replace(self, unroll=unroll, truth=truth)


class AutoregressiveTokens(TokenObjective, nn.Module):
    """``(model, clip, generator) -> {name: loss}``, each the mean over blocks; without a step, as at the ramp's end."""

    def __init__(self, config: AutoregressiveTokensConfig, losses: TokenLosses) -> None:
        nn.Module.__init__(self)
        self.config, self.losses = config, losses
        self.brake = config.brake.build()
        self.hardest_step = config.unroll.full_from
        self.metrics: dict[str, Tensor] = {}
        self.recomputation = Recomputation()
        self._own = config.own.build()

    def at(self, step: int) -> Objective[TokenModel[Any]]:
        """Return what grades a model at this step."""
        return functools.partial(self.graded, step=step)

    def forward(self, model: TokenModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        return self.graded(model, clip, generator, step=self.hardest_step)

    def graded(
        self, model: TokenModel[Any], clip: LatentClip, generator: torch.Generator, *, step: int
    ) -> dict[str, Scalar]:
        """Grade a model on a clip as training does at `step`.

        Raises:
            ValueError: frames of its own are due, and clips are too short for any.
        """
        config, k = self.config, model.block
        blocks, asked = forced_latents(model, clip.latents.shape[1]) // k, config.unroll.at(step)
        allowed = asked if self.brake is None else self.brake.limited(asked)
        own, truth_share = min(-(-allowed // k), blocks - 1), config.truth.at(step)
        played = PlayedClip.drawn(clip, model, config, own, truth_share, generator)
        found = self._play(model, played, step)
        if asked and not played.shown:
            raise ValueError(
                f"at step {step} {asked} of a clip's frames should be the model's own, and none was: clips of "
                f"{clip.latents.shape[1]} latents leave none between the first and the last; use longer ones, or "
                "unroll.most 0"
            )
        total = torch.stack([values.detach() for values in found.values()]).sum(0)
        self.metrics = measured(played, total, asked, truth_share)
        if self.brake is not None and played.shown:
            self._brake(self.brake, asked)
        return {name: values.mean() for name, values in found.items()}

    def _play(self, model: TokenModel[Any], played: PlayedClip, step: int) -> dict[str, Tensor]:
        """Play a clip through; return each loss block by block."""
        recomputes = self.config.chunk is not None and torch.is_grad_enabled()
        state, previous, parts = model.prefill(played.start), None, list[dict[str, Tensor]]()
        for first, last in pairwise(self._cuts(played.blocks)):
            if first and self.config.through and first % self.config.through == 0:
                with torch.no_grad():
                    state = model.fork(state)
            chunk = functools.partial(self._chunk, model, played, state, previous, first, last, step)
            losses, state, previous = self.recomputation(chunk) if recomputes else chunk()
            parts.append(losses)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _cuts(self, blocks: int) -> list[int]:
        """Return where chunks begin and gradients end, and the end of the clip."""
        strides = [stride for stride in (self.config.chunk, self.config.through) if stride is not None]
        return sorted({0, blocks, *(cut for stride in strides for cut in range(0, blocks, stride))})

    def _chunk(
        self,
        model: TokenModel[Any],
        played: PlayedClip,
        state: Any,
        previous: Tensor | None,
        first: int,
        last: int,
        step: int,
    ) -> tuple[dict[str, Tensor], Any, Tensor | None]:
        """Go on from block `first` to before `last`; return losses, the memory after it, and the last logits.

        It may run twice, so that it leaves `state` and all generators as they are.
        """
        grader = BlockGrader(played, self.losses, self._own, first, step, previous)
        state = model.fork(state)
        walk = rollout(model, grader, state, played.actions(first, last), played.generators, through_time=True)
        while True:
            try:
                next(walk)
            except StopIteration as end:
                state = end.value
                break
        looks_back = self.config.losses.temporal_consistency.weight > 0
        return grader.losses(), state, grader.previous if looks_back else None

    def _brake(self, brake: AdaptiveBrake, asked: int) -> None:
        """Let the brake see what training showed."""
        now = self.metrics
        if torch.is_grad_enabled():
            brake.update(now["unroll/loss_after_truth"], now["unroll/loss_after_own"], now["unroll/code_share"], asked)
        now["brake/held"] = brake.held.float()
        if int(brake.seen):
            now["brake/ratio"] = brake.ratio()


def measured(
    played: PlayedClip, losses: Float[Tensor, "blocks"], asked: int, truth_share: float
) -> dict[str, Float[Tensor, ""]]:
    """Return for the log what was asked and what was done; a mean over nothing is left out."""
    like, executed = losses.new_tensor, len(played.shown)
    forced, own = losses[: played.blocks - executed], losses[played.blocks - executed :]
    found = {
        "unroll/asked": like(float(asked)),
        "unroll/executed": like(float(executed * played.block)),
        "unroll/truth_share": like(truth_share),
        "unroll/loss_after_truth": forced.mean(),
    }
    if executed:
        found |= {
            "unroll/loss_after_own": own.mean(),
            "unroll/gap": own.mean() - forced.mean(),
            "unroll/own_share": like(played.own_share()),
            "unroll/code_share": played.code_share(),
        }
    return found
