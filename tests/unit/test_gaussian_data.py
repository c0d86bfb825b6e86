"""Targets, losses and weights on Gaussian data, whose optimal denoiser and score are known in closed form."""

import pytest
import torch
from gaussian_game import posterior_mean

from hallucade.diffusion.schedules import CosineNoiseConfig, LinearNoiseConfig, RectifiedFlow, expand
from hallucade.diffusion.targets import SIGMA_DATA, input_scale, loss_scale, predict_x0
from hallucade.diffusion.timesteps import LogitNormalLevels, UniformLevels
from hallucade.diffusion.weighting import EqualWeight, MinSNRWeight
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.next_frame import NextFrameConfig

MEAN, SPREAD = 0.3, 0.6
SCHEDULES = {
    "flow": RectifiedFlow(),
    "flow, shifted": RectifiedFlow(shift=3.0),
    "linear": LinearNoiseConfig().build(),
    "cosine, zero terminal": CosineNoiseConfig(zero_terminal_snr=True).build(),
}
LEVELS = torch.tensor([0.1005, 0.4005, 0.7505], dtype=torch.float64)


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES.keys())
def schedule(request):
    return request.param


def target_of(target, x0, eps, level, schedule):
    alpha, sigma = expand(schedule.alpha(level), x0), expand(schedule.sigma(level), x0)
    scale = ((SIGMA_DATA * alpha) ** 2 + sigma**2).sqrt()
    residual = (sigma * x0 - SIGMA_DATA**2 * alpha * eps) / (SIGMA_DATA * scale)
    return {"x": x0, "eps": eps, "v": alpha * eps - sigma * x0, "flow": eps - x0, "edm": residual}[target]


@pytest.mark.parametrize("target", ["x", "eps", "v", "flow", "edm"])
def test_the_best_linear_prediction_of_each_target_is_the_posterior_mean(target, schedule):
    """Least squares on samples knows nothing of our formulas, and for Gaussian data no network could do better."""
    x0 = MEAN + SPREAD * torch.randn(3, 200_003, dtype=torch.float64)
    eps = torch.randn_like(x0)
    noisy, wanted = schedule.mix(x0, eps, LEVELS), target_of(target, x0, eps, LEVELS, schedule)
    grid = torch.linspace(-1, 1, 5, dtype=torch.float64).expand(3, 5)
    centred = noisy - noisy.mean(1, keepdim=True)
    slope = (centred * wanted).mean(1) / centred.square().mean(1)
    output = wanted.mean(1)[:, None] + slope[:, None] * (grid - noisy.mean(1, keepdim=True))
    best = posterior_mean(grid, LEVELS[:, None], schedule, MEAN, SPREAD)
    torch.testing.assert_close(predict_x0(target, output, grid, LEVELS, schedule), best, rtol=0, atol=0.02)


def test_noise_and_velocity_of_the_best_prediction_are_the_scores(schedule):
    """The score is -(x - alpha mean) / variance, and the probability-flow velocity follows mean and variance of x."""
    noisy, level = torch.linspace(-2, 2, 7, dtype=torch.float64).expand(3, 7), LEVELS[:, None]
    alpha, sigma = schedule.alpha(level), schedule.sigma(level)
    slope_alpha, slope_sigma = schedule.slopes(level)
    variance = (alpha * SPREAD) ** 2 + sigma**2
    best = posterior_mean(noisy, level, schedule, MEAN, SPREAD)
    score = -(noisy - alpha * MEAN) / variance
    torch.testing.assert_close(schedule.noise_of(best, noisy, LEVELS), -sigma * score)
    growth = (alpha * slope_alpha * SPREAD**2 + sigma * slope_sigma) / variance
    expected = slope_alpha * MEAN + growth * (noisy - alpha * MEAN)
    torch.testing.assert_close(schedule.velocity(best, noisy, LEVELS), expected)


@pytest.mark.parametrize("space", ["x", "eps", "v", "flow"])
def test_min_snr_is_the_papers_formula_in_every_space(space, schedule):
    gamma, snr = 5.0, schedule.snr(LEVELS)
    low = snr.clamp(max=gamma)
    variance = schedule.alpha(LEVELS) ** 2 + schedule.sigma(LEVELS) ** 2  # 1 where the paper's formulas hold
    paper = {
        "x": low,
        "eps": low / snr,
        "v": low / (variance * (snr + 1)),
        "flow": low / (snr.sqrt() + 1) ** 2,
    }[space]
    torch.testing.assert_close(MinSNRWeight(gamma=gamma).weight(space, LEVELS, schedule), paper)


def test_min_snr_makes_every_space_the_same_loss(schedule):
    level = torch.linspace(0, 1, 101, dtype=torch.float64)[1:-1]
    weight = MinSNRWeight(gamma=3.0)
    totals = [loss_scale(s, level, schedule) * weight.weight(s, level, schedule) for s in ("x", "eps", "v", "flow")]
    for total in totals:
        torch.testing.assert_close(total, schedule.snr(level).clamp(max=3.0))


def test_min_snr_is_finite_at_the_ends(schedule):
    ends = torch.tensor([0.0, 1.0])
    for space in ("x", "eps", "v", "flow"):
        total = loss_scale(space, ends, schedule) * MinSNRWeight().weight(space, ends, schedule)
        torch.testing.assert_close(total, torch.tensor([5.0, schedule.snr(torch.ones(())).item()]))


