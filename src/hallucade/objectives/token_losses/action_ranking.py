"""Ranking: the true action should make the truth likelier than a wrong one does, by a margin.

    max(0, margin - (L(true action) - L(wrong action)))    L the mean log-likelihood of a cell of the last block, nats;
                                                           the mean over samples

The wrong action differs from the true one in one control of each frame, drawn for every sample. Source: project-ochre,
versions 4.7.4 to 4.10; margins after Weston and Watkins 1999.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig, needed
from hallucade.shapes import Action, Scalar

NAME = "action ranking"


@dataclass(frozen=True, kw_only=True)
class ActionRankingLossConfig(TokenLossConfig):
    """That the truth is likelier under the true action than under a wrong one, by a margin.

    Raises:
        ValueError: a margin that is not above 0.
    """

    margin: float = 0.05  # nats a cell

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin} nats a cell; give a positive one")

    def build(self, setting: Setting | None) -> "ActionRankingLoss":
        return ActionRankingLoss(self, needed(setting, NAME, "the game's actions").actions)


class ActionRankingLoss:
    """Asks the model once more, under wrong actions."""

    def __init__(self, config: ActionRankingLossConfig, actions: ActionSpace) -> None:
        self.config, self._actions = config, actions

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        under = needed(context.under, NAME, "a model that can be asked for other actions")
        actions = needed(context.actions, NAME, "the actions that lead to the frames")
        generator = needed(context.generator, NAME, "a generator that draws wrong actions")
        of_block = actions[:, -context.block * (actions.shape[1] // truth.shape[1]) :]
        last = truth[:, -context.block :]
        wrong = Predicted(under(wrong_actions(of_block, self._actions, generator)))
        gain = predicted.log_likelihood(truth)[:, -context.block :] - wrong.log_likelihood(last)
        cells = torch.ones_like(gain) if context.cells is None else context.cells[:, -context.block :]
        better = (gain * cells).sum((1, 2, 3)) / cells.sum((1, 2, 3)).clamp_min(1e-6)
        return (self.config.margin - better).clamp_min(0).mean()


def wrong_actions(actions: Action, space: ActionSpace, generator: torch.Generator) -> Action:
    """Return encoded actions that each differ from the given one in one control, drawn evenly.

    A button is let go or pressed, a choice is any other option, an axis lies a quarter of its range away or further.
    """
    b, m, _ = actions.shape
    which = torch.randint(0, len(space.controls), (b, m), generator=generator).to(actions.device)
    drawn = torch.rand((b, m), generator=generator).to(actions.device)
    parts = list[Tensor]()
    for number, part in enumerate(torch.split(actions, [control.features for control in space.controls], -1)):
        other = _other(part, drawn, space, number)
        parts.append(torch.where((which == number)[..., None], other, part))
    return torch.cat(parts, -1)


def _other(
    part: Float[Tensor, "b m f"], drawn: Float[Tensor, "b m"], space: ActionSpace, number: int
) -> Float[Tensor, "b m f"]:
    match space.controls[number]:
        case Button():
            return (part < 0.5).to(part.dtype)
        case Choice():
            options = part.shape[-1]
            further = 1 + (drawn * (options - 1)).long().clamp_max(options - 2)
            return F.one_hot((part.argmax(-1) + further) % options, options).to(part.dtype)
        case Axis():
            return (part + 1 + 0.5 + drawn[..., None]) % 2 - 1
