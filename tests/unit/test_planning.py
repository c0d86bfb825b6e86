"""Planners find optima that are known in closed form, on every kind of control, and repeat themselves by seed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.evaluation.planning.cem import CEMConfig
from hallucade.evaluation.planning.coloured_noise import coloured_noise
from hallucade.evaluation.planning.icem import ICEMConfig
from hallucade.evaluation.planning.mppi import MPPIConfig, path_weights
from hallucade.evaluation.planning.planner import Plan, PlannerConfig
from hallucade.evaluation.planning.proposal import Proposal
from hallucade.evaluation.planning.success import Share

SPACE = ActionSpace(
    buttons=(Button(name="fire"), Button(name="jump")),
    choices=(Choice(name="move", options=("stay", "left", "right")),),
    axes=(Axis(name="throttle", low=0, high=10), Axis(name="yaw", low=-3, high=3, kind="delta")),
)
FORCE = ActionSpace(axes=(Axis(name="force", low=-1, high=1),))
SIZE: dict[str, Any] = {"horizon": 6, "hold": 2, "candidates": 150, "iterations": 8}
PLANNERS: dict[str, PlannerConfig] = {
    "cem": CEMConfig(**SIZE, elites=15),
    "icem": ICEMConfig(**SIZE, elites=15),
    "icem, white": ICEMConfig(**SIZE, elites=15, colour=0),
    "mppi": MPPIConfig(**SIZE, temperature=0.1),
}
WANTED = np.array([[1, 0, 2, 9, -2], [0, 0, 1, 4, 0], [1, 1, 0, 1, 2.5]], np.float32).repeat(2, 0)  # 3 holds of 2


def distance(rows: np.ndarray) -> np.ndarray:
    """Cost of not holding WANTED, all controls alike."""
    same = (rows[..., :3] != WANTED[:, :3]).sum((1, 2))
    return same + (np.abs(rows[..., 3:] - WANTED[:, 3:]) / [10, 6]).sum((1, 2))


def arrive(rows: np.ndarray) -> np.ndarray:
    """Squared way that a mass at 0, moved by `force` a frame, is from 3 at the end: the optimum is a sum of 3."""
    return np.square(rows[..., 0].sum(1) - 3)


def plan(config: PlannerConfig, score: Any, space: ActionSpace, seed: int = 0, **warm: Any) -> Plan:
    return config.build().plan(score, space, np.random.default_rng(seed), **warm)


@pytest.mark.parametrize("name", PLANNERS)
def test_buttons_choices_and_axes_are_found_together(name: str) -> None:
    found = plan(PLANNERS[name], distance, SPACE)
    assert found.rows.shape == WANTED.shape
    SPACE.validate(found.rows)
    np.testing.assert_array_equal(found.rows[:, :3], WANTED[:, :3])
    assert np.abs((found.rows - WANTED)[:, 3:] / [10, 6]).max() < 0.2
    assert distance(found.rows[None])[0] < 0.2 * distance(np.tile(SPACE.idle, (1, 6, 1)))[0]


@pytest.mark.parametrize("name", PLANNERS)
def test_a_linear_world_is_steered_to_its_goal(name: str) -> None:
    assert arrive(plan(PLANNERS[name], arrive, FORCE).rows[None])[0] < 0.02


@pytest.mark.parametrize("name", PLANNERS)
def test_an_optimum_at_the_limit_is_reached_and_never_passed(name: str) -> None:
    rows = plan(PLANNERS[name], lambda rows: -rows[..., 0].sum(1), FORCE).rows
    assert rows.max() <= 1
    assert rows.mean() > 0.7


@pytest.mark.parametrize("name", PLANNERS)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (plan(PLANNERS[name], distance, SPACE, seed).rows for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", PLANNERS)
def test_a_warm_start_is_the_last_plan_moved_on(name: str) -> None:
    """One iteration of few candidates cannot find the plan; with the last one it need not."""
    first = plan(PLANNERS[name], distance, SPACE)
    few = replace(PLANNERS[name], candidates=20, iterations=1, **({} if name == "mppi" else {"elites": 4}))

    def later(rows: np.ndarray) -> np.ndarray:
        return distance(np.concatenate([WANTED[None, :2].repeat(len(rows), 0), rows[:, :4]], 1))

    cold = np.mean([later(plan(few, later, SPACE, seed).rows[None])[0] for seed in range(8)])
    warm = [later(plan(few, later, SPACE, seed, previous=first, passed=2).rows[None])[0] for seed in range(8)]
    assert np.mean(warm) < 0.5 * cold


@pytest.mark.parametrize("name", PLANNERS)
def test_futures_without_a_number_are_not_chosen(name: str) -> None:
    def partly(rows: np.ndarray) -> np.ndarray:
        return np.where(rows[:, 0, 0] > 0, np.nan, arrive(rows))

    rows = plan(PLANNERS[name], partly, FORCE).rows
    assert rows[0, 0] <= 0
    assert arrive(rows[None])[0] < 0.3
    assert np.isfinite(plan(PLANNERS[name], lambda rows: np.full(len(rows), np.nan), FORCE).rows).all()


def test_icem_never_does_worse_than_what_it_saw() -> None:
    seen = list[float]()

    def watched(rows: np.ndarray) -> np.ndarray:
        seen.extend(distance(rows))
        return distance(rows)

    found = plan(PLANNERS["icem"], watched, SPACE)
    assert found.cost == pytest.approx(min(seen))
    assert distance(found.rows[None])[0] == pytest.approx(min(seen))


def test_icem_tries_fewer_and_fewer() -> None:
    counts = list[int]()

    def counted(rows: np.ndarray) -> np.ndarray:
        counts.append(len(rows))
        return distance(rows)

    plan(ICEMConfig(**{**SIZE, "iterations": 4}, elites=10, reuse=0.3), counted, SPACE)
    assert counts == [150, 120 + 3, 96 + 3, 76 + 3 + 1]  # then elites that are tried again, and the mode at last


def test_drawn_rows_are_legal_and_as_likely_as_said(rng: np.random.Generator) -> None:
    proposal = Proposal(
        SPACE,
        np.array([[0.9, 0.2]]),
        (np.array([[0.1, 0.7, 0.2]]),),
        np.array([[2.0, 0.0]]),
        np.array([[1.0, 9.0]]),
    )
    rows = proposal.draw(rng.standard_normal((20_000, 1, 5)))[:, 0]
    SPACE.validate(rows)
    np.testing.assert_allclose(rows[:, :2].mean(0), [0.9, 0.2], atol=0.01)
    np.testing.assert_allclose(np.bincount(rows[:, 2].astype(int)) / 20_000, [0.1, 0.7, 0.2], atol=0.01)
    assert rows[:, 3].mean() == pytest.approx(2 + 0.0553, abs=0.03)  # a normal cut off 2 deviations below its mean
    assert rows[:, 4].std() == pytest.approx(3 / np.sqrt(3), abs=0.03)  # much wider than its range: uniform


def test_fitting_returns_weighted_moments() -> None:
    rows = np.array([[[1, 0, 2, 4, 1]], [[0, 0, 1, 8, -1]], [[1, 0, 0, 0, 3]]], np.float32)
    fitted = Proposal.prior(SPACE, 1, 0.5).fitted(rows, np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(fitted.pressed, [[0.5, 0]])
    np.testing.assert_allclose(fitted.options[0], [[0, 0.5, 0.5]])
    np.testing.assert_allclose(fitted.mean, [[6, 0]])
    np.testing.assert_allclose(fitted.spread, [[2, 1]])


@pytest.mark.parametrize(("exponent", "steps"), [(0.0, 7), (2.0, 7), (2.0, 8), (4.0, 1)])
def test_noise_is_standard_normal_whatever_its_colour(exponent: float, steps: int, rng: np.random.Generator) -> None:
    noise = coloured_noise(rng, 6000, steps, 2, exponent)
    assert noise.shape == (6000, steps, 2)
    np.testing.assert_allclose(noise.std((0, 2)), 1, atol=0.05)
    np.testing.assert_allclose(noise.mean((0, 2)), 0, atol=0.05)
    if steps > 1:
        neighbours = (noise[:, 1:] * noise[:, :-1]).mean()
        assert abs(neighbours) < 0.05 if exponent == 0 else neighbours > 0.45


def test_path_weights_are_a_softmax_of_scaled_costs() -> None:
    costs = np.array([1.0, 3.0, np.inf])
    share = 1 / (1 + np.exp(-2 / (0.5 * 1.0)))  # deviation of 1 and 3 is 1
    np.testing.assert_allclose(path_weights(costs, 0.5), [share, 1 - share, 0])
    np.testing.assert_allclose(path_weights(10 * costs, 0.5), path_weights(costs, 0.5))


def test_wilson_intervals() -> None:
    assert Share(5, 10).interval() == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Share(0, 10).interval() == pytest.approx((0, 0.2775), abs=1e-4)
    assert Share(50, 50).interval()[1] == 1


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (CEMConfig, {"horizon": 0}, "horizon is 0"),
        (CEMConfig, {"horizon": 7, "hold": 2}, "multiple of hold"),
        (CEMConfig, {"candidates": 4, "elites": 5}, "elites is 5 of 4"),
        (CEMConfig, {"momentum": 1.0}, r"momentum is 1.0; choose a share in \[0, 1\)"),
        (ICEMConfig, {"colour": -1.0}, "colour is -1.0"),
        (ICEMConfig, {"decay": 0.5}, "decay is 0.5"),
        (ICEMConfig, {"reuse": 1.5}, "reuse is 1.5"),
        (MPPIConfig, {"temperature": 0.0}, "temperature is 0.0"),
        (MPPIConfig, {"spread": float("nan")}, "spread is nan"),
        (MPPIConfig, {"explore": 0.0}, "explore is 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(kind: type[PlannerConfig], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**fields)
