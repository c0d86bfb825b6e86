"""What a model of codes offers that draws them one by one: each is told of those before it in its own block."""

from abc import abstractmethod
from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.models.base import State, TokenModel
from hallucade.shapes import Action

Chooser = Callable[[Float[Tensor, "b codes"]], Int64[Tensor, "b"]]  # of one code a row


class RasterModel(TokenModel[State]):
    """A model of codes whose logits of a cell depend on the cells before it, row by row, and on none after it.

    The product of a cell's probabilities over a block is the block's own: its likelihood is exact.
    """

    @abstractmethod
    def draw(self, state: State, action: Action | None, choose: Chooser) -> Int64[Tensor, "b k h w"]:
        """Fill the next block cell by cell, each by the code that `choose` takes. Never changes `state`."""
