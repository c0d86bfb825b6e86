"""Which task fits a run."""

from collections.abc import Callable

from hallucade.evaluation.planning.environment_goals import ENVIRONMENT_TASKS
from hallucade.evaluation.planning.environment_task import EnvironmentTask
from hallucade.evaluation.planning.maze_task import MazeTask
from hallucade.evaluation.planning.pong_task import PongTask
from hallucade.evaluation.planning.reach_task import ReachTask
from hallucade.evaluation.planning.task import Task
from hallucade.rollout import World


def known_tasks() -> tuple[str, ...]:
    """Name every task."""
    return (*_GAMES, *ENVIRONMENT_TASKS, ReachTask.name)


def find_task(world: World, episodes: int, seed: int, name: str | None = None) -> Task:
    """Build the task of this name, or the one that fits the run's game or, without a game, its actions.

    Raises:
        ValueError: there is none, or it does not fit the run, or its environment is not installed.
    """
    if name is None:
        name = world.game or _by_actions(world)
    if name in _GAMES:
        return _GAMES[name](world, episodes, seed)
    if name in ENVIRONMENT_TASKS:
        return EnvironmentTask(ENVIRONMENT_TASKS[name], world, seed)
    if name == ReachTask.name and (environment := _by_actions(world)) is not None:
        goal = ENVIRONMENT_TASKS[environment]
        return ReachTask(goal, goal.reach, world, seed)
    if name == ReachTask.name:
        raise ValueError(f"this run has the actions of no environment with a goal: {', '.join(ENVIRONMENT_TASKS)}")
    what = "this run has no game with a known task" if name is None else f"there is no task {name!r}"
    raise ValueError(f"{what}; known tasks: {', '.join(known_tasks())}")


def _by_actions(world: World) -> str | None:
    fitting = (n for n, goal in ENVIRONMENT_TASKS.items() if goal.fits(world.actions, world.fps))
    return next(fitting, None)


_GAMES: dict[str, Callable[[World, int, int], Task]] = {
    "pong": PongTask,
    "maze": MazeTask,
    "small_maze": MazeTask,
}
