"""Model-predictive control: plan, carry out the beginning, look, and plan again from what was really seen."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from hallucade.config import Config
from hallucade.evaluation.planning.futures import Cost, Imagination, score_in_batches
from hallucade.evaluation.planning.icem import ICEMConfig
from hallucade.evaluation.planning.planner import Plan, PlannerConfig, at_least
from hallucade.evaluation.planning.task import Policy, Task
from hallucade.rollout import Prompt, World
from hallucade.shapes import FrameArray

Imagine = Callable[[Prompt, int], Imagination]  # a model of what follows the play so far, and its seed


@dataclass(frozen=True, kw_only=True)
class ControlConfig(Config):
    """How often is planned, by what.

    Raises:
        ValueError: a number out of range, or a plan that ends before the next decision.
    """

    planner: PlannerConfig = field(default_factory=ICEMConfig)
    replan: int = 4  # frames carried out before the next decision
    warm_start: bool = True  # begin where the last plan left off
    batch: int = 64  # candidates dreamed at a time; bounds memory

    def __post_init__(self) -> None:
        at_least(self, "replan", 1)
        at_least(self, "batch", 1)
        if self.replan > self.planner.horizon or self.replan % self.planner.hold:
            raise ValueError(
                f"replan is {self.replan} frames; choose a multiple of hold {self.planner.hold}, "
                f"up to horizon {self.planner.horizon}"
            )

    def check(self, world: World) -> None:
        """Refuse plans that are not made of the world's steps.

        Raises:
            ValueError: names the numbers.
        """
        m = world.frames_per_step
        if self.planner.horizon % m or self.replan % m:
            raise ValueError(
                f"this world dreams {m} frames at a time; make horizon {self.planner.horizon} and "
                f"replan {self.replan} multiples of {m}"
            )


@runtime_checkable
class Actor(Protocol):
    """Plays one episode: rows to hold from now on, one a frame."""

    def __call__(self, played: Prompt) -> Float32[np.ndarray, "k c"]: ...


class Controller:
    """Plays one episode by planning.

    Args:
        config: how.
        world: says what can be held, and how many frames a memory needs.
        imagine: the dream, or the true game, as a model.
        cost: what is minimised.
        seed: of the episode; decision i draws from (`seed`, i) only.
    """

    def __init__(self, config: ControlConfig, world: World, imagine: Imagine, cost: Cost, seed: int) -> None:
        config.check(world)
        self.config, self._world, self._imagine, self._cost, self._seed = config, world, imagine, cost, seed
        self._planner = config.planner.build()
        self._decisions = 0
        self._previous: Plan | None = None

    def __call__(self, played: Prompt) -> Float32[np.ndarray, "k c"]:
        config, space = self.config, self._world.actions
        seed = np.random.SeedSequence([self._seed, self._decisions])
        noise, draws = seed.generate_state(2)
        score = score_in_batches(self._imagine(played, int(noise)), self._cost, config.batch)
        plan = self._planner.plan(score, space, np.random.default_rng(draws), self._previous, config.replan)
        self._previous = plan if config.warm_start else None
        self._decisions += 1
        return plan.rows[: config.replan]


class BotActor:
    """Plays one episode by a bot that is told the state."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self, played: Prompt) -> Float32[np.ndarray, "k c"]:
        state = np.zeros((1, 1)) if played.state is None else played.state[None]
        return self._policy(state)


@dataclass(frozen=True)
class Attempt:
    """How one episode went."""

    success: bool
    score: float  # the best of the task's own measure
    frames: FrameArray  # of the true game, the last frame of the prompt first
    rows: Float32[np.ndarray, "n c"]
    seconds: tuple[float, ...]  # that each decision took


def attempt(task: Task, actor: Actor, start: Prompt, memory: int, frames: int | None = None) -> Attempt:
    """Let an actor play the episode that `task` has begun, until it succeeds, ends, or time is up.

    Args:
        task: where `start` was begun.
        actor: decides.
        start: real play up to now.
        memory: frames that the actor is shown, at most.
        frames: of the episode, at most; None is the task's own number.
    """
    limit = frames or task.limit
    played, shown, rows, seconds = start, [start.frames[-1]], list[np.ndarray](), list[float]()
    better = max if task.higher else min
    success, over, score = False, False, -np.inf if task.higher else np.inf
    while not over and len(rows) < limit:
        began = time.perf_counter()
        held = actor(played)
        seconds.append(time.perf_counter() - began)
        for row in held[: limit - len(rows)]:
            turn = task.act(row)
            rows.append(row)
            shown.append(turn.frame)
            played = _longer(played, row, turn.frame, turn.state, memory)
            success, score = success or turn.success, float(better(score, turn.score))
            over = turn.over or success
            if over:
                break
    return Attempt(success, score, np.stack(shown), np.stack(rows), tuple(seconds))


def _longer(played: Prompt, row: np.ndarray, frame: np.ndarray, state: np.ndarray | None, memory: int) -> Prompt:
    """Return the play one frame later, and no longer than `memory` frames."""
    first = max(len(played.frames) + 1 - memory, 0)
    frames = np.concatenate([played.frames[first:], frame[None]])
    return Prompt(frames, np.concatenate([played.actions[first:], row[None]]), state)
