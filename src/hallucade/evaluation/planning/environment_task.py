"""Tasks of Gymnasium environments: make the world look like a goal picture, judged by the environment's own reward."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.data.conversion import resized
from hallucade.evaluation.planning.costs import GoalPictureConfig
from hallucade.evaluation.planning.environment_goals import EnvironmentGoal
from hallucade.evaluation.planning.futures import Cost, Futures, Imagination
from hallucade.evaluation.planning.simulated_futures import simulated
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.games.environment import Env
from hallucade.games.environments import find_environment
from hallucade.games.gymnasium_game import GymnasiumGame
from hallucade.rollout import Prompt, World

HELD_OUT = 10**6  # the first seed; those of recordings are hashes in [0, 2**31)
SAME_RATE = 0.01  # share by which the frame rates of run and environment may differ


class EnvironmentTask:
    """Episode i starts as the environment's own reset with a held-out seed does.

    Two copies are made: one is played, the other is restored to known states for goal pictures and as the true model.

    Raises:
        ValueError: the environment is not installed, or the run was not recorded from it at a whole frame skip.
    """

    policies: tuple[str, ...] = ("random_hold",)

    def __init__(
        self, goal: EnvironmentGoal, world: World, seed: int, picture: GoalPictureConfig | None = None
    ) -> None:
        self.name, self.about, self.measure = goal.environment, goal.about, goal.measure
        self.higher, self.limit = goal.higher, goal.limit
        self._goal, self._world, self._seed = goal, world, seed
        self._picture = picture or GoalPictureConfig()
        self._game, _ = _made(goal, world)
        self._model, self._env = _made(goal, world)
        self._model.reset(0)

    def begin(self, episode: int) -> Prompt:
        moment = self._game.reset(HELD_OUT + self._seed * 1009 + episode)
        assert moment.state is not None
        self._state = moment.state
        self._goal.restore(self._env, self._goal.goal(moment.state))
        self._wanted = self._fitted(self._goal.draw(self._env))
        return self._prompt(self._fitted(moment.frame), moment.state)

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        outcome = self._game.act(row)
        assert outcome.moment is not None
        assert outcome.moment.state is not None
        self._state = outcome.moment.state
        frame = self._fitted(outcome.moment.frame)
        return Turn(frame, self._state, self._goal.success(outcome), outcome.over, self._goal.score(outcome))

    def cost(self, world: World) -> Cost:
        return self._picture.build(self._wanted, world)

    def simulator(self, world: World) -> Imagination:
        start = self._state.copy()

        def imagine(rows: Float32[np.ndarray, "n f c"]) -> Futures:
            frames = np.stack([self._future(start, plan) for plan in rows])
            return simulated(rows, lambda: frames, world)

        return imagine

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, self._world.actions, 1, self._seed + episode)

    def _future(self, start: np.ndarray, plan: Float32[np.ndarray, "f c"]) -> UInt8[np.ndarray, "f h w 3"]:
        self._goal.restore(self._env, start)
        frames = list[np.ndarray]()
        for row in plan:
            outcome = self._model.act(row)
            assert outcome.moment is not None
            frames.append(self._fitted(outcome.moment.frame))
        return np.stack(frames)

    def _prompt(self, frame: UInt8[np.ndarray, "h w 3"], state: np.ndarray) -> Prompt:
        """Return one model step of a world at rest: nothing has been touched yet."""
        m = self._world.frames_per_step
        rows = np.tile(self._world.actions.idle, (m - 1, 1))
        return Prompt(np.repeat(frame[None], m, 0), rows, state)

    def _fitted(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
        return resized(frame, self._world.frame_size, "crop")


def _made(goal: EnvironmentGoal, world: World) -> tuple[GymnasiumGame, Env]:
    """Make one copy at the run's frame rate, and return what is inside it too."""
    if (difference := goal.actions.difference(world.actions)) is not None:
        raise ValueError(f"this run was not recorded from {goal.environment}: {difference}")
    environment, inside = find_environment(goal.environment), list[Env]()

    def prepare(env: Env) -> None:
        if environment.prepare is not None:
            environment.prepare(env)
        inside.append(env)

    game = GymnasiumGame(replace(environment, prepare=prepare))
    if abs(game.fps / world.fps - 1) > SAME_RATE:
        skip = environment.frame_skip * game.fps / world.fps
        if abs(skip - round(skip)) > SAME_RATE:
            raise ValueError(
                f"this run has {world.fps:g} frames a second, {goal.environment} {game.fps:g}: no whole number "
                "of steps lies between two of its frames; record at a rate that fits"
            )
        game.close()
        game = GymnasiumGame(replace(environment, prepare=prepare), round(skip))
    return game, inside[-1]
