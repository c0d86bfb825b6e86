"""Tasks of Gymnasium environments: make the world look like a goal picture, judged by the environment's own reward."""

import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.evaluation.planning.costs import GoalPictureConfig
from hallucade.evaluation.planning.environment_goals import EnvironmentGoal
from hallucade.evaluation.planning.futures import Cost, Futures, Imagination
from hallucade.evaluation.planning.simulated_environment import SimulatedEnvironment
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.rollout import Prompt, World

HELD_OUT = 10**6  # the first seed; those of recordings are hashes in [0, 2**31)


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
        self._played, self._model = SimulatedEnvironment(goal, world), SimulatedEnvironment(goal, world)
        self._model.game.reset(0)

    def begin(self, episode: int) -> Prompt:
        moment = self._played.game.reset(HELD_OUT + self._seed * 1009 + episode)
        assert moment.state is not None
        self._state = moment.state
        self.wanted = self._model.picture(self._goal.goal(moment.state))
        return self._prompt(self._played.fitted(moment.frame), moment.state)

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        outcome = self._played.game.act(row)
        assert outcome.moment is not None
        assert outcome.moment.state is not None
        self._state = outcome.moment.state
        frame = self._played.fitted(outcome.moment.frame)
        return Turn(frame, self._state, self._goal.success(outcome), outcome.over, self._goal.score(outcome))

    def cost(self, world: World) -> Cost:
        return self._picture.build(self.wanted, world)

    def simulator(self, world: World) -> Imagination:
        start = self._state.copy()

        def imagine(rows: Float32[np.ndarray, "n f c"]) -> Futures:
            return self._model.futures(start, rows)

        return imagine

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, self._world.actions, 1, self._seed + episode)

    def _prompt(self, frame: UInt8[np.ndarray, "h w 3"], state: np.ndarray) -> Prompt:
        """Return one model step of a world at rest: nothing has been touched yet."""
        m = self._world.frames_per_step
        rows = np.tile(self._world.actions.idle, (m - 1, 1))
        return Prompt(np.repeat(frame[None], m, 0), rows, state)
