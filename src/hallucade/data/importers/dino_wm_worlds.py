"""The worlds that DINO-WM was trained on: what their numbers mean; see `dino_wm`.

Source: the environments of gaoyuezhou/dino_wm (env/pusht/pusht_env.py, env/pointmaze/maze_model.py,
env/wall/envs/wall.py, env/deformable_env).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from hallucade.actions import Axis


@dataclass(frozen=True)
class World:
    """One environment.

    Every action has its numbers in the environment's own units. `kind` says what becomes of them when frames are left
    out: a "delta" adds up, as displacements do; a "value" is averaged, as forces are.
    """

    title: str
    fps: float  # control rate; nominal where the environment has no clock
    actions: tuple[str, ...]
    kind: Literal["value", "delta"]
    centred: bool  # 0 is no action and both directions are alike
    state: tuple[str, ...]
    keys: bool = True  # x points right and y down in the pictures, so arrow keys can play it


POSITIONS = ("agent_x", "agent_y", "block_x", "block_y", "block_angle")
WORLDS = {
    # A force on each axis, -1 to 1; MuJoCo steps of 0.01 s, five a frame.
    "point_maze": World("a ball in a maze", 20.0, ("x", "y"), "value", True, ("x", "y", "vx", "vy")),
    # The dot moves by twice the action, in pixels.
    "wall_single": World("a dot, a wall and a door", 10.0, ("x", "y"), "delta", True, ("x", "y")),
    # Where the hand shall go, from where it is, in pixels of a 512 x 512 court; a spring pulls it there at 10 Hz. Held
    # for long, each step goes half as far as it asks for, so steps add up.
    "pusht": World("a hand pushes a T", 10.0, ("x", "y"), "delta", True, POSITIONS),
    # The same target in the court itself.
    "pusht_absolute": World("a hand pushes a T", 10.0, ("x", "y"), "value", False, POSITIONS, keys=False),
    # A push from one place of the table to another; each is a whole action, without a clock.
    "deformable": World(
        "a robot pushes rope or grain", 1.0, ("from_x", "from_z", "to_x", "to_z"), "value", False, (), keys=False
    ),
}


def world_of(folder: Path) -> str | None:
    """Return which world's files a folder with ``states.pth`` has, from their names alone."""
    if (folder / "rel_actions.pth").is_file() or (folder / "abs_actions.pth").is_file():
        return "pusht"
    if not (folder / "actions.pth").is_file():
        return None
    if (folder / "door_locations.pth").is_file():
        return "wall_single"
    if (folder / "000000" / "obses.pth").is_file():
        return "deformable"
    if (folder / "seq_lengths.pth").is_file() and (folder / "obses").is_dir():
        return "point_maze"
    return None


def axes_of(world: World, low: Float64[np.ndarray, "a"], high: Float64[np.ndarray, "a"]) -> tuple[Axis, ...]:
    """Return the controls for actions that were seen in [low, high]: those ranges, rounded outward.

    Range and unit decide what a model sees, so the ranges are of the data: an encoded action fills [-1, 1].
    """
    axes: list[Axis] = []
    for i, name in enumerate(world.actions):
        bottom, top = _outward(float(low[i]), float(high[i]), world.centred)
        negative, positive = (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))[i % 2]
        keys = world.keys
        axes.append(
            Axis(
                name=name,
                low=bottom,
                high=top,
                kind=world.kind,
                negative_keys=(negative,) if keys else (),
                positive_keys=(positive,) if keys else (),
            )
        )
    return tuple(axes)


def _outward(low: float, high: float, centred: bool) -> tuple[float, float]:
    """Round a range outward to two digits of its larger end; an empty one becomes a range around it."""
    if low == high == 0:
        return -1.0, 1.0
    if centred:
        low, high = -max(-low, high), max(-low, high)
    step = 10.0 ** (math.floor(math.log10(max(-low, high))) - 1)
    bottom, top = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if bottom == top:
        bottom, top = bottom - 1, top + 1
    return float(f"{bottom * step:.6g}"), float(f"{top * step:.6g}")
