"""One Gymnasium environment as a game: raw action rows in, rgb frames, state and rewards out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace
from hallucade.games.base import Game
from hallucade.games.environment import STALE, Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls, controls_of


@dataclass(frozen=True)
class Moment:
    """What there is to see and to read at one time."""

    frame: UInt8[np.ndarray, "h w 3"]
    state: Float64[np.ndarray, "s"] | None
    extras: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


@dataclass(frozen=True)
class Outcome:
    """What an action led to."""

    moment: Moment | None  # None: the game ended without another frame
    reward: float
    over: bool


class GymnasiumGame:
    """Plays one environment, `frame_skip` of its steps a frame, under one action.

    A delta axis is spread evenly over these steps, and reaches that much further; rewards are summed.

    Args:
        environment: what is played.
        frame_skip: None takes the environment's own.
        options: keyword arguments of ``gymnasium.make``, over the environment's own.

    Raises:
        ValueError: the environment cannot be made, shows no rgb frames, or has actions that cannot be recorded.
    """

    def __init__(
        self, environment: Environment, frame_skip: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        skip = environment.frame_skip if frame_skip is None else frame_skip
        if skip < 1:
            raise ValueError(f"frame_skip is {skip}; it must be at least 1")
        self.environment, self._env = environment, environment.make(skip, **(options or {}))
        self._repeat = 1 if environment.skip_option else skip
        self._picture = _picture_key(self._env, environment)
        self._controls = (environment.controls or _named)(self._env)
        self._readout = environment.readout(self._env) if environment.readout else _known(self._env, self._picture)
        self.actions: ActionSpace = self._controls.actions.over(self._repeat)
        self.fps: float = (environment.fps or _fps(self._env)) / skip
        self._spread = np.array(
            [1 / self._repeat if getattr(c, "kind", None) == "delta" else 1 for c in self.actions.controls], np.float32
        )

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name a state variable; none if there is no state to read."""
        return self._readout.names

    def reset(self, seed: int) -> Moment:
        """Start the game of this seed."""
        observation, _ = self._env.reset(seed=seed)
        idle = self._controls.native(self._controls.actions.idle)
        for _ in range(self.environment.settling * self._repeat):
            observation, *_ = self._env.step(idle)
        return self._moment(observation)

    def act(self, row: ActionRow) -> Outcome:
        """Hold `row` for one frame.

        Raises:
            ValueError: the row is not of this game's action space.
        """
        observation, reward, over, info = self._stepped(row)
        return Outcome(None if info.get(STALE) else self._moment(observation), reward, over)

    def foretell(self, row: ActionRow) -> Float64[np.ndarray, "s"]:
        """Hold `row` for one frame that nobody looks at; return the state after it.

        Raises:
            ValueError: the row is not of this game's action space.
        """
        observation, *_ = self._stepped(row)
        return np.array(self._readout.state(observation), np.float64)

    def _stepped(self, row: ActionRow) -> tuple[Any, float, bool, dict[str, Any]]:
        """Return the last observation, the rewards' sum, whether the game is over, and the last info."""
        self.actions.validate(row)
        total, over, observation, info = 0.0, False, None, cast("dict[str, Any]", {})
        for _ in range(self._repeat):
            action = self._controls.native(row * self._spread)  # anew: it may depend on where things are by now
            observation, reward, terminated, truncated, info = self._env.step(action)
            total += float(reward)
            over = bool(terminated or truncated)
            if over:
                break
        return observation, total, over, info

    def close(self) -> None:
        """Let go of the simulator."""
        self._env.close()

    def _moment(self, observation: Any) -> Moment:
        state = np.array(self._readout.state(observation), np.float64) if self._readout.names else None
        return Moment(self._frame(observation), state, self._readout.extras())

    def _frame(self, observation: Any) -> UInt8[np.ndarray, "h w 3"]:
        frame: Any = self._env.render() if self._picture is None else _at(observation, self._picture)
        if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
            what = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
            raise ValueError(
                f"environment {self.environment.id!r} shows {what}; it must render uint8 height x width x 3 in mode "
                "'rgb_array', or observe such frames"
            )
        return np.array(frame, np.uint8)  # a copy: many environments draw into the same array again


Path = tuple[str, ...]  # of a part within nested observations


def _picture_key(env: Env, environment: Environment) -> Path | None:
    """Say where in an observation the frame is; None where it is to be rendered."""
    found = [path for path, space in _parts(env.observation_space) if _is_picture(space)]
    if environment.picture == "render" or not found:
        if "rgb_array" not in env.metadata.get("render_modes", ()):
            raise ValueError(f"environment {environment.id!r} has no rgb frames: neither observed nor rendered")
        return None
    return found[0]


def _named(env: Env) -> Controls:
    """Take the names and keys that a game of this package gives its controls, else those of its action space."""
    controls, own = controls_of(env.action_space), getattr(env.unwrapped, "actions", None)
    if isinstance(own, ActionSpace) and [*map(type, own.controls)] == [*map(type, controls.actions.controls)]:
        return Controls(own, controls.native)
    return controls


def _known(env: Env, picture: Path | None) -> Readout:
    """Record the state of a simulator that has one, as `Game` says, else what it lets players observe."""
    simulator = env.unwrapped
    if isinstance(simulator, Game):
        return Readout(simulator.state_names, lambda observation: simulator.get_state())
    return _observed(env, picture)


def _observed(env: Env, picture: Path | None) -> Readout:
    """Record the numbers of an observation that are no picture."""
    parts = [(path, space) for path, space in _parts(env.observation_space) if path != picture and _is_vector(space)]
    names = [
        "_".join((*(path or ("observation",)), *map(str, index)))
        for path, space in parts
        for index in np.ndindex(space.shape or ())
    ]

    def state(observation: Any) -> np.ndarray:
        return np.concatenate([np.ravel(np.asarray(_at(observation, path), np.float64)) for path, _ in parts])

    return Readout(tuple(names), state)


def _parts(space: gymnasium.Space[Any]) -> list[tuple[Path, gymnasium.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        parts = cast("dict[str, gymnasium.Space[Any]]", space.spaces)
        return [((key, *path), leaf) for key, part in parts.items() for path, leaf in _parts(part)]
    return [((), space)]


def _at(observation: Any, path: Path) -> Any:
    for key in path:
        observation = observation[key]
    return observation


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    shape = space.shape or ()
    return isinstance(space, spaces.Box) and bool(space.dtype == np.uint8) and len(shape) == 3 and shape[2] == 3


def _is_vector(space: gymnasium.Space[Any]) -> bool:
    return isinstance(space, spaces.Box | spaces.Discrete) and len(space.shape or ()) <= 1


def _fps(env: Env) -> float:
    return float(env.metadata.get("render_fps") or 30)
