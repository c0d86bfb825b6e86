"""PushT: push a T-shaped block onto its place with a round finger, seen from above (gym-pusht)."""

from dataclasses import replace
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
STEP = 30.0  # units that a relative target may lie from the finger, on either axis
NEAR_SIDE = 0.8  # share of its pushes that the relative player begins on a side that it is near to
ASIDE = 25.0  # units by which it misses the block's middle, deviation: what turns the block
UNSTEADY = 0.15  # of its hand, deviation as a share of how far it reaches
PULL = 0.41  # share of that way that a spring at 10 Hz goes in a step, once the finger moves

PUSHT_ACTIONS = ActionSpace(
    axes=(
        Axis(name="x", low=0, high=SIDE, negative_keys=("ArrowLeft", "KeyA"), positive_keys=("ArrowRight", "KeyD")),
        Axis(name="y", low=0, high=SIDE, negative_keys=("ArrowUp", "KeyW"), positive_keys=("ArrowDown", "KeyS")),
    )
)


def pusht_controls(env: Env) -> Controls:
    """Name the place that the finger is drawn to; y points down, as in the picture."""
    return Controls(PUSHT_ACTIONS, lambda row: row.astype(np.float64))


PUSHT_RELATIVE_ACTIONS = ActionSpace(
    axes=tuple(replace(axis, low=-STEP, high=STEP, kind="delta") for axis in PUSHT_ACTIONS.axes)
)


def pusht_relative_controls(env: Env) -> Controls:
    """Name the place that the finger is drawn to, from where it is at every step, as DINO-WM does."""
    simulator: Any = env.unwrapped
    return Controls(PUSHT_RELATIVE_ACTIONS, lambda row: np.array(simulator.agent.position) + row)


def draw_without_cross(env: Env) -> None:
    """Draw only when asked to, and no cross where the finger is drawn to: pictures shall not tell the action."""
    simulator: Any = env.unwrapped
    simulator.render = simulator._render


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
            self._route = _push(agent, block, _turn_anywhere(agent, block, rng), rng)
        way = self._route[0] - self._target
        distance = float(np.hypot(*way))
        self._target = self._target + way * min(1, SPEED / max(distance, 1e-9))
        if distance <= SPEED:
            self._route.pop(0)
        return np.clip(self._target, 0, SIDE).astype(np.float32)


class RelativePusher:
    """Goes to a side of the block that is near, pushes past its centre with an unsteady hand, and begins again."""

    def __init__(self, actions: ActionSpace) -> None:
        self._reach = actions.axes[0].high
        self._stride = PULL * self._reach  # units that the finger goes in a frame, at most
        self._given = 2 + int(4 * REACH / self._stride)  # frames for each corner
        self._route: list[Point] = []
        self._patience = 0

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        agent, block = state[:2], state[4:6]
        if not self._route:
            near = rng.random() < NEAR_SIDE
            turn = float(rng.normal(0, 1) if near else rng.uniform(-np.pi, np.pi))
            aside = rng.normal(0, ASIDE, 2)
            self._route = [corner + aside for corner in _push(agent, block, turn, rng)]
            self._patience = self._given
        way = self._route[0] - agent
        self._patience -= 1
        if np.abs(way).max() <= self._stride or self._patience < 0:  # walls and the block stand in the way of some
            self._route.pop(0)
            self._patience = self._given
        row = way / PULL + rng.normal(0, UNSTEADY * self._reach, 2)
        inside = np.clip(agent + PULL * row, 20, SIDE - 20) - agent
        return np.clip(inside / PULL, -self._reach, self._reach).astype(np.float32)


def _side(agent: Point, block: Point) -> float:
    """Return on which side of the block the finger is, in radians."""
    return float(np.arctan2(agent[1] - block[1], agent[0] - block[0]))


def _turn_anywhere(agent: Point, block: Point, rng: np.random.Generator) -> float:
    """Return the short way around the block to a random side of it."""
    return (float(rng.uniform(-np.pi, np.pi)) - _side(agent, block) + np.pi) % (2 * np.pi) - np.pi


def _push(agent: Point, block: Point, turn: float, rng: np.random.Generator) -> list[Point]:
    """Return the corners of a way around the block, by `turn`, and through it."""
    here = _side(agent, block)
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
PUSHT_RELATIVE = replace(
    PUSHT,
    about="PushT under relative targets, five of its steps a frame, as DINO-WM plans",
    frame_skip=5,
    options={"obs_type": "state", "observation_width": 192, "observation_height": 192},
    picture="render",
    prepare=draw_without_cross,
    controls=pusht_relative_controls,
    players={"scripted": RelativePusher},
)
