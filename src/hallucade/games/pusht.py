"""PushT: push a T-shaped block onto its place with a round finger, seen from above (gym-pusht)."""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Axis
from hallucade.games.environment import SIMULATED, Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls

Point: TypeAlias = Float64[np.ndarray, "2"]  # x, y

SIDE = 512.0  # of the table, in the simulator's units
STATE_NAMES = (
    "agent_x",
    "agent_y",
    "agent_vx",
    "agent_vy",
    "block_x",
    "block_y",
    "block_angle",
    "goal_x",
    "goal_y",
    "goal_angle",
)
REACH = 110.0  # from the block's centre to where a push begins
SPEED = 25.0  # units a frame that the scripted target moves

PUSHT_ACTIONS = ActionSpace(
    axes=(
        Axis(name="x", low=0, high=SIDE, negative_keys=("ArrowLeft", "KeyA"), positive_keys=("ArrowRight", "KeyD")),
        Axis(name="y", low=0, high=SIDE, negative_keys=("ArrowUp", "KeyW"), positive_keys=("ArrowDown", "KeyS")),
    )
)


def pusht_controls(env: Env) -> Controls:
    """Name the place that the finger is drawn to; y points down, as in the picture."""
    return Controls(PUSHT_ACTIONS, lambda row: row.astype(np.float64))


def pusht_readout(env: Env) -> Readout:
    """Read finger, block and goal: units of the table, radians, and a second."""
    simulator: Any = env.unwrapped

    def state(observation: Any) -> Float64[np.ndarray, "s"]:
        agent, block = simulator.agent, simulator.block
        return np.array([*agent.position, *agent.velocity, *block.position, block.angle, *simulator.goal_pose])

    return Readout(STATE_NAMES, state)


class Pusher:
    """Goes around the block to a random side, pushes through its centre, and begins again."""

    def __init__(self, actions: ActionSpace) -> None:
        self._target: Point | None = None
        self._route: list[Point] = []

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        agent, block = state[:2], state[4:6]
        self._target = agent.copy() if self._target is None else self._target
        if not self._route:
            self._route = _push(agent, block, rng)
        way = self._route[0] - self._target
        distance = float(np.hypot(*way))
        self._target = self._target + way * min(1, SPEED / max(distance, 1e-9))
        if distance <= SPEED:
            self._route.pop(0)
        return np.clip(self._target, 0, SIDE).astype(np.float32)


def _push(agent: Point, block: Point, rng: np.random.Generator) -> list[Point]:
    """Return the corners of a way around the block to a random side of it, and through it."""
    here = np.arctan2(*(agent - block)[::-1])
    there = rng.uniform(-np.pi, np.pi)
    turn = (there - here + np.pi) % (2 * np.pi) - np.pi
    angles = here + turn * np.linspace(0, 1, 5)
    around = [block + REACH * np.array([np.cos(a), np.sin(a)]) for a in angles]
    through = block - (around[-1] - block) * rng.uniform(-0.2, 0.8)
    return [np.clip(corner, 20, SIDE - 20) for corner in (*around, through)]


PUSHT = Environment(
    id="gym_pusht/PushT-v0",
    requires="gym_pusht",
    about="PushT, a finger pushes a block, seen from above",
    install="pip install 'pymunk<7' shapely pygame-ce && pip install --no-deps gym-pusht",
    options={"obs_type": "pixels", "observation_width": 192, "observation_height": 192},
    controls=pusht_controls,
    readout=pusht_readout,
    reusable=True,
    players={"scripted": Pusher},
    licence=f"{SIMULATED}: gym-pusht (Apache-2.0)",
)
