"""R11: a dream that flashes every few frames is found out, and one that does not is not."""

import numpy as np
import pytest

from hallucade.evaluation.metrics.periodicity import flashing


def noisy(frames, seed=0):
    return 40 + np.cumsum(np.random.default_rng(seed).normal(0, 0.3, frames))


@pytest.mark.parametrize("period", [2, 5, 7, 16])
def test_r11_the_period_of_flashes_is_found(period):
    values = noisy(300)
    values[period - 1 :: period] += 6.0
    found = flashing(values)
    assert found is not None
    assert found.period == period
    assert found.share > 0.8


def test_r11_drift_and_noise_and_walks_do_not_flash():
    rng = np.random.default_rng(1)
    for values in (noisy(300), rng.normal(0, 1, 300), np.linspace(0, 90, 300) ** 2, 50 * np.sin(np.arange(300) / 40)):
        found = flashing(values)
        assert found is not None
        assert found.period is None
        assert found.share < 0.3


def test_the_share_is_that_of_the_variance():
    rng = np.random.default_rng(2)
    flash = np.tile([4.0, 0, 0, 0, 0], 400)
    noise = rng.normal(0, flash.std(), len(flash))
    found = flashing(flash + noise)
    assert found is not None
    assert found.share == pytest.approx(0.5, abs=0.05)


def test_nothing_is_said_of_what_stands_still_or_is_too_short():
    assert flashing(np.full(100, 7.0)) is None
    assert flashing(np.arange(5.0)) is None
