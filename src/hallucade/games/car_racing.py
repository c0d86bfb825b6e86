"""CarRacing: drive a random track, seen from above with the car's nose up (gymnasium[box2d])."""

from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Axis
from hallucade.games.environment import SIMULATED, Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls

STATE_NAMES = (
    "x",
    "y",
    "angle",
    "velocity_x",
    "velocity_y",
    "angular_velocity",
    "steering",
    "tile",
    "track_offset",
    "track_heading",
    "bend_ahead",
)
VELOCITY, SPIN, OFFSET, HEADING, BEND = slice(3, 5), 5, 8, 9, 10
AHEAD = 12  # tiles, of about 3.5 metres each, at which the scripted driver looks
HALF_WIDTH = 6.7  # metres of track on either side of its middle
CRUISE, SLOWEST = 40.0, 18.0  # metres a second, straight on and in a sharp bend

CAR_RACING_ACTIONS = ActionSpace(
    axes=(
        Axis(name="steer", low=-1, high=1, negative_keys=("ArrowLeft", "KeyA"), positive_keys=("ArrowRight", "KeyD")),
        Axis(name="gas", low=0, high=1, positive_keys=("ArrowUp", "KeyW")),
        Axis(name="brake", low=0, high=1, positive_keys=("ArrowDown", "KeyS", "Space")),
    )
)


def car_racing_controls(env: Env) -> Controls:
    """Name wheel and pedals; positive steering goes to the right."""
    return Controls(CAR_RACING_ACTIONS, lambda row: row)


def car_racing_readout(env: Env) -> Readout:
    """Read the car, and where the track is from there: metres, radians, seconds.

    Angles count against the clock. `track_offset` is the distance to the left of the track's middle, `track_heading`
    how far the car's nose points left of the track, `bend_ahead` how far the track bends left within the next tiles.
    """
    simulator: Any = env.unwrapped

    def state(observation: Any) -> Float64[np.ndarray, "s"]:
        hull, wheel = simulator.car.hull, simulator.car.wheels[0]
        track = np.array(simulator.track)  # alpha, direction, x, y of each tile
        place = np.array(hull.position)
        tile = int(np.argmin(((track[:, 2:] - place) ** 2).sum(1)))
        direction = track[tile, 1]
        left = np.array([-np.cos(direction), -np.sin(direction)])
        values = [
            *hull.position,
            hull.angle,
            *hull.linearVelocity,
            hull.angularVelocity,
            wheel.joint.angle,
            tile,
            float(left @ (place - track[tile, 2:])),
            _turn(hull.angle - direction),
            _turn(track[(tile + AHEAD) % len(track), 1] - direction),
        ]
        return np.array(values, np.float64)

    return Readout(STATE_NAMES, state)


class Driver:
    """Follows the track at a speed that suits the next bend, a little off the ideal line."""

    def __init__(self, actions: ActionSpace) -> None:
        self._line = 0.0  # metres to the left of the middle

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        if rng.random() < 0.03:
            self._line = rng.uniform(-5, 5)
        speed = float(np.hypot(*state[VELOCITY]))
        wanted = max(SLOWEST, CRUISE - 40 * abs(state[BEND]) - 3 * max(0.0, abs(state[OFFSET]) - HALF_WIDTH))
        steer = 0.05 * (state[OFFSET] - self._line) + 1.2 * state[HEADING] - 0.6 * state[BEND] + 0.15 * state[SPIN]
        steer += 0.1 * rng.standard_normal()
        gas, brake = np.clip(0.1 * (wanted - speed), 0, 0.6), np.clip(0.03 * (speed - wanted), 0, 0.5)
        return np.array([np.clip(steer, -1, 1), gas, brake], np.float32)


def _turn(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


CAR_RACING = Environment(
    id="CarRacing-v3",
    requires="Box2D",
    about="CarRacing, a car on a track, seen from above",
    install="pip install 'gymnasium[box2d]'",
    options={"max_episode_steps": 10**6},
    frame_skip=2,
    settling=25,  # the camera comes down in the first second
    picture="observation",
    controls=car_racing_controls,
    readout=car_racing_readout,
    players={"scripted": Driver},
    licence=f"{SIMULATED}: gymnasium (MIT)",
)
