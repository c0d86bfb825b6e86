"""Diffusion arithmetic against closed forms: schedules, targets, loss scales, levels, weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallucade.diffusion.schedules import (
    TIMESTEPS,
    CosineNoiseConfig,
    LinearNoiseConfig,
    NoiseSchedule,
    RectifiedFlow,
    expand,
    shift_levels,
)
from hallucade.diffusion.targets import SIGMA_DATA, input_scale, loss_scale, predict_x0
from hallucade.diffusion.timesteps import LogitNormalLevels, UniformLevels
from hallucade.diffusion.weighting import motion_weight


class Trigonometric(NoiseSchedule):
    """A second schedule, alpha = cos, sigma = sin, so that nothing below holds for straight lines only."""

    def alpha(self, level):
        return torch.cos(level * math.pi / 2)

    def sigma(self, level):
        return torch.sin(level * math.pi / 2)

    def slopes(self, level):
        return -math.pi / 2 * self.sigma(level), math.pi / 2 * self.alpha(level)


SCHEDULES = [
    RectifiedFlow(),
    RectifiedFlow(shift=3.0),
    Trigonometric(),
    LinearNoiseConfig().build(),
    CosineNoiseConfig(zero_terminal_snr=True).build(),
]
shifts = st.floats(0.1, 10)


@pytest.fixture
def x0():
    return torch.randn(2, 5, 3, 6, 10, dtype=torch.float64)


@pytest.fixture
def eps():
    return torch.randn(2, 5, 3, 6, 10, dtype=torch.float64)


@pytest.fixture
def level():
    between = torch.randint(100, 900, (2, 5)).double() + 0.5  # of timesteps, where angles are tabulated
    return between / TIMESTEPS


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_level_0_is_data_and_level_1_is_noise(schedule, x0, eps):
    close(schedule.mix(x0, eps, torch.zeros(2, 5, dtype=torch.float64)), x0)
    signal = math.sqrt(schedule.snr(torch.ones((), dtype=torch.float64)))  # not quite none on DDPM's schedule
    assert signal < 0.01
    close(schedule.mix(x0, eps, torch.ones(2, 5, dtype=torch.float64)), eps, atol=6 * signal)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_frame_is_mixed_at_its_own_level(schedule, x0, eps, level):
    noisy = schedule.mix(x0, eps, level)
    assert torch.equal(schedule.mix(x0[1, 3], eps[1, 3], level[1, 3]), noisy[1, 3])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mix_can_be_undone(schedule, x0, eps, level):
    close(schedule.noise_of(x0, schedule.mix(x0, eps, level), level), eps)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_velocity_is_the_derivative_of_the_path(schedule, x0, eps, level):
    h = 1e-5
    slope = (schedule.mix(x0, eps, level + h) - schedule.mix(x0, eps, level - h)) / (2 * h)
    close(schedule.velocity(x0, schedule.mix(x0, eps, level), level), slope, atol=1e-8)


def test_rectified_flow_moves_straight_from_data_to_noise(x0, eps, level):
    schedule = RectifiedFlow()
    close(schedule.velocity(x0, schedule.mix(x0, eps, level), level), eps - x0)


def test_expand_appends_axes():
    assert expand(torch.zeros(2, 5), torch.zeros(2, 5, 3, 6, 10)).shape == (2, 5, 1, 1, 1)
    assert expand(torch.tensor(0.5), torch.zeros(6, 10)).shape == (1, 1)


@given(shifts, shifts)
def test_shifts_compose_by_multiplication(a, b):
    level = torch.linspace(0, 1, 7, dtype=torch.float64)
    close(shift_levels(shift_levels(level, a), b), shift_levels(level, a * b))


@given(shifts)
def test_a_shift_multiplies_the_noise_to_data_ratio(shift):
    level = torch.linspace(0, 1, 7, dtype=torch.float64)
    shifted = shift_levels(level, shift)
    close(shifted[1:-1] / (1 - shifted[1:-1]), shift * level[1:-1] / (1 - level[1:-1]))
    assert shifted[0] == 0
    assert shifted[-1].item() == pytest.approx(1, abs=1e-12)


def test_a_shift_must_be_positive():
    level = torch.rand(7)
    assert torch.equal(shift_levels(level, 1.0), level)
    for shift in (0.0, -3.0):
        with pytest.raises(ValueError, match=f"shift is {shift}; it must be positive"):
            shift_levels(level, shift)


def output_of(target, x0, eps, level, schedule):
    """Return what a perfect network with this target puts out."""
    alpha, sigma = expand(schedule.alpha(level), x0), expand(schedule.sigma(level), x0)
    noisy = alpha * x0 + sigma * eps
    karras_sigma = sigma / alpha
    total = karras_sigma**2 + SIGMA_DATA**2
    match target:
        case "x":
            return x0
        case "eps":
            return eps
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0
        case "edm":  # Karras et al. 2022, table 1: D = c_skip y + c_out F, solved for F
            return (x0 - SIGMA_DATA**2 / total * noisy / alpha) / (karras_sigma * SIGMA_DATA / total.sqrt())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("target", ["x", "eps", "v", "flow", "edm"])
def test_every_target_converts_to_x0(target, schedule, x0, eps, level):
    noisy = schedule.mix(x0, eps, level)
    close(predict_x0(target, output_of(target, x0, eps, level, schedule), noisy, level, schedule), x0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("space", ["x", "eps", "v", "flow"])
def test_loss_scale_is_the_ratio_of_squared_errors(space, schedule, x0, eps, level):
    noisy, wrong = schedule.mix(x0, eps, level), x0 + torch.randn_like(x0)
    wrong_eps = schedule.noise_of(wrong, noisy, level)
    error = output_of(space, x0, eps, level, schedule) - output_of(space, wrong, wrong_eps, level, schedule)
    scale = expand(loss_scale(space, level, schedule), x0)
    close(error.square(), scale * (wrong - x0).square())


def test_the_floor_bounds_the_loss_scale():
    almost_data, mid = torch.tensor([0.0, 1e-6]), torch.tensor([0.5])
    for space in ("eps", "v", "flow"):
        assert loss_scale(space, almost_data, RectifiedFlow(), floor=0.1).max() <= (1 + 1 / 0.1) ** 2 + 1e-3
        assert loss_scale(space, mid, RectifiedFlow(), 0.1) == loss_scale(space, mid, RectifiedFlow(), 0.4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_edm_scales_its_input_to_unit_variance(schedule, eps, level):
    x0 = SIGMA_DATA * torch.randn(2, 5, 30_011, dtype=torch.float64)
    noisy = schedule.mix(x0, torch.randn_like(x0), level)
    scaled = expand(input_scale("edm", level, schedule), noisy) * noisy
    torch.testing.assert_close(scaled.var(-1), torch.ones_like(level), rtol=0.04, atol=0)
    assert torch.equal(input_scale("v", level, schedule), torch.ones_like(level))


def test_edm_is_finite_and_useful_at_pure_noise():
    noise, output = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    ones = torch.ones(2, 5)
    close(predict_x0("edm", output, noise, ones, RectifiedFlow()), SIGMA_DATA * output)
    close(input_scale("edm", ones, RectifiedFlow()), ones)


def test_edm_keeps_clean_data_whatever_the_network_says():
    data = torch.randn(2, 5, 7)
    close(predict_x0("edm", torch.randn(2, 5, 7), data, torch.zeros(2, 5), RectifiedFlow()), data)


def test_logit_normal_levels_follow_their_distribution(generator):
    levels = LogitNormalLevels(mean=-0.8, std=1.3).draw((40_009,), generator)
    logits = torch.logit(levels)
    assert logits.mean().item() == pytest.approx(-0.8, abs=0.03)
    assert logits.std().item() == pytest.approx(1.3, abs=0.03)
    assert levels.min() > 0
    assert levels.max() < 1


def test_levels_of_pure_noise_have_their_share(generator):
    levels = UniformLevels(pure_noise_share=0.25).draw((7, 5_003), generator)
    assert levels.shape == (7, 5_003)
    assert (levels == 1).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert levels[levels < 1].mean().item() == pytest.approx(0.5, abs=0.02)
    assert (UniformLevels().draw((5_003,), generator) < 1).all()
    with pytest.raises(ValueError, match=r"pure_noise_share is 1\.5"):
        UniformLevels(pure_noise_share=1.5)


@pytest.mark.parametrize("kind", [UniformLevels, LogitNormalLevels])
def test_one_level_a_clip(kind, generator):
    levels = kind(per="clip", pure_noise_share=0.3).draw((400, 7), generator)
    assert levels.shape == (400, 7)
    assert torch.equal(levels, levels[:, :1].expand(400, 7))
    assert (levels[:, 0] == 1).float().mean().item() == pytest.approx(0.3, abs=0.07)
    assert levels[:, 0].unique().numel() > 200
    assert kind().draw((400, 7), generator)[0].unique().numel() == 7


def test_the_same_seed_draws_the_same_levels():
    first, second = (LogitNormalLevels().draw((2, 5), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_motion_weight_marks_what_changed_since_the_frame_before():
    latents = torch.zeros(2, 5, 3, 6, 10)
    latents[1, 3:, 2, 4, 7] = 1.0  # one pixel of one channel lights up in frame 3 and stays
    latents[0, 2, 0, 1, 1] = 0.04  # below the threshold
    weight = motion_weight(latents, extra=9.0)
    assert weight.shape == (2, 4, 1, 6, 10)
    assert weight[1, 2, 0, 4, 7] == 10
    assert weight.sum() == 2 * 4 * 6 * 10 + 9
    assert torch.equal(motion_weight(latents, extra=0.0), torch.ones(2, 4, 1, 6, 10))
