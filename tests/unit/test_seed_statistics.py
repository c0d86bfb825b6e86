"""Intervals and tests of an ablation against scipy and closed forms."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from hallucade.evaluation.seed_statistics import difference, holm, least_sign_flip, mean_of


def test_a_mean_has_students_interval(rng: np.random.Generator) -> None:
    values = rng.normal(2, 3, 7).tolist()
    low, high = stats.t.interval(0.95, 6, np.mean(values), stats.sem(values))
    mean = mean_of(values)
    assert (mean.value - mean.half, mean.value + mean.half) == pytest.approx((low, high))
    three = mean_of([1.0, 2.0, 3.0])
    assert three.half == pytest.approx(4.302653 / sqrt(3))  # the t table's 97.5 % at two degrees of freedom
    assert mean_of([5.0]).half is None
    with pytest.raises(ValueError, match="no values"):
        mean_of([])


def test_shared_seeds_are_paired(rng: np.random.Generator) -> None:
    arm, other = ({seed: float(rng.normal(level, 1)) for seed in range(5)} for level in (0.0, 1.0))
    found = difference(arm, {**other, 9: 100.0})  # a seed of one side alone plays no part
    wanted = stats.ttest_rel(list(arm.values()), list(other.values()))
    low, high = wanted.confidence_interval(0.95)
    assert found is not None
    assert found.paired
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


def test_other_seeds_are_compared_by_welchs_test(rng: np.random.Generator) -> None:
    arm = {seed: float(rng.normal(0, 1)) for seed in range(4)}
    other = {seed: float(rng.normal(1, 3)) for seed in range(10, 17)}
    found = difference(arm, other)
    wanted = stats.ttest_ind(list(arm.values()), list(other.values()), equal_var=False)
    low, high = wanted.confidence_interval(0.95)
    assert found is not None
    assert not found.paired
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


def test_pairing_takes_out_what_seeds_share() -> None:
    luck = {0: 0.0, 1: 10.0, 2: 20.0}
    arm = {seed: value + noise for (seed, value), noise in zip(luck.items(), (1.0, 1.1, 0.9), strict=True)}
    paired, apart = difference(arm, luck), difference(arm, {seed + 10: value for seed, value in luck.items()})
    assert paired is not None
    assert apart is not None
    assert paired.p < 0.01 < 0.9 < apart.p


def test_nothing_is_claimed_without_spread_or_with_one_seed() -> None:
    assert difference({0: 1.0}, {0: 2.0}) is None
    assert difference({0: 1.0, 1: 2.0}, {}) is None
    assert difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 3.0, 2: 4.0}) is None  # a spread of 0 would give p = 0
    same = difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert same is not None
    assert (same.value, same.p) == (0.0, 1.0)


def test_holm_of_a_worked_example() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, each at least the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_error_of_a_family(rng: np.random.Generator) -> None:
    wrong = sum(
        min(holm([found.p for found in _nulls(rng) if found is not None])) < 0.05 for _ in range(200)
    )  # where no arm differs, one family in twenty at most claims so
    assert wrong / 200 < 0.09


def test_three_sign_flips_show_nothing() -> None:
    assert least_sign_flip(3) == 0.25
    values = [1.0, 2.0, 3.0]  # all of one sign: the smallest p-value that there is
    wanted = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert least_sign_flip(3) == pytest.approx(wanted.pvalue)


def _nulls(rng: np.random.Generator) -> list[object]:
    baseline = dict(enumerate(rng.normal(size=3)))
    return [difference(dict(enumerate(rng.normal(size=3))), baseline) for _ in range(5)]
