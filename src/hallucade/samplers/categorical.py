"""Drawing codes from logits: temperature, the likeliest few, the likeliest share; noise that no batch changes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config
from hallucade.samplers.base import Generators


@dataclass(frozen=True, kw_only=True)
class CodeChoice(Config):
    """How to choose one code.

    Raises:
        ValueError: a temperature below 0, or a limit that leaves nothing.
    """

    temperature: float = 1.0  # 0 takes the likeliest code
    top_k: int | None = None  # only the likeliest so many
    top_p: float | None = None  # only the likeliest whose probabilities first add up to this

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; use 0 for the likeliest code, or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; use 1 or more, or none for no limit")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it lies above 0 and up to 1")

    def limited(self, logits: Float[Tensor, "*cells codes"]) -> Float[Tensor, "*cells codes"]:
        """Return logits over the temperature, minus infinity where a limit leaves a code out."""
        logits = logits / max(self.temperature, 1e-6)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        if self.top_p is not None and self.top_p < 1:
            ordered, order = logits.sort(-1, descending=True)
            shares = ordered.softmax(-1)
            beyond = shares.cumsum(-1) - shares >= self.top_p  # what is likelier adds up to enough
            logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), float("-inf"))
        return logits

    def draw(
        self, logits: Float[Tensor, "b cells codes"], generators: Generators
    ) -> tuple[Int64[Tensor, "b cells"], Float[Tensor, "b cells"]]:
        """Draw a code a cell, row i with generator i; also return the logarithm of its probability."""
        limited = self.limited(logits.float())
        if self.temperature == 0:
            codes = logits.argmax(-1)
        else:
            codes = (limited + gumbel(tuple(limited.shape), generators, limited.device)).argmax(-1)
        return codes, limited.log_softmax(-1).gather(-1, codes[..., None])[..., 0]


def gumbel(shape: tuple[int, ...], generators: Generators, device: torch.device) -> Tensor:
    """Draw standard Gumbel noise, row i of `shape` from generator i: its largest sum with logits is a fair draw.

    Raises:
        ValueError: the number of generators is not the number of rows.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for a batch of {shape[0]}; pass one a row")
    rows = [torch.rand(shape[1:], generator=g, device=g.device) for g in generators]
    return -(-torch.stack(rows).to(device).clamp(1e-20, 1 - 1e-7).log()).log()
