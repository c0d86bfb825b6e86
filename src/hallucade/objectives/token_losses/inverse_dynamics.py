"""Inverse dynamics: what was pressed must be readable from the true frame and the predicted one after it.

    the mean over controls of: cross-entropy of buttons and choices, squared error of axes    the mean over frames

The reader sees the codebook's vectors of these two frames and nothing else: not the model's memory, which holds the
action and would let it answer without any motion. It learns from pairs of true frames alone, in a role of its own, so
that model and reader cannot agree on a secret sign. Source: Pathak et al. 2017, arXiv:1705.05363; as a loss of a world
model in project-ochre, versions 4.10 and 7, where the answer could be seen.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import (
    Codebook,
    Predicted,
    TokenContext,
    TokenLossConfig,
    needed,
    tokenizer_of,
)
from hallucade.shapes import Scalar

NAME = "inverse dynamics"


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsLossConfig(TokenLossConfig):
    """That the action can be read off the true frame and the predicted one after it, by a small network.

    Raises:
        ValueError: no channels.
    """

    width: int = 64  # channels

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width is {self.width} channels; use 1 or more")

    def build(self, setting: Setting | None) -> "InverseDynamicsLoss":
        tokenizer = tokenizer_of(setting, NAME)
        actions = needed(setting, NAME, "the game's actions").actions
        reader = ActionReader(tokenizer.bottleneck.width, actions, self.width, tokenizer.stride)
        return InverseDynamicsLoss(tokenizer.codebook, reader)


class ActionReader(nn.Module):
    """Reads encoded actions off two frames: buttons and choices as logits, axes as values."""

    def __init__(self, vector: int, actions: ActionSpace, width: int, stride: int) -> None:
        super().__init__()
        self.actions, self.stride = actions, stride
        self.layers = nn.Sequential(
            nn.Conv2d(3 * vector, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.read = nn.Linear(width, stride * actions.features)

    def forward(
        self, before: Float[Tensor, "n d h w"], after: Float[Tensor, "n d h w"]
    ) -> Float[Tensor, "n stride features"]:
        features = self.layers(torch.cat([before, after, after - before], 1))
        return self.read(features.mean((2, 3))).unflatten(1, (self.stride, -1))


class InverseDynamicsLoss:
    """Grades predicted frames by what the reader reads off them, and teaches the reader."""

    def __init__(self, codebook: Codebook, reader: ActionReader) -> None:
        self._codebook, self.reader = codebook, reader

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        past = needed(context.past, NAME, "the true codes of the frame before")
        actions = needed(context.actions, NAME, "the actions that lead to the frames")
        book = self._codebook()
        after = predicted.probabilities @ book
        if context.cells is not None:
            after = torch.where((context.cells > 0)[..., None], after, book[truth])
        taught = {name: weight.detach() for name, weight in self.reader.named_parameters()}
        read = functional_call(self.reader, taught, _as_maps(book[past], after))
        return action_loss(read.flatten(0, 1), actions.flatten(0, 1), self.reader.actions)

    def reader_loss(
        self, past: Int64[Tensor, "b k h w"], truth: Int64[Tensor, "b k h w"], actions: Float[Tensor, "b n a"]
    ) -> Scalar:
        """Return what the reader itself learns from: pairs of true frames."""
        book = self._codebook()
        read = self.reader(*_as_maps(book[past], book[truth]))
        return action_loss(read.flatten(0, 1), actions.flatten(0, 1), self.reader.actions)


def action_loss(read: Float[Tensor, "n a"], actions: Float[Tensor, "n a"], space: ActionSpace) -> Scalar:
    """Return how wrong an action was read, the mean over controls."""
    sizes = [control.features for control in space.controls]
    losses = list[Tensor]()
    for control, mine, true in zip(
        space.controls, torch.split(read, sizes, -1), torch.split(actions, sizes, -1), strict=True
    ):
        match control:
            case Button():
                losses.append(F.binary_cross_entropy_with_logits(mine, true))
            case Choice():
                losses.append(F.cross_entropy(mine, true))
            case Axis():
                losses.append(F.mse_loss(mine, true))
    return torch.stack(losses).mean()


def _as_maps(*frames: Float[Tensor, "b k h w d"]) -> tuple[Float[Tensor, "n d h w"], ...]:
    return tuple(each.flatten(0, 1).movedim(-1, 1) for each in frames)
