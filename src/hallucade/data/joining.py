"""Several frames as one: every m-th frame is kept, and the m actions between two kept ones stand side by side.

Where resampling adds up or averages what was done, joining keeps all of it: two axes over five frames become ten,
`x.1`, `y.1`, ..., `x.5`, `y.5`. An episode becomes m, one from each of its first m frames, so that every window of
every m-th frame that the episode holds is in exactly one of them. A key that is held sets its control at all m times.

Source: the frame skip of DINO-WM (Zhou et al. 2024, arXiv:2411.04983), which NanoWM calls frame interval.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.episode import Episode

C = TypeVar("C", Button, Choice, Axis)


def joined_space(space: ActionSpace, m: int) -> ActionSpace:
    """Return the space of m rows side by side: every control m times, numbered from 1 in the order of time."""
    return ActionSpace(
        buttons=_repeated(space.buttons, m), choices=_repeated(space.choices, m), axes=_repeated(space.axes, m)
    )


def joined_rows(space: ActionSpace, rows: Float32[np.ndarray, "*lead m c"]) -> Float32[np.ndarray, "*lead joined"]:
    """Put m consecutive rows side by side, in the columns of ``joined_space``."""
    first_choice, first_axis = len(space.buttons), len(space.buttons) + len(space.choices)
    kinds = np.split(rows, [first_choice, first_axis], axis=-1)  # buttons, choices and axes stay together
    return np.concatenate([kind.reshape(*rows.shape[:-2], kind.shape[-2] * kind.shape[-1]) for kind in kinds], axis=-1)


def joined_episodes(space: ActionSpace, episode: Episode, m: int) -> Iterator[Episode]:
    """Yield the episodes that begin at each of the first m frames and hold every m-th frame from there.

    Rewards add up. An episode of fewer than m actions from its start on has a single frame.
    """
    for start in range(min(m, len(episode.frames))):
        steps = (len(episode.actions) - start) // m
        actions, frames = slice(start, start + steps * m), slice(start, start + steps * m + 1, m)
        rewards = episode.rewards
        yield Episode(
            np.ascontiguousarray(episode.frames[frames]),
            joined_rows(space, episode.actions[actions].reshape(steps, m, space.size)),
            None if rewards is None else rewards[actions].reshape(steps, m).sum(1, dtype=np.float32),
            None if episode.state is None else episode.state[frames],
            {name: extra[frames] for name, extra in episode.extras.items()},
        )


def _repeated(controls: tuple[C, ...], m: int) -> tuple[C, ...]:
    return tuple(replace(control, name=f"{control.name}.{i}") for i in range(1, m + 1) for control in controls)
