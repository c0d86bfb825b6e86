"""Self-conditioned tokens: frames are graded after a past that the model has drawn itself, in two parallel passes.

The first pass draws every frame of the clip after the true ones before it; in the second some of these stand for the
truth. For transformers that is nearly as cheap as teacher forcing. What it draws has seen one frame of its own less
than a dream would have; more passes draw after what the pass before drew.

Source: Mihaylova and Martins 2019, arXiv:1906.07651; several passes: Duckworth et al. 2019, arXiv:1906.04331.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from hallucade.models.base import LatentClip, TokenModel
from hallucade.objectives.base import Setting
from hallucade.objectives.masked_tokens import MaskedTokens
from hallucade.objectives.token_losses.weighted import TokenLosses
from hallucade.objectives.token_objective import TokenObjectiveConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling
from hallucade.samplers.base import seeded
from hallucade.samplers.categorical import CodeChoice


@dataclass(frozen=True, kw_only=True)
class SelfConditionedTokensConfig(TokenObjectiveConfig):
    """How often frames of the past are the model's own, and how it draws them.

    Raises:
        ValueError: shares that lie outside 0 to 1, or no pass.
    """

    truth: ScheduledSampling = field(default_factory=lambda: ScheduledSampling(least=0.5))  # share of true past frames
    choice: CodeChoice = field(default_factory=CodeChoice)  # of its own codes; cells do not know of each other
    passes: int = 1  # in which they are drawn

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes < 1:
            raise ValueError(f"passes is {self.passes}; use 1 or more, or the objective MaskedTokens for none")

    def build(self) -> "SelfConditionedTokens":
        return SelfConditionedTokens(self, self.losses.build())

    def build_for(self, setting: Setting) -> "SelfConditionedTokens":
        return SelfConditionedTokens(self, self.losses.build(setting))

    def check_clips(self, frames: int) -> None:
        if frames < 3:
            raise ValueError(f"the longest clips have {frames} frames, and the past of none is drawn; use 3 or more")

    def lasting(self, steps: int, planned: int) -> "SelfConditionedTokensConfig":
        return replace(self, truth=self.truth.lasting(steps, planned))


class SelfConditionedTokens(MaskedTokens):
    """``(model, clip, generator) -> {name: loss}``, each a mean over hidden cells; after the model's own past."""

    def __init__(self, config: SelfConditionedTokensConfig, losses: TokenLosses, step: int = 0) -> None:
        super().__init__(config, losses, step)
        self._drawing = config
        self.metrics: dict[str, Tensor] = {}

    def at(self, step: int) -> "SelfConditionedTokens":
        """Return what grades a model at this step; it writes into the same metrics."""
        now = SelfConditionedTokens(self._drawing, self.losses, step)
        now.metrics = self.metrics
        return now

    @torch.no_grad()
    def past(
        self, model: TokenModel[Any], clip: LatentClip, graded: int, generator: torch.Generator
    ) -> Int64[Tensor, "b t h w"]:
        """Return the clip with some of its last latents replaced by what the model drew.

        Raises:
            ValueError: the clip is so short that none of them is seen.
        """
        past, k = super().past(model, clip, graded, generator), model.block
        if graded <= k:
            raise ValueError(f"clips of {clip.latents.shape[1]} latents have no past to be drawn; use longer ones")
        truth_share = self._drawing.truth.at(self.step)
        rolls = torch.rand((len(past), graded // k), generator=generator) < truth_share
        true = rolls.repeat_interleave(k, 1).to(past.device)[..., None, None]
        seed = int(torch.randint(2**31, (), generator=generator))
        given, true_end = past[:, :-graded], past[:, -graded:]
        for number in range(self._drawing.passes):
            drawn = self._drawn(model, LatentClip(past, clip.actions, clip.seeds), graded, seed + number)
            past = torch.cat([given, torch.where(true, true_end, drawn)], 1)
        self.metrics["self_conditioning/asked"] = torch.tensor(1 - truth_share, device=past.device)
        self.metrics["self_conditioning/executed"] = (~true[:, :-k]).float().mean()
        return past

    def _drawn(self, model: TokenModel[Any], clip: LatentClip, graded: int, seed: int) -> Int64[Tensor, "b p h w"]:
        """Return what the model draws for a clip's last latents, each after the clip's own ones before it."""
        unknown = torch.full_like(clip.latents[:, -graded:], model.mask)
        logits = model.forced_logits(clip, unknown)
        codes, _ = self._drawing.choice.draw(logits.flatten(1, 3), seeded(seed, len(unknown)))
        return codes.reshape(unknown.shape)
