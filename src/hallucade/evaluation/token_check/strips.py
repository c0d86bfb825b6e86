"""Pictures for the eye: a dream at growing distances, and what one held action after the other makes of one moment."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from hallucade.actions import ActionSpace, Axis, Choice
from hallucade.data.pictures import stack_rows
from hallucade.evaluation.dream_series import DreamSeries
from hallucade.evaluation.game_check.dreaming import dream_chunks
from hallucade.evaluation.long_run.exhibits import strip
from hallucade.evaluation.result import Still
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import seeded

SECTION = "Codes"
MOMENTS = (1, 10, 50, 100, 500, 1000)  # frames of a stability strip
STORY = (1, 2, 4, 8, 16, 32)  # frames of a storyboard
MOST_ACTIONS = 12  # of a storyboard


def stability_strip(dreams: Mapping[str, DreamSeries], games: int, section: str = SECTION) -> Still:
    """Lay the same moments of a few games side by side, real play and dreams by name below each other."""
    rows, moments = dict[str, np.ndarray](), sorted({moment for each in dreams.values() for moment in each.shown})
    for game in range(games):
        for name, series in dreams.items():
            frames = [frame[game] for _, frame in sorted(series.shown.items()) if game < len(frame)]
            if frames:
                rows[f"{name}, game {game + 1}"] = strip(np.stack(frames))
    said = ", ".join(map(str, moments))
    return Still("Stability", stack_rows(rows)[0], f"From left to right: frames {said}.", section)


def storyboard(
    world: World, prompt: Prompt, seed: int, section: str = SECTION, moments: Sequence[int] = STORY
) -> Still:
    """Dream from one prompt once for every action that can be held, with the same noise; a row an action."""
    held = held_actions(world.actions)
    rows = np.stack([np.repeat(row[None], max(moments), 0) for row in held.values()])
    same = [seeded(seed, 1)[0] for _ in held]
    dreamed = np.concatenate(list(dream_chunks(world, [prompt] * len(held), rows, same, max(moments))), 1)
    shown = dreamed[:, np.array(moments) - 1]
    frames = {name: strip(np.concatenate([prompt.frames[-1:], each])) for name, each in zip(held, shown, strict=True)}
    said = ", ".join(map(str, moments))
    caption = f"One action held in each row; from left to right: the last real frame, then frames {said}."
    return Still("Storyboard", stack_rows(frames)[0], caption, section)


def held_actions(actions: ActionSpace) -> dict[str, Float32[np.ndarray, "c"]]:
    """Return raw rows by name: nothing held, then each control alone, axes as far as their keys push them."""
    found = {"nothing": actions.idle}
    for column, control in enumerate(actions.controls):
        match control:
            case Axis():
                values = control.key_values
            case Choice():
                values = tuple(map(float, range(1, len(control.options))))
            case _:
                values = (1.0,)
        for value in values:
            row = actions.idle
            row[column] = value
            found[" ".join(actions.keys_of(row))] = row
    return dict(list(found.items())[:MOST_ACTIONS])
