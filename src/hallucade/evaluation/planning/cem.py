"""The cross-entropy method: fit the distribution of plans to the best of those drawn from it, again and again.

Source: Rubinstein 1999; as a planner over a learned model Chua et al. 2018, arXiv:1805.12114, section 5.
"""

from dataclasses import dataclass

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.evaluation.planning.planner import (
    Plan,
    Planner,
    PlannerConfig,
    Score,
    at_least,
    best,
    even,
    no_elites,
    scored,
)


@dataclass(frozen=True, kw_only=True)
class CEMConfig(PlannerConfig):
    """How many of the best are kept, and how fast the distribution follows them.

    Raises:
        ValueError: a number out of range, or more elites than candidates.
    """

    elites: int = 6  # best candidates that the distribution is fitted to
    momentum: float = 0.1  # share of the old distribution that stays

    def __post_init__(self) -> None:
        super().__post_init__()
        check_elites(self)

    def build(self) -> Planner:
        return CEM(self)


class CEM:
    """Carries out the distribution's mode after the last iteration."""

    def __init__(self, config: CEMConfig) -> None:
        self.config = config

    def plan(
        self, score: Score, space: ActionSpace, rng: np.random.Generator, previous: Plan | None = None, passed: int = 0
    ) -> Plan:
        config = self.config
        prior, proposal = config.start(space, previous, passed)
        rows, least = proposal.mode[None], np.inf
        for _ in range(config.iterations):
            rows = proposal.draw(rng.standard_normal((config.candidates, config.steps, space.size)))
            costs = scored(config, score, rows)
            elites = rows[best(costs, config.elites)]
            fitted = proposal.fitted(elites, even(len(elites)))
            proposal = fitted.mixed(proposal, config.momentum).open_to(prior, config.explore)
            least = min(least, float(costs.min()))
        return Plan(config.held(proposal.mode), least, proposal, no_elites(rows))


def check_elites(config: "CEMConfig") -> None:
    """Refuse elites and momentum that leave nothing to learn from.

    Raises:
        ValueError: names the value and the range.
    """
    at_least(config, "elites", 1)
    if config.elites > config.candidates:
        raise ValueError(f"elites is {config.elites} of {config.candidates} candidates; keep at most all of them")
    if not 0 <= config.momentum < 1:
        raise ValueError(f"momentum is {config.momentum}; choose a share in [0, 1)")
