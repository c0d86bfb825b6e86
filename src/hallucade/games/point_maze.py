"""PointMaze: a ball is pushed through a maze to a goal, drawn by MuJoCo (gymnasium-robotics)."""

from collections import deque
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Axis
from hallucade.games.environment import SIMULATED, Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls

Point: TypeAlias = Float64[np.ndarray, "2"]  # x, y

STATE_NAMES = ("x", "y", "vx", "vy", "goal_x", "goal_y")
STIFFNESS, DAMPING, NOISE = 8.0, 2.0, 0.4  # of the scripted player: force a cell, a cell per second, at random

POINT_MAZE_ACTIONS = ActionSpace(
    axes=(
        Axis(name="x", low=-1, high=1, negative_keys=("ArrowLeft", "KeyA"), positive_keys=("ArrowRight", "KeyD")),
        Axis(name="y", low=-1, high=1, negative_keys=("ArrowDown", "KeyS"), positive_keys=("ArrowUp", "KeyW")),
    )
)


def point_maze_controls(env: Env) -> Controls:
    """Name the two forces; positive y points away from the camera."""
    return Controls(POINT_MAZE_ACTIONS, lambda row: row)


def fix_camera(env: Env) -> None:
    """Look at the maze's middle; the simulator would look at the median of all things when it first draws."""
    simulator: Any = env.unwrapped
    simulator.point_env.mujoco_renderer.default_cam_config["lookat"] = np.zeros(3)


def point_maze_readout(env: Env) -> Readout:
    """Read ball and goal, in metres and seconds; a cell of the maze is one metre wide."""
    return Readout(STATE_NAMES, lambda seen: np.concatenate([seen["observation"], seen["desired_goal"]]))


class MazeWalker:
    """Pushes the ball along the shortest way to the goal, with an unsteady hand."""

    def __init__(self, actions: ActionSpace) -> None:
        maps: Any = import_module("gymnasium_robotics.envs.maze.maps")
        self._walls = np.array(maps.MEDIUM_MAZE) == 1
        self._push = np.zeros(2)

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        ball, speed, goal = state[:2], state[2:4], state[4:6]
        way = self._next(self._cell(ball), self._cell(goal))
        target = goal if way is None else self._centre(way)
        self._push = 0.9 * self._push + NOISE * rng.standard_normal(2)
        force = STIFFNESS * (target - ball) - DAMPING * speed + self._push
        return np.clip(force, -1, 1).astype(np.float32)

    def _cell(self, place: Point) -> tuple[int, int]:
        rows, columns = self._walls.shape
        return int(np.floor(rows / 2 - place[1])), int(np.floor(place[0] + columns / 2))

    def _centre(self, cell: tuple[int, int]) -> Point:
        rows, columns = self._walls.shape
        return np.array([cell[1] + 0.5 - columns / 2, rows / 2 - cell[0] - 0.5])

    def _next(self, start: tuple[int, int], goal: tuple[int, int]) -> tuple[int, int] | None:
        """Return the next cell on the way, or None in the goal's cell: breadth first, from the goal."""
        after: dict[tuple[int, int], tuple[int, int] | None] = {goal: None}
        queue = deque([goal])
        while queue and start not in after:
            row, column = queue.popleft()
            for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if cell not in after and not self._walls[cell]:
                    after[cell] = (row, column)
                    queue.append(cell)
        return after.get(start)


POINT_MAZE = Environment(
    id="PointMaze_Medium-v3",
    requires="gymnasium_robotics",
    about="PointMaze, a ball in a maze, seen from above",
    install="pip install gymnasium-robotics, and for drawing without a screen libegl1 and libgl1-mesa-dri (apt)",
    options={"width": 128, "height": 128, "max_episode_steps": 10**6, "reset_target": True},
    fps=50,
    frame_skip=5,
    picture="render",
    prepare=fix_camera,
    controls=point_maze_controls,
    readout=point_maze_readout,
    players={"scripted": MazeWalker},
    reusable=True,
    variables={"MUJOCO_GL": "egl"},
    licence=f"{SIMULATED}: gymnasium-robotics (MIT), MuJoCo (Apache-2.0)",
)
