"""Pictures of predicted codes that gradients pass: the decoder reads expected vectors in place of a code's own.

A decoder has never seen what lies between vectors, and shows it as a blur. Straight through, it reads the likeliest
code, and gradients pass as if that were the expected vector. Source: Bengio et al. 2013, arXiv:1308.3432.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config
from hallucade.objectives.token_losses.base import Predicted, TokenContext, needed
from hallucade.tokenizers.learned import LearnedTokenizer


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(Config):
    """What the decoder reads, and of how many frames.

    Raises:
        ValueError: no frame, or a temperature that is not above 0.
    """

    reads: Literal["expected", "straight_through"] = "expected"
    temperature: float = 1.0  # of the expectation: below 1 nearer to the likeliest code
    frames: int = 8  # drawn from a batch at each step, which bounds time and memory

    def __post_init__(self) -> None:
        if self.frames < 1 or self.temperature <= 0:
            raise ValueError(
                f"frames is {self.frames} and temperature {self.temperature}; decode 1 or more, at one above 0"
            )


@dataclass(frozen=True)
class Shown:
    """Decoded pictures and their truth, channels from -1 to 1."""

    predicted: Float[Tensor, "n 3 y x"]  # gradients reach the logits
    truth: Float[Tensor, "n 3 y x"]


class Decoding:
    """Decodes frames of a batch for all losses that look at pictures."""

    def __init__(self, config: DecodingConfig, tokenizer: LearnedTokenizer) -> None:
        self.config, self._tokenizer = config, tokenizer

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Shown:
        """Decode some frames; cells that the model knew show their true code."""
        chosen = self._drawn(truth, context)
        book, codes = self._tokenizer.codebook(), truth.flatten(0, 1)[chosen]
        vectors = self._vectors(predicted.logits.flatten(0, 1)[chosen], book)
        if context.cells is not None:
            graded = context.cells.flatten(0, 1)[chosen] > 0
            vectors = torch.where(graded[..., None], vectors, book[codes])
        with torch.no_grad():
            real = self._tokenizer.decode_vectors(book[codes].movedim(-1, 1))
        return Shown(self._tokenizer.decode_vectors(vectors.movedim(-1, 1)), real)

    def _drawn(self, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Int64[Tensor, "n"]:
        frames = truth.shape[0] * truth.shape[1]
        if frames <= self.config.frames:
            return torch.arange(frames, device=truth.device)
        generator = needed(context.generator, "picture", "a generator that draws frames")
        return torch.randperm(frames, generator=generator)[: self.config.frames].to(truth.device)

    def _vectors(self, logits: Float[Tensor, "n h w codes"], book: Float[Tensor, "codes d"]) -> Tensor:
        expected = (logits / self.config.temperature).softmax(-1) @ book
        if self.config.reads == "expected":
            return expected
        return expected + (book[logits.argmax(-1)] - expected).detach()
