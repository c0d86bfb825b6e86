"""The field's standard task: from a moment of held-out play to what was reached a little later.

Start and goal lie `Reach.apart` frames apart on a way that the environment's scripted player took, so that the goal can
be reached in that time. Source: Zhou et al. 2024 (DINO-WM), arXiv:2411.04983, section 4 and its code's evaluation.
"""

from itertools import count

import numpy as np
from jaxtyping import Float32, Float64

from hallucade.data.episode import Episode
from hallucade.evaluation.planning.costs import GoalPictureConfig
from hallucade.evaluation.planning.environment_goals import EnvironmentGoal
from hallucade.evaluation.planning.environment_task import HELD_OUT
from hallucade.evaluation.planning.futures import Cost, Futures, Imagination
from hallucade.evaluation.planning.reach import Reach
from hallucade.evaluation.planning.simulated_environment import SimulatedEnvironment
from hallucade.evaluation.planning.state_cost import ReadStates, StateCost
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.games.environments import find_environment
from hallucade.rollout import Prompt, World

LATEST = 40  # frames of play before a start, at most
LIMIT = 10  # times the frames that the play itself took
TRIES = 1000  # plays that are looked at for one start


class ReachTask:
    """Episodes begin in held-out play; the goal is where that play was a little later.

    Starts from which there is nothing to do, because what matters is at the goal already, are passed over.

    Raises:
        ValueError: the environment is not installed, or the run was not recorded from it at a whole frame skip.
    """

    name = "reach"
    higher = False
    policies: tuple[str, ...] = ("random_hold",)

    def __init__(
        self,
        goal: EnvironmentGoal,
        reach: Reach,
        world: World,
        seed: int,
        picture: GoalPictureConfig | None = None,
    ) -> None:
        self.about, self.measure, self.limit = reach.about, reach.measure, LIMIT * reach.apart
        self._goal, self._reach, self._world, self._seed = goal, reach, world, seed
        self._picture = picture or GoalPictureConfig()
        self._played, self._model = SimulatedEnvironment(goal, world), SimulatedEnvironment(goal, world)
        self._model.game.reset(0)
        self._columns = [self._played.game.state_names.index(name) for name in reach.columns]
        self._starts = dict[int, tuple[Prompt, Prompt]]()

    def begin(self, episode: int) -> Prompt:
        if episode not in self._starts:
            self._starts[episode] = self._drawn(episode)
        start, goal = self._starts[episode]
        assert start.state is not None
        assert goal.state is not None
        self._state, self.wanted = start.state, goal.frames[-1]
        self._target = goal.state[self._columns]
        self._played.restore(start.state)
        return start

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        outcome = self._played.game.act(row)
        assert outcome.moment is not None
        assert outcome.moment.state is not None
        self._state = outcome.moment.state
        values = self._state[self._columns]
        there = bool(np.all(self._reach.errors(values, self._target) < 1))
        score = float(np.max(self._reach.moved(values, self._target)))
        return Turn(self._played.fitted(outcome.moment.frame), self._state, there, False, score)

    def cost(self, world: World) -> Cost:
        return self._picture.build(self.wanted, world)

    def state_cost(self, read: ReadStates, names: tuple[str, ...]) -> Cost:
        """Return the squared errors of a state that is read from futures, each in units of what success allows.

        Raises:
            ValueError: the reader does not know all that matters.
        """
        if missing := [name for name in self._reach.columns if name not in names]:
            raise ValueError(
                f"the probe reads {', '.join(names)}, and {self._goal.environment} needs {', '.join(missing)} too; "
                f"train it with --columns {' '.join(self._reach.columns)}"
            )
        columns = [names.index(name) for name in self._reach.columns]
        target, reach = self._target, self._reach
        return StateCost(read, lambda states: np.square(reach.errors(states[..., columns], target)).sum(-1))

    def true_cost(self) -> Cost:
        """Return the same cost of the simulator's own states, which a dream has not."""
        return self.state_cost(true_states, self._played.game.state_names)

    def simulator(self, world: World) -> Imagination:
        start = self._state.copy()

        def imagine(rows: Float32[np.ndarray, "n f c"]) -> Futures:
            return self._model.futures(start, rows)

        return imagine

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, self._world.actions, 1, self._seed + episode)

    def _drawn(self, episode: int) -> tuple[Prompt, Prompt]:
        """Return the play up to a start, and up to its goal."""
        first = HELD_OUT + (self._seed * 1009 + episode) * TRIES
        for seed in count(first):
            assert seed < first + TRIES, f"{TRIES} plays of {self._goal.environment} show nothing to reach"
            rng = np.random.default_rng(seed)
            start = int(rng.integers(self._world.model.context, LATEST))
            played = self._play(seed, start + self._reach.apart, rng)
            if played is None:
                continue
            states = played.state
            assert states is not None
            here, there = states[start, self._columns], states[-1, self._columns]
            same = np.array_equal(states[start, self._fixed], states[-1, self._fixed])
            if same and np.max(self._reach.moved(here, there)) >= 1:
                return self._cut(played, start), self._cut(played, start + self._reach.apart)
        raise AssertionError

    @property
    def _fixed(self) -> list[int]:
        """What is drawn and cannot be moved: the environment's own goal."""
        return [i for i, name in enumerate(self._played.game.state_names) if name.startswith("goal_")]

    def _play(self, seed: int, frames: int, rng: np.random.Generator) -> Episode | None:
        """Play `frames` frames on; None if the environment ends before."""
        game, environment = self._played.game, find_environment(self._goal.environment)
        player = next(iter(environment.players.values()))(game.actions)
        moments, rows = [game.reset(seed)], list[np.ndarray]()
        for _ in range(frames):
            rows.append(np.array(player(moments[-1].frame, moments[-1].state, rng), np.float32))
            outcome = game.act(rows[-1])
            if outcome.over or outcome.moment is None:
                return None
            moments.append(outcome.moment)
        seen = np.stack([self._played.fitted(moment.frame) for moment in moments])
        return Episode(seen, np.stack(rows), state=np.stack([m.state for m in moments if m.state is not None]))

    def _cut(self, played: Episode, last: int) -> Prompt:
        """Return what a model's memory needs of the play up to frame `last`, in whole steps."""
        m = self._world.frames_per_step
        kept = max(min(self._world.model.context * self._world.tokenizer.stride, last + 1) // m * m, m)
        assert played.state is not None
        first = last + 1 - kept
        return Prompt(played.frames[first : last + 1], played.actions[first:last], played.state[last])


def true_states(futures: Futures) -> Float64[np.ndarray, "n f s"]:
    """Return what the simulator knows."""
    assert futures.states is not None, "a dream has no true states"
    return futures.states
