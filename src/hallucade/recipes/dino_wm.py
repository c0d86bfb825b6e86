"""The five worlds of DINO-WM that NanoWM was measured on: a maze, a wall with a door, PushT, a rope, and grain.

The data are at https://osf.io/bmw48 (see `hallucade.data.importers.dino_wm`). PushT and the maze can be played by a
package too, so that their small recipes record what they need.
"""

from hallucade.data.environment import EnvironmentConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world


def point_maze_small() -> RunConfig:
    """A ball in a maze, played by a bot: forces change its velocity, which four past frames show."""
    return small_world(
        "point_maze_small",
        environment=EnvironmentConfig(environment="point_maze"),
        context=4,
        patch=2,
        sampling_steps=1,
    )


def wall_small() -> RunConfig:
    """A dot that goes through a door in a wall."""
    return small_world(
        "wall_small",
        importing="hallucade import dino-wm wall_single {store} --size 64 64",
        context=2,
        patch=2,
        sampling_steps=1,
    )


def pusht_small() -> RunConfig:
    """A finger that pushes a block, played by a bot."""
    return small_world(
        "pusht_small",
        environment=EnvironmentConfig(environment="pusht_relative", frame_skip=1),
        context=4,
        sampling_steps=2,
    )


def rope_small() -> RunConfig:
    """A robot that pushes a rope: each action is a whole push, so one frame is all that matters of the past."""
    return small_world(
        "rope_small", importing="hallucade import dino-wm deformable/rope {store} --size 64 64", context=2
    )


def granular_small() -> RunConfig:
    """A robot that pushes grain; see `rope_small`."""
    return small_world(
        "granular_small", importing="hallucade import dino-wm deformable/granular {store} --size 64 64", context=2
    )
