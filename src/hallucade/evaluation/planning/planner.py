"""What a planner is: from the costs of candidate plans to the plan that is carried out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.evaluation.planning.proposal import Proposal

# Costs `n` of n plans, given as one raw action row a frame, `n f c`; lower is better, NaN counts as infinite.
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Plan:
    """What was chosen, and what the next decision starts from."""

    rows: Float32[np.ndarray, "f c"]  # one raw action row a frame
    cost: float  # the lowest that any candidate had
    proposal: Proposal
    elites: Float32[np.ndarray, "k h c"]  # best first; none for planners that keep none


@runtime_checkable
class Planner(Protocol):
    """Searches for the plan of least cost; holds nothing between decisions but what `Plan` says."""

    @property
    def config(self) -> "PlannerConfig":
        """What it was built from."""
        ...

    def plan(
        self, score: Score, space: ActionSpace, rng: np.random.Generator, previous: Plan | None = None, passed: int = 0
    ) -> Plan:
        """Return a plan of `config.horizon` frames.

        Args:
            score: says what plans cost.
            space: of the actions.
            rng: the only source of chance.
            previous: the last decision's plan, for a warm start.
            passed: frames carried out since then, a multiple of `config.hold`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PlannerConfig(Config):
    """What all planners have in common.

    Raises:
        ValueError: a number out of range, or a horizon that is not made of whole holds.
    """

    horizon: int = 12  # frames that a plan reaches ahead
    hold: int = 2  # frames for which one planned row is held
    candidates: int = 32  # plans tried in an iteration
    iterations: int = 2  # times the distribution is improved
    spread: float = 0.5  # of an axis at the start, as a share of half its range
    explore: float = 0.05  # share of the first probabilities and spread that always stays

    def __post_init__(self) -> None:
        for name in ("horizon", "hold", "candidates", "iterations"):
            at_least(self, name, 1)
        if self.horizon % self.hold:
            raise ValueError(f"horizon is {self.horizon} frames and hold is {self.hold}; choose a multiple of hold")
        if not 0 < self.spread < np.inf:
            raise ValueError(f"spread is {self.spread}; choose a positive share of half an axis's range")
        if not 0 < self.explore < 1:
            raise ValueError(f"explore is {self.explore}; choose a share in (0, 1)")

    @property
    def steps(self) -> int:
        """Rows that are planned, h: one a hold."""
        return self.horizon // self.hold

    def build(self) -> Planner:
        """Build the planner."""
        raise NotImplementedError

    def start(self, space: ActionSpace, previous: Plan | None, passed: int) -> tuple[Proposal, Proposal]:
        """Return the prior, and what a decision starts from: the prior, or the last plan moved on."""
        prior = Proposal.prior(space, self.steps, self.spread)
        if previous is None:
            return prior, prior
        return prior, previous.proposal.shifted(min(passed // self.hold, self.steps), prior)

    def held(self, rows: Float32[np.ndarray, "*n h c"]) -> Float32[np.ndarray, "*n f c"]:
        """Return one row a frame for one row a hold."""
        return rows.repeat(self.hold, axis=-2)


def scored(config: PlannerConfig, score: Score, rows: Float32[np.ndarray, "n h c"]) -> Float64[np.ndarray, "n"]:
    """Return the costs of plans; what is not a number costs infinitely much."""
    costs = np.asarray(score(config.held(rows)), np.float64)
    assert costs.shape == (len(rows),), f"{len(rows)} candidates were given costs of shape {costs.shape}"
    return np.where(np.isnan(costs), np.inf, costs)


def best(costs: Float64[np.ndarray, "n"], count: int) -> Int64[np.ndarray, "k"]:
    """Return the indices of the `count` lowest costs, best first."""
    return np.argsort(costs, kind="stable")[:count]


def even(count: int) -> Float64[np.ndarray, "n"]:
    """Return equal weights that sum to 1."""
    return np.full(count, 1 / count)


def no_elites(rows: Float32[np.ndarray, "n h c"]) -> Float32[np.ndarray, "0 h c"]:
    """Return the elites of a planner that keeps none."""
    return rows[:0]


def at_least(config: Config, name: str, least: float) -> None:
    """Refuse a number of a config below its least.

    Raises:
        ValueError: names the field and the value.
    """
    value = getattr(config, name)
    if not value >= least:
        raise ValueError(f"{name} is {value}; use {least} or more")
