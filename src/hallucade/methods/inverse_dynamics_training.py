"""Teaches an inverse dynamics model the recorded actions.

What is held seldom would be learned last, or as never held: buttons and options that are rare weigh more (King and Zeng
2001, "Logistic regression in rare events data", section 4.2, by a power of the odds).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.methods.base import Method
from hallucade.models.inverse_dynamics import ControlLogits, ControlTargets, InverseDynamics
from hallucade.shapes import ActionRows, Scalar

HEAVIEST = 20.0  # weight of what is rarest, and its inverse that of what is most frequent


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsTrainingConfig(Config):
    """How it is taught.

    Raises:
        ValueError: a number out of range.
    """

    balance: float = 0.5  # power of the odds against a button or an option, as its weight: 0 none, 1 all come to equal
    noise: float = 0.02  # deviation of what is added to pixels from -1 to 1: dreams are not quite what stores hold

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance is {self.balance}; use 0 (every frame weighs the same) to 1 (every class does)")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}; use 0 or more")


@dataclass(frozen=True)
class ControlWeights:
    """Weights of what is held: of a button's being held over its not being, and of each option."""

    buttons: Float32[Tensor, "buttons"]
    choices: tuple[Float32[Tensor, "_"], ...]  # means over play are 1


def control_weights(actions: ActionSpace, rows: ActionRows, balance: float) -> ControlWeights:
    """Return the weights that play asks for; what never occurs in it weighs nothing more."""
    count, held = len(rows), rows[:, : len(actions.buttons)].sum(0)
    odds = np.where(held > 0, (count - held) / np.maximum(held, 1), 1.0)
    buttons = np.clip(odds**balance, 1 / HEAVIEST, HEAVIEST)
    choices = list[Tensor]()
    for column, choice in enumerate(actions.choices, len(actions.buttons)):
        seen = np.bincount(rows[:, column].astype(np.int64), minlength=len(choice.options))
        rarity = np.where(seen > 0, count / np.maximum(seen, 1), 0.0) ** balance
        shares = seen / count
        weights = np.clip(rarity / max(float((shares * rarity).sum()), 1e-9), 0, HEAVIEST)
        choices.append(torch.from_numpy(weights.astype(np.float32)))
    return ControlWeights(torch.from_numpy(buttons.astype(np.float32)), tuple(choices))


class InverseDynamicsTraining(Method):
    """Role "inverse_dynamics", on every window of a clip."""

    def __init__(
        self, network: InverseDynamics, config: InverseDynamicsTrainingConfig, weights: ControlWeights
    ) -> None:
        super().__init__()
        self.network, self.config, self._weights = network, config, weights

    def roles(self) -> dict[str, nn.Module]:
        return {"inverse_dynamics": self.network}

    def check_clips(self, stages: Sequence[tuple[int, int]]) -> None:
        for _, frames in stages:
            self.network.check_frames(frames, self.network.frame_size)

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        stacked = self.network.stacked(batch.frames)
        if self.config.noise:
            generator = torch.Generator().manual_seed(batch.seed)
            stacked = stacked + self.config.noise * torch.randn(stacked.shape, generator=generator).to(stacked.device)
        logits = self.network(stacked)
        targets = self.network.targets(self.network.told(batch.actions))
        parts = control_losses(logits, targets, self._weights)
        self.metrics = {name: loss.detach() for name, loss in parts.items()}
        yield "inverse_dynamics", torch.stack(list(parts.values())).sum()


def control_losses(logits: ControlLogits, targets: ControlTargets, weights: ControlWeights) -> dict[str, Scalar]:
    """Return the cross-entropies of buttons, choices and bins, each a mean over its controls."""
    parts = dict[str, Scalar]()
    if targets.buttons.shape[1]:
        positive = weights.buttons.to(logits.buttons.device)
        parts["buttons"] = F.binary_cross_entropy_with_logits(logits.buttons, targets.buttons, pos_weight=positive)
    if logits.choices:
        found = [
            (F.cross_entropy(each, target, reduction="none") * weight.to(each.device)[target]).mean()
            for each, target, weight in zip(logits.choices, targets.choices.unbind(1), weights.choices, strict=True)
        ]
        parts["choices"] = torch.stack(found).mean()
    if targets.bins.shape[1]:
        parts["axes"] = F.cross_entropy(logits.bins.flatten(0, 1), targets.bins.flatten())
    return parts
