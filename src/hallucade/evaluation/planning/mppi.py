"""Model-predictive path integral control: all candidates count, the better the more.

Source: Williams et al. 2017, "Information theoretic MPC for model-based reinforcement learning", algorithm 2.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from hallucade.actions import ActionSpace
from hallucade.evaluation.planning.planner import Plan, PlannerConfig, Score, no_elites, scored


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(PlannerConfig):
    """How sharply the better candidates are preferred.

    The paper's temperature has the unit of the cost; here it is a share of the standard deviation of the candidates'
    costs, so that one number suits every task.

    Raises:
        ValueError: a number out of range.
    """

    temperature: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}; use a positive share of the costs' deviation")

    def build(self) -> "MPPI":
        return MPPI(self)


class MPPI:
    """Carries out the weighted average: for buttons and choices, what most of the weight is on.

    The spread of axes never shrinks, as in the paper; probabilities follow the weights.
    """

    def __init__(self, config: MPPIConfig) -> None:
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
            fitted = proposal.fitted(rows, path_weights(costs, config.temperature)).open_to(prior, config.explore)
            proposal = replace(fitted, spread=proposal.spread)
            least = min(least, float(costs.min()))
        return Plan(config.held(proposal.mode), least, proposal, no_elites(rows))


def path_weights(costs: Float64[np.ndarray, "n"], temperature: float) -> Float64[np.ndarray, "n"]:
    """Return weights as exp(-cost / temperature) that sum to 1; infinite costs have none, unless all are infinite."""
    finite = np.isfinite(costs)
    if not finite.any():
        return np.full(len(costs), 1 / len(costs))
    known = costs[finite]
    scale = temperature * max(float(known.std()), 1e-12)
    weights = np.zeros(len(costs))
    weights[finite] = np.exp(-(known - known.min()) / scale)
    return weights / weights.sum()
