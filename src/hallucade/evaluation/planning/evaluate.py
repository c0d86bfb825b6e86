"""Who succeeds how often: the planner on the dream beside the same planner on the true game, and beside bots.

The share of the first over the second separates the model from the planner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hallucade.config import Config
from hallucade.evaluation.comparison_video import comparison_video
from hallucade.evaluation.planning.control import Actor, Attempt, BotActor, ControlConfig, Controller, attempt
from hallucade.evaluation.planning.costs import LearnedReward
from hallucade.evaluation.planning.dreamed_futures import DreamedFutures
from hallucade.evaluation.planning.futures import Cost, Imagination
from hallucade.evaluation.planning.planner import at_least
from hallucade.evaluation.planning.state_probe import REWARD, StateProbe
from hallucade.evaluation.planning.success import Share
from hallucade.evaluation.planning.task import PicturedTask, StateTask, Task
from hallucade.evaluation.result import Progress, silent
from hallucade.rollout import Prompt, World

DREAM, SIMULATOR = "planner on the dream", "planner on the true game"
TRUE_STATE = "planner on the true game and state"  # with a cost that no picture and no probe blurs


@dataclass(frozen=True, kw_only=True)
class PlanningConfig(Config):
    """How many episodes, and how each is planned.

    Raises:
        ValueError: a number out of range.
    """

    episodes: int = 50  # that every actor plays
    seed: int = 0  # of episodes, candidates and noise
    control: ControlConfig = field(default_factory=ControlConfig)
    shown: int = 4  # episodes in the video
    frames: int | None = None  # of an episode at most; None is the task's own number
    budgets: tuple[int, ...] = ()  # frames within which successes are counted too

    def __post_init__(self) -> None:
        if self.frames is not None:
            at_least(self, "frames", 1)
        if any(budget < 1 for budget in self.budgets):
            raise ValueError(f"budgets are {self.budgets} frames; use 1 or more")
        at_least(self, "episodes", 1)
        at_least(self, "shown", 1)
        at_least(self, "seed", 0)


@dataclass(frozen=True)
class Success:
    """What one actor did in all episodes."""

    attempts: tuple[Attempt, ...]

    @property
    def share(self) -> Share:
        """Successes of episodes."""
        return Share(sum(a.success for a in self.attempts), len(self.attempts))

    def within(self, frames: int) -> Share:
        """Successes after so many frames at most."""
        return Share(sum(a.success and len(a.rows) <= frames for a in self.attempts), len(self.attempts))

    def summary(self, budgets: tuple[int, ...] = ()) -> dict[str, Any]:
        """Return plain numbers for JSON."""
        seconds = [s for a in self.attempts for s in a.seconds]
        low, high = self.share.interval()
        return {
            "within": {str(budget): _told(self.within(budget)) for budget in budgets},
            "success": self.share.value,
            "interval_95": [low, high],
            "successes": self.share.hits,
            "episodes": self.share.of,
            "score": float(np.mean([a.score for a in self.attempts])),
            "scores": [a.score for a in self.attempts],
            "frames": sum(len(a.rows) for a in self.attempts),
            "decisions": len(seconds),
            "seconds_a_decision": float(np.mean(seconds)),
        }


@dataclass(frozen=True)
class PlanningResult:
    """Every actor's success in the same episodes."""

    task: Task
    config: PlanningConfig
    actors: Mapping[str, Success]
    world: World
    goals: tuple[np.ndarray, ...] = ()  # pictures `h w 3` of the episodes that are shown, where there are any

    @property
    def efficiency(self) -> float | None:
        """Success on the dream over success on the true game; None if the planner never succeeds there."""
        perfect = self.actors[SIMULATOR].share.value
        return self.actors[DREAM].share.value / perfect if perfect else None

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, and what they were measured with."""
        return {
            "task": self.task.name,
            "success_means": self.task.about,
            "score_is": self.task.measure,
            "frames_an_episode_at_most": self.config.frames or self.task.limit,
            "actors": {name: success.summary(self.config.budgets) for name, success in self.actors.items()},
            "efficiency": self.efficiency,
            "config": self.config.to_json(),
        }

    def video(self) -> UInt8[np.ndarray, "t sh sw 3"]:
        """Return the first episodes side by side, goals above, an actor a row; the last row's keys stand under it."""
        shown = {name: success.attempts[: self.config.shown] for name, success in self.actors.items()}
        frames = max(len(a.frames) for attempts in shown.values() for a in attempts)
        rows = {"goal": np.stack([_until(goal[None], frames) for goal in self.goals])} if self.goals else {}
        rows |= {name: np.stack([_until(a.frames, frames) for a in attempts]) for name, attempts in shown.items()}
        *_, last = shown.values()
        idle = self.world.actions.idle[None]
        held = np.stack([_until(np.concatenate([a.rows, idle]), frames) for a in last])
        return comparison_video(rows, self.world.actions, held)


