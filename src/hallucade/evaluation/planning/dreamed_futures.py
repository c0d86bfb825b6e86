"""The dream as a model of the game: every candidate goes its own way from a copy of one memory."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from hallucade.evaluation.planning.futures import Futures
from hallucade.rollout import Prompt, World, rollout
from hallucade.shapes import Latents


class DreamedFutures:
    """Dreams on from real frames.

    All candidates are dreamed with the same noise, so that they differ by their actions alone and not by luck, and a
    candidate's future does not depend on its batch.

    Args:
        world: what dreams.
        prompt: the play so far, at least one model step.
        seed: of the noise.
    """

    def __init__(self, world: World, prompt: Prompt, seed: int) -> None:
        self._world, self._prompt, self._seed = world, recent(world, prompt), seed
        self._memory: tuple[int, Any] = (0, None)  # of so many copies of the prompt

    @torch.no_grad()
    def __call__(self, rows: Float32[np.ndarray, "n f c"]) -> Futures:
        world, m = self._world, self._world.frames_per_step
        n, frames, _ = rows.shape
        if frames % m:
            raise ValueError(f"plans of {frames} frames, and this world dreams {m} at a time; use a multiple of {m}")
        features = world.encode_actions(rows)
        steps = (features[:, i : i + m] for i in range(0, frames, m))
        blocks = list(rollout(world.model, world.sampler, self._fork(n), steps, self._noise(n)))
        return Futures(rows, lambda: _decoded(world, blocks), lambda: torch.cat(blocks, 1))

    def _fork(self, count: int) -> Any:
        """Return a memory of its own for each of `count` futures."""
        known, state = self._memory
        if known != count:
            state = self._world.prefill([self._prompt] * count, self._noise(count))
            self._memory = count, state
        return self._world.model.fork(state)

    def _noise(self, count: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(self._seed) for _ in range(count)]


def recent(world: World, prompt: Prompt) -> Prompt:
    """Return the end of a prompt: what the model's memory holds, in whole steps.

    Raises:
        ValueError: the prompt is shorter than one model step.
    """
    m = world.frames_per_step
    kept = min(len(prompt.frames), max(world.model.context * world.tokenizer.stride, m)) // m * m
    if kept == 0:
        raise ValueError(f"a prompt of {len(prompt.frames)} frames; this world reads {m} at a time")
    return Prompt(prompt.frames[-kept:], prompt.actions[len(prompt.actions) - kept + 1 :], prompt.state)


@torch.no_grad()
def _decoded(world: World, blocks: list[Tensor]) -> UInt8[np.ndarray, "n f h w 3"]:
    decode = world.tokenizer.stream()
    return np.concatenate([decode(block).cpu().numpy() for block in blocks], 1)


@torch.no_grad()
def encoded(world: World, frames: UInt8[np.ndarray, "n f h w 3"]) -> Latents:
    """Return frames as this world's tokenizer sees them."""
    return world.tokenizer.encode(torch.as_tensor(np.ascontiguousarray(frames), device=world.device))
