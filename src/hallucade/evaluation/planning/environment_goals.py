"""What planning needs to know of each Gymnasium environment beyond how it is recorded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.evaluation.planning.reach import POINT_MAZE_REACH, PUSHT_REACH, Reach
from hallucade.games.environment import Env
from hallucade.games.gymnasium_game import Outcome
from hallucade.games.point_maze import POINT_MAZE_ACTIONS
from hallucade.games.pusht import PUSHT_ACTIONS, PUSHT_RELATIVE_ACTIONS


@dataclass(frozen=True)
class EnvironmentGoal:
    """What planning needs to know of an environment beyond how it is recorded."""

    environment: str
    about: str
    measure: str
    higher: bool
    limit: int  # frames
    actions: ActionSpace  # of one of its own steps
    rate: float  # of its own steps, a second
    restore: Callable[[Env, np.ndarray], None]  # continue from a state, as the environment's readout gives it
    draw: Callable[[Env], np.ndarray]  # the picture of now, `h w 3`
    goal: Callable[[np.ndarray], np.ndarray]  # the state in which all is done, from the state at the start
    score: Callable[[Outcome], float]
    success: Callable[[Outcome], bool]
    reach: Reach  # when another state counts as reached

    def fits(self, actions: ActionSpace, fps: float) -> bool:
        """Say whether a run at this rate has the environment's actions."""
        return self.actions.over(max(round(self.rate / fps), 1)).difference(actions) is None


def _restore_pusht(env: Env, state: np.ndarray) -> None:
    simulator: Any = env.unwrapped
    env.reset(options={"reset_to_state": [*state[:2], *state[4:7]]})  # anew: a used one remembers contacts
    simulator.agent.position, simulator.agent.velocity = state[:2].tolist(), state[2:4].tolist()
    simulator.block.angle = float(state[6])  # first: it turns about its middle, which moves its position
    simulator.block.position = state[4:6].tolist()
    simulator.block.velocity, simulator.block.angular_velocity = (0.0, 0.0), 0.0
    simulator.space.reindex_shapes_for_body(simulator.block)
    simulator.space.reindex_shapes_for_body(simulator.agent)


def _draw_pusht(env: Env) -> np.ndarray:
    simulator: Any = env.unwrapped
    return np.asarray(simulator._render(), np.uint8)  # an observation, whatever it is asked to observe


def _pusht_done(state: np.ndarray) -> np.ndarray:
    done = state.copy()
    done[4:7] = state[7:10]
    return done


def _restore_point_maze(env: Env, state: np.ndarray) -> None:
    simulator: Any = env.unwrapped
    simulator.goal = state[4:6].copy()
    simulator.update_target_site_pos()
    simulator.point_env.set_state(state[:2].copy(), state[2:4].copy())  # last: it computes where things are drawn


def _draw_point_maze(env: Env) -> np.ndarray:
    return np.array(env.render(), np.uint8)


def _point_maze_done(state: np.ndarray) -> np.ndarray:
    return np.concatenate([state[4:6], np.zeros(2), state[4:6]])


def _distance(outcome: Outcome) -> float:
    assert outcome.moment is not None
    assert outcome.moment.state is not None
    x, y, _, _, goal_x, goal_y = outcome.moment.state
    return float(np.hypot(goal_x - x, goal_y - y))


PUSHT_SUCCESS = 0.95  # share of its place that the block must cover; the reward is coverage over it
ENVIRONMENT_TASKS = {
    "pusht": EnvironmentGoal(
        environment="pusht",
        about="the block covers more than 95 % of its place",
        measure="best coverage of the place",
        higher=True,
        limit=50,
        actions=PUSHT_ACTIONS,
        rate=10,
        restore=_restore_pusht,
        draw=_draw_pusht,
        goal=_pusht_done,
        score=lambda outcome: PUSHT_SUCCESS * outcome.reward,
        success=lambda outcome: outcome.reward >= 1,
        reach=PUSHT_REACH,
    ),
    "point_maze": EnvironmentGoal(
        environment="point_maze",
        about="the ball comes within 0.45 m of the goal",
        measure="least distance from the goal, m",
        higher=False,
        limit=100,
        actions=POINT_MAZE_ACTIONS,
        rate=50,
        restore=_restore_point_maze,
        draw=_draw_point_maze,
        goal=_point_maze_done,
        score=_distance,
        success=lambda outcome: outcome.reward > 0,
        reach=POINT_MAZE_REACH,
    ),
}
ENVIRONMENT_TASKS["pusht_relative"] = replace(
    ENVIRONMENT_TASKS["pusht"], environment="pusht_relative", actions=PUSHT_RELATIVE_ACTIONS
)