class Denoiser(DiffusionModel[None]):
    """Predicts `gain` times the best step from the noisy frame towards the data."""

    def __init__(self, schedule, gain=1.0, lead=0):
        super().__init__()
        self.schedule, self.lead, self.gain = schedule, lead, gain
        self.levels = None

    def forward(self, noisy, levels, actions, dropped=None):
        self.levels = levels
        level = levels.reshape(*levels.shape, 1, 1, 1)
        best = posterior_mean(noisy, level, self.schedule, MEAN, SPREAD)
        return (noisy + self.gain * (best - noisy))[:, self.lead :]

    def initial(self, latent): ...
    def observe(self, state, action, latent): ...
    def fork(self, state): ...
    def denoise(self, state, action, noisy, level): ...


def graded(config, model, frames=2):
    latents = MEAN + SPREAD * torch.randn(400, frames, 3, 10, 12, generator=torch.Generator().manual_seed(2))
    clip = LatentClip(latents, torch.zeros(400, frames - 1, 1))
    return config.build()(model, clip, torch.Generator().manual_seed(1))["denoising"].item()


@pytest.mark.parametrize("weight", [EqualWeight(), MinSNRWeight(gamma=2.0)], ids=["equal", "min-SNR"])
@pytest.mark.parametrize("space", ["x", "eps", "v", "flow"])
def test_the_loss_of_the_best_denoiser_is_the_posterior_variance(space, weight, schedule):
    settings = {"loss_space": space, "level_weight": weight, "levels": UniformLevels()}
    forcing, model = DiffusionForcingConfig(**settings, clean_share=0.0), Denoiser(schedule)
    loss, levels = graded(forcing, model), model.levels
    left = (SPREAD * schedule.sigma(levels)) ** 2 / (
        (SPREAD * schedule.alpha(levels)) ** 2 + schedule.sigma(levels) ** 2
    )
    counts = loss_scale(space, levels, schedule) * weight.weight(space, levels, schedule)
    assert loss == pytest.approx((left * counts).mean().item(), rel=0.02)
    assert all(graded(forcing, Denoiser(schedule, gain)) > loss for gain in (0.9, 1.1))
    after = graded(NextFrameConfig(**settings, context_noise=0.0), next_frame := Denoiser(schedule, lead=1))
    levels = next_frame.levels[:, 1]
    left = (SPREAD * schedule.sigma(levels)) ** 2 / (
        (SPREAD * schedule.alpha(levels)) ** 2 + schedule.sigma(levels) ** 2
    )
    counts = loss_scale(space, levels, schedule) * weight.weight(space, levels, schedule)
    assert after == pytest.approx((left * counts).mean().item(), rel=0.02)


def test_each_frame_is_weighed_by_its_own_level():
    """Weights averaged over a clip and then multiplied with its mean error would give another number."""
    schedule = CosineNoiseConfig(zero_terminal_snr=True).build()
    model = Denoiser(schedule, gain=0.0)  # predicts the noisy frame itself
    config = DiffusionForcingConfig(clean_share=0.0, level_weight=MinSNRWeight())
    loss = graded(config, model, frames=5)
    weights = schedule.snr(model.levels).clamp(max=5.0)
    gone = 1 - schedule.alpha(model.levels)
    errors = gone**2 * (MEAN**2 + SPREAD**2) + schedule.sigma(model.levels) ** 2
    assert loss == pytest.approx((weights * errors).mean().item(), rel=0.02)
    averaged = (weights.mean(1) * errors.mean(1)).mean().item()
    assert abs(averaged - loss) > 0.2 * loss


@pytest.mark.parametrize("kind", [DiffusionForcingConfig, NextFrameConfig])
def test_min_snr_does_not_go_with_levels_of_pure_noise(kind):
    with pytest.raises(
        ValueError, match=r"pure_noise_share is 0.5, but min-SNR gives pure noise no weight; set .* to 0"
    ):
        kind(level_weight=MinSNRWeight(), levels=LogitNormalLevels(pure_noise_share=0.5))
    with pytest.raises(ValueError, match=r"gamma is 0.0; it must be positive"):
        MinSNRWeight(gamma=0.0)


@pytest.mark.parametrize(
    ("target", "schedule"),
    [
        ("x", RectifiedFlow()),
        ("flow", RectifiedFlow()),
        ("edm", RectifiedFlow()),
        ("v", CosineNoiseConfig(zero_terminal_snr=True).build()),
        ("eps", LinearNoiseConfig().build()),
    ],
)
def test_training_reaches_the_posterior_mean_through_each_target(target, schedule):
    """A line at each of eight levels is all that Gaussian data asks of a network."""
    level = torch.linspace(0.1, 0.7, 8)[:, None].expand(8, 501)
    slope, offset = (torch.zeros(8, 1, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([slope, offset], lr=0.05)

    def predict(noisy, level):
        output = slope * input_scale(target, level, schedule) * noisy + offset
        return predict_x0(target, output, noisy, level, schedule)

    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        x0 = MEAN + SPREAD * torch.randn(level.shape)
        noisy = schedule.mix(x0, torch.randn(level.shape), level)
        loss = ((predict(noisy, level) - x0).square() * loss_scale("v", level, schedule)).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    grid, level = torch.linspace(-1, 1, 9).expand(8, 9), level[:, :9]
    best = posterior_mean(grid, level, schedule, MEAN, SPREAD)
    assert (predict(grid, level) - best).abs().max() < 0.05
    assert (grid - best).abs().max() > 0.3
