"""DDIM against closed forms: DDPM's posterior, Euler on straight paths, and Gaussian data."""

import math

import pytest
import torch
from gaussian_game import ACTION, GaussianGame, draw

from hallucade.diffusion.schedules import CosineNoiseConfig, LinearNoiseConfig, RectifiedFlow
from hallucade.samplers.ddim import DDIMSamplerConfig, ddim_step
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig

SCHEDULES = {
    "flow": RectifiedFlow(),
    "linear": LinearNoiseConfig().build(),
    "cosine, zero terminal": CosineNoiseConfig(zero_terminal_snr=True).build(),
}


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES.keys())
def schedule(request):
    return request.param


def test_a_full_share_of_fresh_noise_is_ddpms_posterior():
    config, t = LinearNoiseConfig(), 400
    betas, schedule = config.betas(), config.build()
    kept = (1 - betas).cumprod(0)
    levels = torch.tensor([t + 1, t], dtype=torch.float64) / 1000
    x0, noisy, fresh = torch.randn(3, 2, 5, dtype=torch.float64)
    drawn = ddim_step(schedule, x0, noisy, levels[:1].expand(2), levels[1:].expand(2), fresh, eta=1.0)
    mean = (  # Ho et al. 2020, equations 6 and 7
        kept[t - 1].sqrt() * betas[t] * x0 + (1 - betas[t]).sqrt() * (1 - kept[t - 1]) * noisy
    ) / (1 - kept[t])
    variance = (1 - kept[t - 1]) / (1 - kept[t]) * betas[t]
    torch.testing.assert_close(drawn, mean + variance.sqrt() * fresh, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_step_lands_on_the_next_level_whatever_its_share_of_fresh_noise(schedule, eta):
    now, after = torch.tensor([0.8, 0.5, 0.3]), torch.tensor([0.6, 0.1, 0.0])
    x0, eps, fresh = torch.randn(3, 3, 100_003)
    landed = ddim_step(schedule, x0, schedule.mix(x0, eps, now), now, after, fresh, eta)
    noise = landed - schedule.alpha(after)[:, None] * x0
    torch.testing.assert_close(noise.std(1), schedule.sigma(after), rtol=0.01, atol=1e-6)
    share = (noise * fresh).mean(1) / schedule.sigma(after).clamp_min(1e-9)
    assert ((share[:2] > 0.05) == (eta > 0)).all()


def test_without_fresh_noise_a_step_follows_the_noise_it_predicts(schedule):
    now, after = torch.tensor([0.9]), torch.tensor([0.2])
    x0, eps = torch.randn(2, 1, 7)
    landed = ddim_step(schedule, x0, schedule.mix(x0, eps, now), now, after)
    torch.testing.assert_close(landed, schedule.mix(x0, eps, after), rtol=1e-4, atol=1e-5)


def test_on_a_straight_path_it_is_euler():
    model = GaussianGame(spread=0.6)
    ours, euler = draw(DDIMSamplerConfig(steps=5, shift=2.0), model), draw(FlowSamplerConfig(steps=5, shift=2.0), model)
    torch.testing.assert_close(ours, euler, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_point_mass_is_found_from_any_noise_on_any_schedule(schedule, steps, eta):
    model = GaussianGame(spread=0.0, schedule=schedule)
    found = draw(DDIMSamplerConfig(steps=steps, eta=eta), model)
    torch.testing.assert_close(found, model.mean(ACTION).expand_as(found), rtol=0, atol=1e-5)


def test_it_follows_the_probability_flow_at_first_order(schedule):
    model = GaussianGame(spread=0.6, schedule=schedule)
    errors = [(draw(DDIMSamplerConfig(steps=n), model) - model.endpoint()).abs().mean().item() for n in (20, 40)]
    assert errors[1] < 0.04
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.3)


def test_heun_follows_the_same_path_on_every_schedule(schedule):
    model = GaussianGame(spread=0.6, schedule=schedule)
    found = draw(FlowSamplerConfig(steps=60, order=2), model)
    torch.testing.assert_close(found, model.endpoint(), rtol=0, atol=0.02)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_samples_have_the_mean_and_the_spread_of_the_data(schedule, eta):
    model, action = GaussianGame(spread=0.6, schedule=schedule), torch.full((60, 1, 7), 0.4)
    found = draw(DDIMSamplerConfig(steps=200, eta=eta), model, action)
    assert found.mean().item() == pytest.approx(0.4, abs=0.03)
    assert found.std().item() == pytest.approx(0.6, abs=0.03)


class OffByEps(GaussianGame):
    """Knows the noise of Gaussian frames but for a constant error, as a network that predicts noise does."""

    error = 0.02

    def denoise(self, state, action, noisy, level):
        x0, at = super().denoise(state, action, noisy, level), level.reshape(-1, 1, 1, 1, 1)
        return x0 - self.schedule.sigma(at) / self.schedule.alpha(at) * self.error


@pytest.mark.parametrize(("steps", "gained"), [(1, 2.5), (10, 1.0)])
def test_a_limit_saves_one_step_from_a_prediction_of_noise_and_later_steps_save_themselves(steps: int, gained: float):
    model = OffByEps(spread=0.1, schedule=LinearNoiseConfig().build())  # 156 times the error at level 1
    plain, action = DDIMSamplerConfig(steps=steps), torch.full((5, 1, 7), 0.4)
    limited = GuidedSamplerConfig(sampler=plain, limit=0.7)
    drawn = [draw(config, config.view(model), action) for config in (plain, limited)]
    off = [(found - model.endpoint(action)).square().mean().sqrt().item() for found in drawn]
    assert off[0] / off[1] == pytest.approx(gained, rel=0.2)
    assert drawn[1].abs().max() <= (0.7 if steps == 1 else 1)


def test_a_limit_beyond_the_data_changes_nothing():
    config = GuidedSamplerConfig(sampler=DDIMSamplerConfig(steps=5), limit=50.0)
    model = GaussianGame(spread=0.6)
    assert torch.equal(draw(config, config.view(model)), draw(config.sampler, model))


def test_fresh_noise_comes_from_the_rows_own_generator():
    model, config = GaussianGame(spread=0.6), DDIMSamplerConfig(steps=3, eta=1.0)
    together = draw(config, model)
    assert torch.equal(together[:2], draw(config, model, ACTION[:2]))
    assert not torch.equal(together, draw(DDIMSamplerConfig(steps=3), model))


def test_settings_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="sampling steps is 0; use 1 or more"):
        DDIMSamplerConfig(steps=0)
    with pytest.raises(ValueError, match=r"eta is 1.5; it lies between 0, deterministic, and 1, DDPM"):
        DDIMSamplerConfig(eta=1.5)
    with pytest.raises(ValueError, match=r"shift is 0.0; it must be positive"):
        DDIMSamplerConfig(shift=0.0)
