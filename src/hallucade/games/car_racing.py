"""CarRacing: drive a random track, seen from above with the car's nose up (gymnasium[box2d])."""

from collections.abc import Callable
from typing import Any, cast

import gymnasium
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


class DrawnSeldom(gymnasium.Wrapper[Any, Any, Any, Any]):
    """CarRacing that holds an action for `frame_skip` steps and draws only the last: drawing is nearly all it does."""

    def __init__(self, env: Env, frame_skip: int) -> None:
        super().__init__(env)
        self._skip, self._simulator = frame_skip, cast("Any", env.unwrapped)
        self._draw: Callable[[str], np.ndarray] = self._simulator._render

    def step(self, action: np.ndarray) -> tuple[UInt8[np.ndarray, "h w 3"], float, bool, bool, dict[str, Any]]:
        """Drive `frame_skip` steps, fewer if the drive ends."""
        total, over, lost, left, info = 0.0, False, False, 0, cast("dict[str, Any]", {})
        for left in reversed(range(self._skip)):
            self._simulator._render = self._draw if left == 0 else self._undrawn
            _, reward, over, lost, info = self.env.step(action)
            total += float(reward)
            if over or lost:
                break
        self._simulator._render = self._draw
        if left:
            self._simulator.state = self._draw("state_pixels")
        return self._simulator.state, total, bool(over), bool(lost), info

    def _undrawn(self, mode: str) -> np.ndarray:
        return self._simulator.state


def car_racing(frame_skip: int = 1, **options: Any) -> DrawnSeldom:
    """Make `hallucade/CarRacing-v0`; `options` are those of Gymnasium's CarRacing-v3."""
    return DrawnSeldom(
        gymnasium.make("CarRacing-v3", disable_env_checker=True, max_episode_steps=-1, **options), frame_skip
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
    id="hallucade/CarRacing-v0",
    requires="Box2D",
    about="CarRacing, a car on a track, seen from above",
    install="pip install 'gymnasium[box2d]'",
    fps=50,
    frame_skip=2,
    skip_option="frame_skip",
    settling=25,  # the camera comes down in the first second
    picture="observation",
    controls=car_racing_controls,
    readout=car_racing_readout,
    players={"scripted": Driver},
    licence=f"{SIMULATED}: gymnasium (MIT)",
)
