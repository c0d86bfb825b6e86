"""Ramps and schedules are pure functions of the step, and keep their shape in shorter trainings."""

import math

import pytest

from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp


def test_the_ramp_is_project_ochres():
    """``int(clip((step - start) / ramp, 0, 1) * max)``."""
    ramp = UnrollRamp(start=100, steps=60, most=4)
    asked = {step: ramp.at(step) for step in (0, 100, 114, 115, 130, 145, 159, 160, 10**6)}
    assert asked == {0: 0, 100: 0, 114: 0, 115: 1, 130: 2, 145: 3, 159: 3, 160: 4, 10**6: 4}
    assert ramp.full_from == 160
    assert UnrollRamp(start=100, most=0).full_from == 0


def test_the_inverse_sigmoid_falls_between_its_bounds():
    schedule = ScheduledSampling(middle=100, slope=10.0, least=0.15, most=0.9)
    assert schedule.at(100) == pytest.approx(0.5)
    assert schedule.at(110) == pytest.approx(1 / (1 + math.e))
    assert (schedule.at(0), schedule.at(10**9)) == (0.9, 0.15)
    shares = [schedule.at(step) for step in range(0, 200, 7)]
    assert shares == sorted(shares, reverse=True)


def test_a_shorter_training_has_the_same_ramps_sooner():
    config = AutoregressiveTokensConfig(
        unroll=UnrollRamp(start=1000, steps=2000, most=4), truth=ScheduledSampling(middle=3000, slope=500.0)
    )
    short = config.lasting(60, planned=6000)
    assert isinstance(short, AutoregressiveTokensConfig)
    for step in range(60):
        assert short.unroll.at(step) == config.unroll.at(100 * step)
        assert short.truth.at(step) == pytest.approx(config.truth.at(100 * step))
    assert config.lasting(1, planned=6000).unroll.steps == 1


@pytest.mark.parametrize("numbers", [{"start": -1}, {"most": -1}, {"steps": 0}])
def test_ramps_that_are_none_are_refused(numbers):
    with pytest.raises(ValueError, match="start and most are 0 or more, steps 1 or more"):
        UnrollRamp(**numbers)


def test_schedules_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"least is 0.9 and most 0.5; they are shares"):
        ScheduledSampling(least=0.9, most=0.5)
    with pytest.raises(ValueError, match="slope is 0 steps; it is positive"):
        ScheduledSampling(slope=0)
