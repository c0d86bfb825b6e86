"""THE autoregressive loop, and the live session that feeds it.

Offline video, evaluation, live play, self-forcing and planning differ only in where actions come from and whether
gradients are on; all of them run `rollout`.
"""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hallucade.actions import ActionSpace
from hallucade.models.base import LatentClip, WorldModel
from hallucade.samplers.base import Generators, Sampler, seeded
from hallucade.shapes import Action, ActionRows, FrameArray, Frames, Latent
from hallucade.tokenizers.base import Tokenizer


def rollout(
    model: WorldModel[Any],
    sampler: Sampler[Any],
    state: Any,
    actions: Iterable[Action],
    generators: Generators,
    *,
    through_time: bool = False,
) -> Generator[Latent, None, Any]:
    """Dream one latent block an action, and return the memory after the last one.

    Args:
        model: reads and writes `state`, which is consumed.
        sampler: draws the next block; runs under the caller's gradient mode.
        state: the memory that ``initial`` or ``prefill`` returned.
        actions: the actions that lead to each block, `b m a`; may be endless or wait for a player.
        generators: one a row of the batch.
        through_time: let gradients flow from block to block through the memory.
    """
    for action in actions:
        latent = sampler(model, state, action, generators)
        with contextlib.nullcontext() if through_time else torch.no_grad():
            state = model.observe(state, action, latent)
        yield latent
    return state


@dataclass(frozen=True)
class Prompt:
    """Real play that a dream starts from: n + 1 frames joined by n actions."""

    frames: FrameArray
    actions: ActionRows  # raw rows, see `ActionSpace`
    state: np.ndarray | None = None  # simulator state at the last frame, float64 `s`, if the source had one


@dataclass(frozen=True)
class World:
    """Everything that a game needs to be dreamed; `hallucade.load` builds it from a run folder."""

    tokenizer: Tokenizer
    model: WorldModel[Any]
    sampler: Sampler[Any]
    actions: ActionSpace
    frame_size: tuple[int, int]  # height, width in pixels
    fps: float
    game: str | None = None  # name of the simulator of the same game, if there is one
    prompts: tuple[Prompt, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def with_sampler(self, sampler: Sampler[Any]) -> "World":
        """Return the same world drawn by another sampler."""
        return replace(self, sampler=sampler)

    @property
    def frames_per_step(self) -> int:
        """Frames, and so actions, that one model step covers: block times tokenizer stride."""
        return self.model.block * self.tokenizer.stride

    def encode_actions(self, rows: np.ndarray) -> torch.Tensor:
        """Encode raw rows `b n c` into features `b n a` on this world's device."""
        return torch.as_tensor(self.actions.encode(rows), dtype=torch.float32, device=self.device)

    def prefill(self, prompts: Sequence[Prompt], generators: Generators | None = None) -> Any:
        """Encode prompts of equal length into one model state.

        Args:
            prompts: b of them.
            generators: those of the rollout, whose first seeds are also those of noise in the memory.

        Raises:
            ValueError: frames of another size, or prompts of unequal lengths.
        """
        for prompt in prompts:
            if prompt.frames.shape[1:3] != self.frame_size:
                have, want = "x".join(map(str, prompt.frames.shape[1:3])), "x".join(map(str, self.frame_size))
                raise ValueError(f"prompt frames are {have} pixels, the model dreams {want}; resize the prompt")
        if len({len(p.frames) for p in prompts}) != 1:
            raise ValueError("prompts have different lengths; cut them to the shortest")
        frames = torch.as_tensor(np.stack([p.frames for p in prompts]), device=self.device)
        features = self.encode_actions(np.stack([p.actions for p in prompts]))
        seeds = None if generators is None else tuple(g.initial_seed() for g in generators)
        clip = LatentClip.encoded(self.tokenizer.encode(frames), features, self.tokenizer.stride, seeds)
        return self.model.prefill(clip)


@torch.no_grad()
def dream(world: World, prompts: Sequence[Prompt], actions: np.ndarray, seed: int = 0) -> Iterator[Frames]:
    """Roll a batch of prompts forward under given actions, yielding `b k*r h w 3` frames a step.

    Args:
        world: what dreams.
        prompts: b prompts of equal length.
        actions: raw rows `b n c`; n is cut to whole steps.
        seed: row i draws its noise from (`seed`, i) only, so that batch size never changes a frame.
    """
    decode = world.tokenizer.stream()
    features, m = world.encode_actions(actions), world.frames_per_step
    steps = (features[:, i : i + m] for i in range(0, features.shape[1] - m + 1, m))
    generators = seeded(seed, len(prompts))
    state = world.prefill(prompts, generators)
    for latent in rollout(world.model, world.sampler, state, steps, generators):
        yield decode(latent)


class Session:
    """One live game: ``step(rows) -> Frames``; feeds `rollout` from an inbox."""

    def __init__(self, world: World, prompt: Prompt, seed: int = 0) -> None:
        self.world = world
        self.sampler = world.sampler  # may be exchanged between steps, for example for another number of steps
        self.reset(prompt, seed)

    @torch.no_grad()
    def reset(self, prompt: Prompt, seed: int = 0) -> None:
        """Start again from `prompt`; the same seed and actions give the same frames."""
        self.prompt, self.seed = prompt, seed
        self.frame_index = 0  # frames dreamed since the prompt
        self._inbox: deque[Action] = deque()
        self._decode = self.world.tokenizer.stream()
        generators = seeded(seed, 1)
        state = self.world.prefill([prompt], generators)
        self._latents = rollout(self.world.model, self._draw, state, self._pressed(), generators)

    def step(self, rows: np.ndarray) -> Frames:
        """Advance by one block.

        Args:
            rows: the raw actions held over the block, `m c` with m = k * r, or `c` to hold one action throughout.

        Returns:
            The k * r new frames, `1 k*r h w 3`.
        """
        return self.decode(self.advance(rows))

    @torch.no_grad()
    def advance(self, rows: np.ndarray) -> Latent:
        """Do the first half of ``step``: dream the next block of latents."""
        rows = np.atleast_2d(np.asarray(rows, np.float32))
        m = self.world.frames_per_step
        if rows.shape[0] == 1 and m > 1:
            rows = np.repeat(rows, m, axis=0)
        if rows.shape[0] != m:
            raise ValueError(f"{rows.shape[0]} action rows for a step of {m} frames; pass {m}, or one to hold")
        self._inbox.append(self.world.encode_actions(rows[None]))
        return next(self._latents)

    @torch.no_grad()
    def decode(self, latents: Latent) -> Frames:
        """Do the second half of ``step``: turn the block into pixels; once a block, in order."""
        frames = self._decode(latents)
        self.frame_index += frames.shape[1]
        return frames

    def _draw(self, model: WorldModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        return self.sampler(model, state, action, generators)

    def _pressed(self) -> Iterator[Action]:
        while True:
            yield self._inbox.popleft()
