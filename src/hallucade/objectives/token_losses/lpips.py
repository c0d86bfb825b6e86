"""LPIPS of decoded pictures: how different they look to a network that was trained to classify.

Both sides are decoded from codes, the truth too, so that what the tokenizer loses is not held against the model.
Source: Zhang et al. 2018, arXiv:1801.03924.
"""

from dataclasses import dataclass
from typing import Literal

from hallucade.objectives.base import PictureDistance, Setting
from hallucade.objectives.token_losses.base import TokenLossConfig, needed
from hallucade.objectives.token_losses.decoding import Shown
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class LpipsLossConfig(TokenLossConfig):
    """That decoded pictures look like the true ones to a network."""

    backbone: Literal["alex", "vgg"] = "alex"
    weights: str | None = None  # file of the backbone; None looks in torch.hub's cache

    def build_for_pictures(self, setting: Setting | None) -> "LpipsLoss":
        """Build the loss of a run.

        Raises:
            ValueError: weights are missing, or pictures are too small.
        """
        load = needed(needed(setting, "lpips", "the run's pictures").lpips, "lpips", "its network")
        return LpipsLoss(load(self.backbone, self.weights))


class LpipsLoss:
    """The mean over decoded frames."""

    def __init__(self, distance: PictureDistance) -> None:
        self._distance = distance

    def __call__(self, shown: Shown) -> Scalar:
        return self._distance(shown.predicted, shown.truth)
