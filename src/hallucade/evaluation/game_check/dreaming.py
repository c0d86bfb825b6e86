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
    whole = np.concatenate([actions, np.repeat(actions[:, -1:], -n % m, 1)], 1)  # the last step is cut after dreaming
    for start in range(0, len(prompts), batch):
        rows = slice(start, start + batch)
        steps = (whole[rows, i : i + m] for i in range(0, whole.shape[1], m))
        frames = list[np.ndarray]()
        for block in _dreamed(world, prompts[rows], steps, generators[rows]):
            frames.append(block)
            counted(block.shape[0] * block.shape[1])
        yield rows, np.concatenate(frames, 1)[:, :n]


def play(
    world: World, prompts: Sequence[Prompt], policy: Policy, frames: int, seed: int
) -> Iterator[UInt8[np.ndarray, "b m h w 3"]]:
    """Yield `frames` frames of dream, a step at a time, under what `policy` holds when each step begins."""
    m = world.frames_per_step
    steps = (np.repeat(policy()[:, None], m, 1) for _ in range(-(-frames // m)))
    yield from _dreamed(world, prompts, steps, seeded(seed, len(prompts)))


@torch.no_grad()
def _dreamed(
    world: World, prompts: Sequence[Prompt], steps: Iterable[np.ndarray], generators: Generators
) -> Iterator[np.ndarray]:
    decode, state = world.tokenizer.stream(), world.prefill(prompts, generators)
    actions: Iterator[Action] = (world.encode_actions(rows) for rows in steps)
    for latent in rollout(world.model, world.sampler, state, actions, generators):
        yield decode(latent).cpu().numpy()
