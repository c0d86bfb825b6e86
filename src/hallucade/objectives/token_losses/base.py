"""What every loss of predicted codes is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config
from hallucade.objectives.base import Setting
from hallucade.shapes import Action, Actions, Scalar
from hallucade.tokenizers.learned import LearnedTokenizer

Value = TypeVar("Value")
Codebook = Callable[[], Float[Tensor, "codes d"]]  # asked at each step: tokenizers move


class Predicted:
    """Logits of k frames, and what several losses make of them, computed once."""

    def __init__(self, logits: Float[Tensor, "b k h w codes"]) -> None:
        self.logits = logits.float()

    @cached_property
    def log_probabilities(self) -> Float[Tensor, "b k h w codes"]:
        """Logarithms of the probability of each code."""
        return self.logits.log_softmax(-1)

    @cached_property
    def probabilities(self) -> Float[Tensor, "b k h w codes"]:
        """The probability of each code."""
        return self.log_probabilities.exp()

    @cached_property
    def entropy(self) -> Float[Tensor, "b k h w"]:
        """Entropy of each cell, nats."""
        return -(self.probabilities * self.log_probabilities).sum(-1)

    def log_likelihood(self, codes: Int64[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return the logarithm of the probability of one code a cell."""
        return self.log_probabilities.gather(-1, codes[..., None])[..., 0]


@dataclass(frozen=True)
class TokenContext:
    """What losses may need beside logits and truth; a loss that misses something says what.

    Args:
        step: of the training.
        cells: how much each cell counts; those of 0 were known to the model, and are not graded. None: all alike.
        past: the true codes one frame before each graded one.
        previous: logits of the frame before the first graded one, if it was predicted too.
        block: frames that the model draws at once.
        actions: those that lead to the graded frames.
        under: the logits of the last block, had other actions led to it.
        generator: on the CPU, the source of all draws.
    """

    step: int = 0
    cells: Float[Tensor, "b k h w"] | None = None
    past: Int64[Tensor, "b k h w"] | None = None
    previous: Float[Tensor, "b h w codes"] | None = None
    block: int = 1
    actions: Actions | None = None
    under: Callable[[Action], Float[Tensor, "b m h w codes"]] | None = None
    generator: torch.Generator | None = None

    def mean(self, values: Float[Tensor, "b k h w"]) -> Scalar:
        """Return the mean over graded cells, each as much as it counts."""
        if self.cells is None:
            return values.mean()
        return (values * self.cells).sum() / self.cells.sum().clamp_min(1e-6)


@runtime_checkable
class TokenLoss(Protocol):
    """Grades predicted codes; the weight is not its affair."""

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar: ...


@dataclass(frozen=True, kw_only=True)
class TokenLossConfig(Config):
    """Base of the losses' configs.

    Raises:
        ValueError: a weight below 0, or no step.
    """

    weight: float = 0.0  # 0 leaves it out
    every: int = 1  # steps from one on which it counts to the next

    def __post_init__(self) -> None:
        name = type(self).__name__.removesuffix("Config")
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"the weight of {name} is {self.weight}; use 0 to leave it out, or more")
        if self.every < 1:
            raise ValueError(f"{name} counts every {self.every} steps; use 1 or more")

    def build(self, setting: Setting | None) -> TokenLoss:
        """Build the loss for a run, or without one where it needs nothing of it.

        Raises:
            ValueError: it needs something that is not there.
        """
        raise NotImplementedError


def needed(value: Value | None, loss: str, what: str) -> Value:
    """Return what a loss cannot do without.

    Raises:
        ValueError: it is not there.
    """
    if value is None:
        raise ValueError(f"the {loss} loss has a weight and needs {what}; leave its weight at 0 for this objective")
    return value


def tokenizer_of(setting: Setting | None, loss: str) -> LearnedTokenizer:
    """Return the tokenizer of a run, whose codes have vectors and whose decoder gradients can pass.

    Raises:
        ValueError: there is no run, or its tokenizer is another one.
    """
    tokenizer = needed(setting, loss, "the run's tokenizer").tokenizer
    if not isinstance(tokenizer, LearnedTokenizer) or tokenizer.codes is None:
        raise ValueError(
            f"the {loss} loss has a weight and needs vectors of codes, which {type(tokenizer).__name__} has not; train "
            "on the codes of a tokenizer such as tokenizer_fsq"
        )
    return tokenizer


def codebook_of(setting: Setting | None, loss: str) -> Codebook:
    """Return what gives the vectors of a run's codes.

    Raises:
        ValueError: there is no run, or its codes have no vectors.
    """
    return tokenizer_of(setting, loss).codebook
