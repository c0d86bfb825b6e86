"""A Gymnasium environment as a model of itself: restored to known states, stepped without drawing, drawn when asked."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from hallucade.data.conversion import resized
from hallucade.evaluation.planning.environment_goals import EnvironmentGoal
from hallucade.evaluation.planning.futures import Futures
from hallucade.evaluation.planning.simulated_futures import simulated
from hallucade.games.environment import Env
from hallucade.games.environments import find_environment
from hallucade.games.gymnasium_game import GymnasiumGame
from hallucade.rollout import World

SAME_RATE = 0.01  # share by which the frame rates of run and environment may differ


class SimulatedEnvironment:
    """One copy of an environment at a run's frame rate and frame size.

    Raises:
        ValueError: the environment is not installed, or the run was not recorded from it at a whole frame skip.
    """

    def __init__(self, goal: EnvironmentGoal, world: World) -> None:
        self.goal, self._world = goal, world
        self.game, self._env = _made(goal, world)

    def restore(self, state: Float64[np.ndarray, "s"]) -> None:
        """Continue from `state`; the time that the environment allows begins anew."""
        self.goal.restore(self._env, state)

    def picture(self, state: Float64[np.ndarray, "s"]) -> UInt8[np.ndarray, "h w 3"]:
        """Draw a state, as the run sees it; the environment is left there."""
        self.restore(state)
        return self.fitted(self.goal.draw(self._env))

    def fitted(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
        """Return a frame of the environment at the run's size."""
        return resized(frame, self._world.frame_size, "crop")

    def futures(self, start: Float64[np.ndarray, "s"], rows: Float32[np.ndarray, "n f c"]) -> Futures:
        """Play every plan from `start`."""
        return self._shown(rows, np.stack([self._states(start, plan) for plan in rows]))

    def _shown(self, rows: Float32[np.ndarray, "n f c"], states: Float64[np.ndarray, "n f s"]) -> Futures:
        def draw() -> np.ndarray:
            return np.stack([np.stack([self.picture(state) for state in way]) for way in states])

        def last() -> Futures:
            return self._shown(rows[:, -1:], states[:, -1:])

        return simulated(rows, draw, self._world, states, last)

    def _states(self, start: Float64[np.ndarray, "s"], plan: Float32[np.ndarray, "f c"]) -> Float64[np.ndarray, "f s"]:
        self.restore(start)
        return np.stack([self.game.foretell(row) for row in plan])


def _made(goal: EnvironmentGoal, world: World) -> tuple[GymnasiumGame, Env]:
    """Make one copy at the run's frame rate, and return what is inside it too."""
    own, inside = find_environment(goal.environment), list[Env]()

    def prepare(env: Env) -> None:
        if own.prepare is not None:
            own.prepare(env)
        inside.append(env)

    environment = replace(own, prepare=prepare)
    game = GymnasiumGame(environment)
    if abs(game.fps / world.fps - 1) > SAME_RATE:
        skip = environment.frame_skip * game.fps / world.fps
        game.close()
        if abs(skip - round(skip)) > SAME_RATE:
            raise ValueError(
                f"this run has {world.fps:g} frames a second, {goal.environment} {game.fps:g}: no whole number "
                "of steps lies between two of its frames; record at a rate that fits"
            )
        game = GymnasiumGame(environment, round(skip))
    if (difference := game.actions.difference(world.actions)) is not None:
        raise ValueError(f"this run was not recorded from {goal.environment}: {difference}")
    return game, inside[-1]
