"""Noise schedules against their published definitions."""

import json
import math

import pytest
import torch

from hallucade.diffusion.schedules import (
    CosineNoiseConfig,
    LinearNoiseConfig,
    NoiseScheduleConfig,
    RectifiedFlow,
    RectifiedFlowConfig,
    shift_levels,
)
from hallucade.diffusion.targets import check_target
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig

DISCRETE = [
    LinearNoiseConfig(),
    LinearNoiseConfig(zero_terminal_snr=True),
    CosineNoiseConfig(),
    CosineNoiseConfig(zero_terminal_snr=True),
]
TIMES = torch.arange(1000)
LEVELS = (TIMES.double() + 1) / 1000


def test_the_linear_schedule_is_ddpms():
    schedule = LinearNoiseConfig().build()
    kept = torch.tensor([math.prod(1 - (1e-4 + (2e-2 - 1e-4) * i / 999) for i in range(t + 1)) for t in range(1000)])
    torch.testing.assert_close(schedule.alpha(LEVELS).square().float(), kept, rtol=1e-6, atol=0)
    assert schedule.alpha(LEVELS[-1]).square().item() == pytest.approx(4.0358e-5, rel=1e-4)  # as published models print


def test_the_cosine_schedule_is_a_squared_cosine_up_to_the_cap():
    schedule = CosineNoiseConfig().build()
    cosines = torch.cos((LEVELS + 0.008) / 1.008 * math.pi / 2).square() / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alpha(LEVELS[:-1]).square(), cosines[:-1], rtol=1e-6, atol=0)
    last, before = schedule.alpha(LEVELS[-1]).square(), schedule.alpha(LEVELS[-2]).square()
    assert (last / before).item() == pytest.approx(1 - 0.999, rel=1e-4)  # the last beta would be 1


@pytest.mark.parametrize("kind", [LinearNoiseConfig, CosineNoiseConfig])
def test_zero_terminal_snr_moves_the_last_step_to_noise_and_leaves_the_first(kind):
    plain, moved = kind().build(), kind(zero_terminal_snr=True).build()
    a, b = plain.alpha(LEVELS), moved.alpha(LEVELS)
    assert b[-1].abs() < 1e-15
    torch.testing.assert_close(b[0], a[0], rtol=1e-12, atol=0)
    ratio = (b[:-1] - b[1:]) / (a[:-1] - a[1:])  # an affine map stretches all differences alike
    torch.testing.assert_close(ratio, ratio[:1].expand(999), rtol=1e-5, atol=0)
    assert moved.alpha(torch.ones(())) == 0, "exactly, in float32 too"
    assert moved.snr(torch.ones(())) == 0
    assert plain.snr(torch.ones(())) > 0


@pytest.mark.parametrize("config", DISCRETE, ids=repr)
def test_variance_is_preserved_and_signal_falls_between_timesteps_too(config):
    schedule, level = config.build(), torch.linspace(0, 1, 7919, dtype=torch.float64)
    alpha, sigma = schedule.alpha(level), schedule.sigma(level)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(level), rtol=0, atol=1e-12)
    assert (alpha.diff() < 0).all()
    assert (alpha[0], sigma[0]) == (1, 0)


def test_the_path_of_a_variance_preserving_schedule_moves_along_v():
    schedule, level = CosineNoiseConfig().build(), torch.tensor([0.1005, 0.4005, 0.9005], dtype=torch.float64)
    x0, eps = torch.randn(2, 3, dtype=torch.float64)
    v = schedule.alpha(level) * eps - schedule.sigma(level) * x0
    velocity = schedule.velocity(x0, schedule.mix(x0, eps, level), level)
    pace = torch.cat([s.unsqueeze(0) for s in schedule.slopes(level)]).norm(dim=0)  # of the angle
    torch.testing.assert_close(velocity, pace * v)


def test_a_shifted_flow_is_the_flow_at_shifted_levels():
    level, shifted = torch.linspace(0, 1, 7, dtype=torch.float64), RectifiedFlowConfig(shift=3.0).build()
    torch.testing.assert_close(shifted.sigma(level), shift_levels(level, 3.0))
    torch.testing.assert_close(shifted.alpha(level) + shifted.sigma(level), torch.ones_like(level))
    x0, eps = torch.randn(2, 7, 5, dtype=torch.float64)
    mixed = shifted.mix(x0, eps, level)
    torch.testing.assert_close(mixed, RectifiedFlow().mix(x0, eps, shift_levels(level, 3.0)))


@pytest.mark.parametrize("config", DISCRETE, ids=repr)
def test_levels_of_single_precision_reach_the_same_angles(config):
    schedule = config.build()
    torch.testing.assert_close(schedule.alpha(LEVELS.float()), schedule.alpha(LEVELS).float(), rtol=0, atol=2e-7)
    torch.testing.assert_close(schedule.sigma(LEVELS.float()), schedule.sigma(LEVELS).float(), rtol=2e-5, atol=0)


@pytest.mark.parametrize("config", [RectifiedFlowConfig(), DISCRETE[1], DISCRETE[3]], ids=repr)
@pytest.mark.parametrize("model", [UNetConfig, DiffusionTransformerConfig])
def test_eps_is_refused_where_level_1_is_pure_noise(config, model):
    with pytest.raises(
        ValueError, match=r"target 'eps' does not go with .*predict 'v', 'x' or 'flow', or choose Linear"
    ):
        model(target="eps", schedule=config)
    for target in ("x", "v", "flow", "edm"):
        assert model(target=target, schedule=config).schedule == config


def test_eps_goes_where_some_signal_is_left():
    for config in (LinearNoiseConfig(), CosineNoiseConfig()):
        assert not config.ends_in_pure_noise
        check_target("eps", config)


def test_schedules_travel_as_json_and_runs_from_before_them_still_load():
    for config in (*DISCRETE, RectifiedFlowConfig(shift=2.5)):
        assert NoiseScheduleConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    old = UNetConfig().to_json()
    del old["schedule"]
    assert UNetConfig.from_json(old).schedule == RectifiedFlowConfig()


def test_impossible_schedules_are_refused_with_the_value():
    with pytest.raises(ValueError, match=r"timesteps is 1; use 2 or more"):
        LinearNoiseConfig(timesteps=1)
    with pytest.raises(ValueError, match=r"first_beta is 0.1 and last_beta 0.02; .* no larger than the last"):
        LinearNoiseConfig(first_beta=0.1)
    with pytest.raises(ValueError, match=r"largest_beta 1.0; "):
        CosineNoiseConfig(largest_beta=1.0)
    with pytest.raises(ValueError, match=r"shift is 0.0; it must be positive"):
        RectifiedFlowConfig(shift=0.0)
