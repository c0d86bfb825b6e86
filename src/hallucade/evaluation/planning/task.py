"""What a task is: episodes of a true game, each with a goal, and what it costs not to be there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from hallucade.evaluation.planning.futures import Cost, Futures, Imagination
from hallucade.rollout import Prompt, World

Policy = Callable[[np.ndarray], np.ndarray]  # states `1 s` to raw rows `1 c`, as `hallucade.games.base.Bot`


@dataclass(frozen=True)
class Turn:
    """What one raw action row led to in the true game."""

    frame: UInt8[np.ndarray, "h w 3"]
    state: Float64[np.ndarray, "s"] | None
    success: bool
    over: bool
    score: float  # the task's own measure, see `Task.measure`


@runtime_checkable
class Task(Protocol):
    """One game with a goal, played one episode after the other; episode i is always the same."""

    name: str
    about: str  # one line: what counts as success
    measure: str  # what `Turn.score` is, with its unit
    higher: bool  # whether more of it is better
    limit: int  # frames of an episode at most
    policies: tuple[str, ...]  # bots to compare with

    def begin(self, episode: int) -> Prompt:
        """Start an episode: real play up to its first decision."""
        ...

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        """Hold a raw action row for one frame."""
        ...

    def cost(self, world: World) -> Cost:
        """Return what a planner minimises in this episode."""
        ...

    def simulator(self, world: World) -> Imagination:
        """Return the true game as a model, from where the episode is now."""
        ...

    def policy(self, name: str, episode: int) -> Policy:
        """Return one of `policies`, fresh."""
        ...


@runtime_checkable
class PicturedTask(Protocol):
    """A task whose goal can be shown."""

    wanted: UInt8[np.ndarray, "h w 3"]  # the goal picture of the episode that was begun last


@runtime_checkable
class StateTask(Protocol):
    """A task whose goal is a state, too: a cost can be of what is read off pictures, or of what the simulator knows."""

    def state_cost(self, read: Callable[[Futures], np.ndarray], names: tuple[str, ...]) -> Cost:
        """Return what a planner minimises in this episode, from states `n f s` with these names."""
        ...

    def true_cost(self) -> Cost:
        """Return the same of the simulator's own states."""
        ...
