import math

import pytest

from hallucade.config import Config
from hallucade.training.schedules import (
    ConstantScheduleConfig,
    CosineScheduleConfig,
    ScheduleConfig,
    WarmupStableDecayConfig,
)


def test_warm_up_rises_in_equal_parts_and_starts_above_zero() -> None:
    for config in (ConstantScheduleConfig(warmup=3), CosineScheduleConfig(warmup=3), WarmupStableDecayConfig(warmup=3)):
        share = config.build(100)
        assert [share(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_constant_holds() -> None:
    assert ConstantScheduleConfig().build(7)(10_000) == 1


def test_cosine_is_half_way_in_the_middle_and_at_its_floor_at_the_end() -> None:
    share = CosineScheduleConfig(warmup=10, floor=0.2).build(110)
    assert share(60) == pytest.approx(0.2 + 0.8 / 2)
    assert share(110) == pytest.approx(0.2)
    assert share(500) == pytest.approx(0.2)


def test_warmup_stable_decay_holds_then_falls_as_one_minus_root() -> None:
    share = WarmupStableDecayConfig(warmup=5, decay=0.25).build(100)
    assert {share(step) for step in range(5, 76)} == {1.0}
    assert share(84) == pytest.approx(1 - math.sqrt(9 / 25))
    assert share(100) == 0


def test_a_warm_up_longer_than_the_run_never_leaves_the_unit_interval() -> None:
    for config in (CosineScheduleConfig(warmup=50), WarmupStableDecayConfig(warmup=50)):
        shares = [config.build(20)(step) for step in range(21)]
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"floor": 1.5}, {"floor": -0.1}])
def test_refuses_impossible_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        CosineScheduleConfig(**settings)


def test_travels_as_json_under_its_own_name() -> None:
    config = WarmupStableDecayConfig(warmup=7, decay=0.5, floor=0.1)
    assert ScheduleConfig.from_json(config.to_json()) == config
    assert isinstance(Config.from_json(config.to_json()), WarmupStableDecayConfig)
