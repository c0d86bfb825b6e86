"""The improved cross-entropy method: coloured noise, elites that live on, and ever fewer candidates.

Source: Pinneri et al. 2020, arXiv:2008.06389, algorithm 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from hallucade.actions import ActionSpace
from hallucade.evaluation.planning.cem import CEMConfig
from hallucade.evaluation.planning.coloured_noise import coloured_noise
from hallucade.evaluation.planning.planner import Plan, Planner, Score, best, even, scored
from hallucade.evaluation.planning.proposal import Proposal


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(CEMConfig):
    """What it adds to `CEMConfig`; the defaults are the paper's.

    Raises:
        ValueError: a number out of range.
    """

    colour: float = 2.0  # exponent of the noise: 0 white, 2 and more for slow actions
    decay: float = 1.25  # by which the candidates become fewer from one iteration to the next
    reuse: float = 0.3  # share of the elites that are candidates again

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.colour <= 6:
            raise ValueError(f"colour is {self.colour}; choose an exponent in [0, 6]")
        if not 1 <= self.decay < math.inf:
            raise ValueError(f"decay is {self.decay}; use 1, for the same number in every iteration, or more")
        if not 0 <= self.reuse <= 1:
            raise ValueError(f"reuse is {self.reuse}; choose a share in [0, 1]")

    def build(self) -> Planner:
        return ICEM(self)

    def count(self, iteration: int) -> int:
        """Return how many candidates are drawn in an iteration: twice the elites at the least, if that many at all."""
        least = min(2 * self.elites, self.candidates)
        return max(int(self.candidates * self.decay**-iteration), least)


class ICEM:
    """Carries out the best plan that was ever tried."""

    def __init__(self, config: ICEMConfig) -> None:
        self.config = config

    def plan(
        self, score: Score, space: ActionSpace, rng: np.random.Generator, previous: Plan | None = None, passed: int = 0
    ) -> Plan:
        config = self.config
        prior, proposal = config.start(space, previous, passed)
        kept = self._remembered(proposal, rng, previous, passed)
        chosen, least = proposal.mode, np.inf
        elites = kept
        for iteration in range(config.iterations):
            noise = coloured_noise(rng, config.count(iteration), config.steps, space.size, config.colour)
            mode = proposal.mode[None] if iteration == config.iterations - 1 else kept[:0]
            rows = np.concatenate([proposal.draw(noise), kept, mode])
            costs = scored(config, score, rows)
            order = best(costs, config.elites)
            elites = rows[order]
            if costs[order[0]] < least:
                chosen, least = elites[0], float(costs[order[0]])
            proposal = proposal.fitted(elites, even(len(elites))).mixed(proposal, config.momentum)
            proposal = proposal.open_to(prior, config.explore)
            kept = elites[: self._reused]
        return Plan(config.held(chosen), least, proposal, elites)

    @property
    def _reused(self) -> int:
        return math.ceil(self.config.reuse * self.config.elites)

    def _remembered(
        self, proposal: Proposal, rng: np.random.Generator, previous: Plan | None, passed: int
    ) -> Float32[np.ndarray, "k h c"]:
        """Return the last decision's best plans moved on to now, their open ends drawn anew."""
        if previous is None:
            return np.empty((0, *proposal.mode.shape), np.float32)
        old = previous.elites[: self._reused]
        steps = min(passed // self.config.hold, proposal.steps)
        new = proposal.draw(rng.standard_normal(old.shape))
        return np.concatenate([old[:, steps:], new[:, proposal.steps - steps :]], 1)
