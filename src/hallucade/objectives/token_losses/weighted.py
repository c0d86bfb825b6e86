"""The losses that a run grades predicted codes by, and their weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.models.base import LatentClip
from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.action_ranking import ActionRankingLossConfig
from hallucade.objectives.token_losses.base import (
    Predicted,
    TokenContext,
    TokenLoss,
    TokenLossConfig,
    tokenizer_of,
)
from hallucade.objectives.token_losses.code_diversity import CodeDiversityLossConfig
from hallucade.objectives.token_losses.cross_entropy import CrossEntropyLossConfig
from hallucade.objectives.token_losses.decoding import Decoding, DecodingConfig, Shown
from hallucade.objectives.token_losses.entropy_floor import EntropyFloorLossConfig
from hallucade.objectives.token_losses.inverse_dynamics import InverseDynamicsLoss, InverseDynamicsLossConfig
from hallucade.objectives.token_losses.lpips import LpipsLossConfig
from hallucade.objectives.token_losses.neighbourhood import NeighbourhoodLossConfig
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.sharpness import SharpnessLossConfig
from hallucade.objectives.token_losses.sobel import SobelLossConfig
from hallucade.objectives.token_losses.temporal_consistency import TemporalConsistencyLossConfig
from hallucade.shapes import Scalar


@runtime_checkable
class PictureLoss(Protocol):
    """Grades decoded pictures; the weight is not its affair."""

    def __call__(self, shown: Shown) -> Scalar: ...


@dataclass(frozen=True, kw_only=True)
class TokenLossesConfig(Config):
    """A weight for each loss; by default cross-entropy alone.

    Raises:
        ValueError: no loss has a weight, or none counts at every step.
    """

    cross_entropy: CrossEntropyLossConfig = field(default_factory=CrossEntropyLossConfig)
    semantic: SemanticLossConfig = field(default_factory=SemanticLossConfig)
    neighbourhood: NeighbourhoodLossConfig = field(default_factory=NeighbourhoodLossConfig)
    entropy_floor: EntropyFloorLossConfig = field(default_factory=EntropyFloorLossConfig)
    sharpness: SharpnessLossConfig = field(default_factory=SharpnessLossConfig)
    temporal_consistency: TemporalConsistencyLossConfig = field(default_factory=TemporalConsistencyLossConfig)
    inverse_dynamics: InverseDynamicsLossConfig = field(default_factory=InverseDynamicsLossConfig)
    action_ranking: ActionRankingLossConfig = field(default_factory=ActionRankingLossConfig)
    code_diversity: CodeDiversityLossConfig = field(default_factory=CodeDiversityLossConfig)
    lpips: LpipsLossConfig = field(default_factory=LpipsLossConfig)
    sobel: SobelLossConfig = field(default_factory=SobelLossConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)  # for lpips and sobel

    def __post_init__(self) -> None:
        if not self.weighted():
            raise ValueError("no loss has a weight; give one to cross_entropy, or to another")
        if all(loss.every > 1 for loss in self.weighted().values()):
            raise ValueError(
                f"no loss counts at every step ({', '.join(self.weighted())} do not); set every to 1 for one of them"
            )

    def weighted(self) -> dict[str, TokenLossConfig]:
        """Return the losses that have a weight, by name."""
        losses = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: loss for n, loss in losses.items() if isinstance(loss, TokenLossConfig) and loss.weight > 0}

    def build(self, setting: Setting | None = None) -> "TokenLosses":
        """Build the losses that have a weight.

        Args:
            setting: the run; without one, losses that need it are refused.

        Raises:
            ValueError: a loss has a weight and not what it needs.
        """
        return TokenLosses(self, setting)

    def remarks(self) -> tuple[str, ...]:
        """Say which weights oppose each other, and which losses come and go."""
        found = list[str]()
        if self.sharpness.weight and self.entropy_floor.weight:
            found.append(
                f"sharpness (weight {self.sharpness.weight:g}) asks for sure predictions and entropy_floor (weight "
                f"{self.entropy_floor.weight:g}) for unsure ones; they oppose each other, leave one out"
            )
        for name, loss in self.weighted().items():
            if loss.every > 1:
                found.append(
                    f"{name} counts every {loss.every} steps only: a dream may flash with that period; let it count at "
                    "every step with a smaller weight"
                )
        return tuple(found)


class TokenLosses:
    """``(logits, truth, context) -> {name: weight * loss}``, each loss a mean over graded cells."""

    def __init__(self, config: TokenLossesConfig, setting: Setting | None = None) -> None:
        self.config = config
        self._of_codes = dict[str, TokenLoss]()
        self._of_pictures = dict[str, PictureLoss]()
        for name, loss in config.weighted().items():
            if isinstance(loss, LpipsLossConfig | SobelLossConfig):
                self._of_pictures[name] = loss.build_for_pictures(setting)
            else:
                self._of_codes[name] = loss.build(setting)
        if self._of_pictures:
            first = next(iter(self._of_pictures))
            self._decoding = Decoding(config.decoding, tokenizer_of(setting, first))

    def __call__(
        self, logits: Float[Tensor, "b k h w codes"], truth: Int64[Tensor, "b k h w"], context: TokenContext
    ) -> dict[str, Scalar]:
        """Grade predicted codes; losses that do not count at this step are absent."""
        found = dict[str, Scalar]()
        with torch.autocast(logits.device.type, enabled=False):  # in float32, whatever the trainer's precision
            predicted = Predicted(logits)
            for name in self._now(self._of_codes, context.step):
                found[name] = self._of_codes[name](predicted, truth, context)
            if pictures := self._now(self._of_pictures, context.step):
                shown = self._decoding(predicted, truth, context)
                found |= {name: self._of_pictures[name](shown) for name in pictures}
        weights = self.config.weighted()
        return {name: weights[name].weight * found[name] for name in weights if name in found}

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that losses bring along; see `TaughtObjective`."""
        return {name: loss.reader for name, loss in self._of_codes.items() if isinstance(loss, InverseDynamicsLoss)}

    def network_losses(self, clip: LatentClip) -> Iterator[tuple[str, Scalar]]:
        """Yield what these networks learn from; see `TaughtObjective`."""
        for name, loss in self._of_codes.items():
            if isinstance(loss, InverseDynamicsLoss):
                yield name, loss.reader_loss(clip.latents[:, :-1], clip.latents[:, 1:], clip.actions)

    def _now(self, losses: dict[str, TokenLoss] | dict[str, PictureLoss], step: int) -> list[str]:
        weights = self.config.weighted()
        return [name for name in losses if step % weights[name].every == 0]
