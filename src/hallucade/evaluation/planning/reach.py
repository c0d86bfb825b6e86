"""When a state counts as the goal's, in each environment: as DINO-WM and those who compare with it do.

Source: Zhou et al. 2024, arXiv:2411.04983; `eval_state` of its PushT and point maze.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Errors = Callable[[np.ndarray, np.ndarray], np.ndarray]  # states `... c` and the goal's `c` to `... k` errors

PLACE, ANGLE, METRES = 20.0, np.pi / 9, 0.5  # units of PushT's table, radians; and of the maze


@dataclass(frozen=True)
class Reach:
    """What has to be where; every error is in units of what is allowed, so that below 1 is there."""

    about: str
    measure: str  # what the largest of `moved` is
    apart: int  # frames of play between start and goal
    columns: tuple[str, ...]  # state variables that count
    angles: tuple[str, ...]  # those of them that are angles, in radians
    errors: Errors  # all below 1 is success
    moved: Errors  # the same without the hand


def _pusht(state: Float64[np.ndarray, "*b 5"], goal: Float64[np.ndarray, "5"]) -> Float64[np.ndarray, "*b 2"]:
    """Return the error of finger and block together, as one place in four dimensions, and of the block's angle."""
    return _posed(state, goal, slice(0, 4))


def _block(state: Float64[np.ndarray, "*b 5"], goal: Float64[np.ndarray, "5"]) -> Float64[np.ndarray, "*b 2"]:
    return _posed(state, goal, slice(2, 4))


def _posed(
    state: Float64[np.ndarray, "*b 5"], goal: Float64[np.ndarray, "5"], places: slice
) -> Float64[np.ndarray, "*b 2"]:
    place = np.linalg.norm(state[..., places] - goal[places], axis=-1, keepdims=True) / PLACE
    turned = np.abs((state[..., 4:] - goal[4:] + np.pi) % (2 * np.pi) - np.pi) / ANGLE
    return np.concatenate([place, turned], -1)


def _ball(state: Float64[np.ndarray, "*b 2"], goal: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "*b 1"]:
    return np.linalg.norm(state - goal, axis=-1, keepdims=True) / METRES


PUSHT_REACH = Reach(
    about="finger and block together within 20 units of 512 and the block within 20 degrees of the goal",
    measure="block's least error, 1 is 20 units or 20 degrees",
    apart=5,  # 25 steps of the environment at a frame skip of 5, as DINO-WM plans
    columns=("agent_x", "agent_y", "block_x", "block_y", "block_angle"),
    angles=("block_angle",),
    errors=_pusht,
    moved=_block,
)
POINT_MAZE_REACH = Reach(
    about="the ball within 0.5 m of the goal",
    measure="least distance from the goal, 1 is 0.5 m",
    apart=15,  # after 5 a ball that is pushed at random has mostly come by
    columns=("x", "y"),
    angles=(),
    errors=_ball,
    moved=_ball,
)
