"""Doom as an environment to record, in first and in third person, and marines who wander about or stand guard."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace
from hallucade.games.doom import TICS, VARIABLES
from hallucade.games.environment import Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls
from hallucade.games.players import Player, RandomHold, Switching

Point: TypeAlias = Float64[np.ndarray, "2"]  # x, y

STUCK = 4.0  # map units a frame; a walking marine does about 15
ANGLE = list(VARIABLES).index("angle")
ARC = 60.0  # degrees to either side that a guard turns: what is behind him is a wall
PATIENCE = 3  # frames of getting nowhere before turning away
LICENCE = (
    "played by a program in Doom's engine through ViZDoom (MIT; engine GPL and other licences); "
    "the pictures are of Freedoom (BSD-3-Clause)"
)


def doom_controls(env: Env) -> Controls:
    """Name the controls of one frame: yaw and pitch are spread evenly over its tics."""
    simulator: Any = env.unwrapped
    tics: int = simulator.frame_skip
    actions: ActionSpace = simulator.actions
    buttons = len(actions.buttons)
    return Controls(
        actions.over(tics), lambda row: {"buttons": row[:buttons].astype(np.int8), "view": row[buttons:] / tics}
    )


def doom_readout(env: Env) -> Readout:
    """Read the marine, and the pictures of depth and labels where the environment draws them."""
    simulator: Any = env.unwrapped
    return Readout(tuple(VARIABLES), lambda observation: simulator.variables(), simulator.extras)


class Wanderer:
    """Walks on, looks around, turns away from walls, opens doors, and shoots now and then."""

    def __init__(self, actions: ActionSpace) -> None:
        self._actions = actions
        self._column = {name: i for i, name in enumerate(actions.names)}
        self._most = actions.axes[0].high
        self._place: Point | None = None
        self._turning, self._yaw = 0, 0.0  # frames left of a turn, degrees a frame
        self._stuck = 0  # frames without getting on
        self._held: dict[str, int] = {}  # frames left

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        moved = np.inf if self._place is None else float(np.hypot(*(state[:2] - self._place)))
        self._place = state[:2].copy()
        self._stuck = self._stuck + 1 if moved < STUCK else 0
        if self._stuck == PATIENCE or self._turning == 0:
            self._decide(self._stuck >= PATIENCE, rng)
        self._turning = max(0, self._turning - 1)
        row = self._actions.idle
        self._held = {name: left - 1 for name, left in self._held.items() if left > 1}
        for name in ("forward", *self._held):
            row[self._column[name]] = 1
        if "back" in self._held or "use" in self._held:
            row[self._column["forward"]] = 0
        row[self._column["yaw"]] = np.clip(self._yaw, -self._most, self._most)
        row[self._column["pitch"]] = np.clip(0.1 * state[4], -1, 1)  # back to the horizon: Doom counts pitch downward
        return row

    def _decide(self, stuck: bool, rng: np.random.Generator) -> None:
        """Choose the next turn, and what to do besides."""
        if stuck:
            self._turning, self._yaw = int(rng.integers(4, 16)), float(rng.choice([-1, 1]) * rng.uniform(5, 12))
            if rng.random() < 0.4:
                self._held["use"] = 2
            elif rng.random() < 0.4:
                self._held["back"] = int(rng.integers(3, 10))
            return
        self._turning = int(rng.integers(4, 20))
        self._yaw = 0.0 if rng.random() < 0.5 else float(rng.normal(0, 4))
        if rng.random() < 0.15:
            self._held[str(rng.choice(["left", "right"]))] = int(rng.integers(4, 15))
        if rng.random() < 0.15:
            self._held["attack"] = int(rng.integers(2, 12))
        if rng.random() < 0.2:
            self._held["run"] = int(rng.integers(10, 40))


class Guard:
    """Stands, turns to and fro, mostly near to where he looked at first, and shoots in bursts."""

    def __init__(self, actions: ActionSpace) -> None:
        self._actions = actions
        self._attack, self._yaw = actions.names.index("attack"), actions.names.index("yaw")
        self._most = actions.axes[0].high
        self._first: float | None = None  # degrees, to the left
        self._wanted, self._speed = 0.0, 0.0  # degrees to the right of that, degrees a frame
        self._rest, self._burst = 0, 0  # frames left

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        angle = float(state[ANGLE])
        self._first = angle if self._first is None else self._first
        if self._rest == 0:
            self._rest = int(rng.integers(5, 25))
            self._wanted = float(rng.normal(0, 20) if rng.random() < 0.6 else rng.uniform(-ARC, ARC))
            self._speed = float(rng.uniform(2, self._most))
        if self._burst == 0 and rng.random() < 0.06:
            self._burst = int(rng.integers(2, 16))
        left = (self._wanted + angle - self._first + 180) % 360 - 180  # degrees to the right that are to go
        self._rest, self._burst = self._rest - (abs(left) < 1), max(0, self._burst - 1)
        row = self._actions.idle
        row[self._attack] = self._burst > 0
        row[self._yaw] = np.clip(left, -self._speed, self._speed)
        return row


def _mixed(player: Callable[[ActionSpace], Player]) -> Callable[[ActionSpace], Switching]:
    """Mostly a player who knows the game; sometimes any control at random, for every action on its own."""
    return lambda actions: Switching([player(actions), RandomHold(actions)], [0.75, 0.25])


def _doom(about: str, player: Callable[[ActionSpace], Player], **options: Any) -> Environment:
    return Environment(
        id="hallucade/Doom-v0",
        requires="vizdoom",
        about=about,
        install="pip install vizdoom",
        options=options,
        fps=TICS,
        frame_skip=2,
        skip_option="frame_skip",
        controls=doom_controls,
        readout=doom_readout,
        reusable=True,
        players={"mixed": _mixed(player), "scripted": player},
        licence=LICENCE,
    )


DOOM = _doom("Doom through the marine's eyes", Wanderer, view="first")
DOOM_THIRD_PERSON = _doom("Doom over the marine's shoulder, in third person", Wanderer, view="third")
DOOM_DEFEND_THE_LINE = _doom(
    "Doom from one spot, against monsters who come from across the room, until death",
    Guard,
    view="first",
    wad="defend_the_line",
    map="MAP01",
    starts="map",
    monsters=True,
    controls=("attack", "yaw"),
    arc=ARC,
)
