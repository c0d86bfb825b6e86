"""Dreams in batches: under given actions, or played by someone who sees only the dream."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from hallucade.rollout import Prompt, World, rollout
from hallucade.samplers.base import Generators, seeded
from hallucade.shapes import Action

Policy = Callable[[], np.ndarray]  # asked for the action rows `b c` that are now held
Counted = Callable[[int], None]  # told how many frames were dreamed since it was last called


def uncounted(frames: int) -> None:
    """Count for nobody."""


def dream_batches(
    world: World,
    prompts: Sequence[Prompt],
    actions: Float32[np.ndarray, "b n c"],
    batch: int,
    seed: int,
    counted: Counted = uncounted,
) -> Iterator[tuple[slice, UInt8[np.ndarray, "k n h w 3"]]]:
    """Dream n frames from each prompt under given actions, `batch` prompts at a time.

    Row i draws its noise from (`seed`, i) only, whatever the batch.
    """
    generators = seeded(seed, len(prompts))
    m, n = world.frames_per_step, actions.shape[1]
    whole = _held_on(actions, n + -n % m)  # the last step is cut after dreaming
    for start in range(0, len(prompts), batch):
        rows = slice(start, start + batch)
        steps = (whole[rows, i : i + m] for i in range(0, whole.shape[1], m))
        frames = list[np.ndarray]()
        for block in _dreamed(world, prompts[rows], steps, generators[rows]):
            frames.append(block)
            counted(block.shape[0] * block.shape[1])
        yield rows, np.concatenate(frames, 1)[:, :n]


def dream_chunks(
    world: World,
    prompts: Sequence[Prompt],
    actions: Float32[np.ndarray, "b n c"],
    generators: Generators,
    chunk: int,
) -> Iterator[UInt8[np.ndarray, "b m h w 3"]]:
    """Dream n frames from each prompt side by side, `chunk` at a time or a few more: no more of them are held."""
    m, n = world.frames_per_step, actions.shape[1]
    steps = (_held_on(actions[:, i : i + m], m) for i in range(0, n, m))
    waiting, done = list[np.ndarray](), 0
    for block in _dreamed(world, prompts, steps, generators):
        waiting.append(block[:, : n - done])
        done += block.shape[1]
        if done >= n or sum(part.shape[1] for part in waiting) >= chunk:
            yield np.concatenate(waiting, 1)
            waiting.clear()


def play(
    world: World, prompts: Sequence[Prompt], policy: Policy, frames: int, seed: int
) -> Iterator[UInt8[np.ndarray, "b m h w 3"]]:
    """Yield `frames` frames of dream, a step at a time, under what `policy` holds when each step begins."""
    m = world.frames_per_step
    steps = (np.repeat(policy()[:, None], m, 1) for _ in range(-(-frames // m)))
    yield from _dreamed(world, prompts, steps, seeded(seed, len(prompts)))


def _held_on(actions: Float32[np.ndarray, "b n c"], length: int) -> Float32[np.ndarray, "b m c"]:
    """Hold the last action until there are `length` of them."""
    return np.concatenate([actions, np.repeat(actions[:, -1:], length - actions.shape[1], 1)], 1)


@torch.no_grad()
def _dreamed(
    world: World, prompts: Sequence[Prompt], steps: Iterable[np.ndarray], generators: Generators
) -> Iterator[np.ndarray]:
    decode, state = world.tokenizer.stream(), world.prefill(prompts, generators)
    actions: Iterator[Action] = (world.encode_actions(rows) for rows in steps)
    for latent in rollout(world.model, world.sampler, state, actions, generators):
        yield decode(latent).cpu().numpy()
