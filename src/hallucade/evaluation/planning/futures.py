"""What candidate plans lead to, by a dream or by a simulator: both are asked the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from hallucade.shapes import Latents


@dataclass(frozen=True)
class Futures:
    """n futures of f frames; what no cost looks at is never drawn, decoded or encoded."""

    rows: Float32[np.ndarray, "n f c"]  # the raw actions that lead to them, one a frame
    draw: Callable[[], np.ndarray]
    encode: Callable[[], Latents]
    states: Float64[np.ndarray, "n f s"] | None = None  # of the simulator; a dream has none
    ending: "Callable[[], Futures] | None" = None  # see `last`, where that is less work than `frames`

    @cached_property
    def frames(self) -> UInt8[np.ndarray, "n f h w 3"]:
        """The pictures."""
        return self.draw()

    @cached_property
    def latents(self) -> Latents:
        """The tokenizer's view of them, `n f/r *latent`."""
        return self.encode()

    def last(self) -> "Futures":
        """Return the last frame of each: all that a cost of where plans end should draw."""
        if self.ending is not None:
            return self.ending()
        states = None if self.states is None else self.states[:, -1:]
        return Futures(self.rows[:, -1:], lambda: self.frames[:, -1:], lambda: self.latents[:, -1:], states)


@runtime_checkable
class Imagination(Protocol):
    """Foretells what follows one moment; the same rows always have the same future, whatever they are asked with."""

    def __call__(self, rows: Float32[np.ndarray, "n f c"]) -> Futures: ...


@runtime_checkable
class Cost(Protocol):
    """Says how far each future is from what is wanted, for itself alone; lower is better."""

    def __call__(self, futures: Futures) -> Float64[np.ndarray, "n"]: ...


def score_in_batches(imagine: Imagination, cost: Cost, batch: int) -> Callable[[np.ndarray], Float64[np.ndarray, "n"]]:
    """Return the costs of plans as a planner asks for them, with at most `batch` futures in memory."""

    def score(rows: np.ndarray) -> Float64[np.ndarray, "n"]:
        return np.concatenate([cost(imagine(rows[i : i + batch])) for i in range(0, len(rows), batch)])

    return score