def evaluate_planning(
    world: World,
    task: Task,
    config: PlanningConfig | None = None,
    progress: Progress = silent,
    probe: StateProbe | None = None,
) -> PlanningResult:
    """Let bots and planners play the same episodes of a task in the true game.

    Args:
        world: what is planned in.
        task: what is wanted.
        config: how many episodes, and how each is planned.
        progress: told how far it is.
        probe: reads a state off pictures, and the cost is that state's; or a reward, which then is what is wanted.

    Raises:
        ValueError: plans that are not made of the world's steps, budgets beyond the end of an episode, or a probe that
            does not fit task or pictures.
    """
    config = config or PlanningConfig()
    config.control.check(world)
    limit = config.frames or task.limit
    if any(budget > limit for budget in config.budgets):
        raise ValueError(f"budgets are {config.budgets} frames and episodes end after {limit}; raise --frames")
    if probe is not None:
        probe.check(world.frame_size)
    known = isinstance(task, StateTask) and probe is not None and probe.config.columns != (REWARD,)
    names = (*task.policies, *((TRUE_STATE,) if known else ()), SIMULATOR, DREAM)
    actors = dict[str, Success]()
    for index, name in enumerate(names):
        attempts = list[Attempt]()
        for episode in range(config.episodes):
            progress(name, (index + episode / config.episodes) / len(names))
            attempts.append(_played(world, task, name, episode, config, probe))
        actors[name] = Success(tuple(attempts))
    return PlanningResult(task, config, actors, world, _goals(task, config))


def _played(
    world: World, task: Task, name: str, episode: int, config: PlanningConfig, probe: StateProbe | None
) -> Attempt:
    start = task.begin(episode)
    memory = max(world.model.context * world.tokenizer.stride, world.frames_per_step)
    return attempt(task, _actor(world, task, name, episode, config, probe), start, memory, config.frames)


def _actor(
    world: World, task: Task, name: str, episode: int, config: PlanningConfig, probe: StateProbe | None
) -> Actor:
    if name in task.policies:
        return BotActor(task.policy(name, episode))

    def imagine(played: Prompt, noise: int) -> Imagination:
        return DreamedFutures(world, played, noise) if name == DREAM else task.simulator(world)

    seed = config.seed * 1_000_003 + episode
    return Controller(config.control, world, imagine, _cost(world, task, name, probe), seed)


def _cost(world: World, task: Task, name: str, probe: StateProbe | None) -> Cost:
    if probe is None:
        return task.cost(world)
    if probe.config.columns == (REWARD,):
        return LearnedReward(lambda frames, rows: probe.read(frames)[..., 0])
    if not isinstance(task, StateTask):
        raise ValueError(f"task {task.name} has no goal state that a probe could read; leave the probe out")
    return task.true_cost() if name == TRUE_STATE else task.state_cost(probe.states, probe.config.columns)


def _goals(task: Task, config: PlanningConfig) -> tuple[np.ndarray, ...]:
    """Return the pictures of the goals that are shown."""
    goals = list[np.ndarray]()
    for episode in range(min(config.shown, config.episodes)):
        task.begin(episode)
        if isinstance(task, PicturedTask):
            goals.append(task.wanted)
    return tuple(goals)


def _told(share: Share) -> dict[str, Any]:
    low, high = share.interval()
    return {"success": share.value, "interval_95": [low, high], "successes": share.hits}


def _until(values: np.ndarray, length: int) -> np.ndarray:
    """Return values `t ...` of another length: cut, or with the last one repeated."""
    return np.concatenate([values, np.repeat(values[-1:], max(length - len(values), 0), 0)])[:length]
