"""Against Gaussians, whose scores and divergence are known."""

from dataclasses import replace

import pytest
import torch
from gaussian_game import posterior_mean
from torch import Tensor

from hallucade.diffusion.schedules import RectifiedFlow, expand
from hallucade.methods.distribution_matching import (
    DistributionMatchingConfig,
    Scored,
    critic_loss,
    distribution_matching_loss,
    masked_mean,
    predict_clip,
)
from hallucade.models.base import DiffusionModel

SHAPE = (2, 3, 4)


class Gaussian(DiffusionModel[None]):
    """The exact denoiser of clips drawn from N(mean, variance); `calls` holds what it was shown."""

    def __init__(self, mean: float, variance: float, lead: int = 0) -> None:
        super().__init__()
        self.mean = torch.nn.Parameter(torch.tensor(mean))
        self.variance, self.lead, self.schedule, self.latent_shape = variance, lead, RectifiedFlow(), SHAPE
        self.calls: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []

    def forward(self, noisy, levels, actions, dropped=None):
        self.calls.append((noisy, levels, actions, dropped))
        shift = 0.0 if dropped is None else 1.0  # without an action all means are one higher
        x0 = posterior_mean(noisy, expand(levels, noisy), self.schedule, self.mean + shift, self.variance**0.5)
        return x0[:, self.lead :]

    def denoise(self, state, action, noisy, level): ...
    def initial(self, latent): ...
    def observe(self, state, action, latent): ...
    def fork(self, state): ...


def drawn(mean: float, variance: float, batch: int = 2, frames: int = 5, given: int = 0) -> Scored:
    x = mean + variance**0.5 * torch.randn(batch, frames, *SHAPE)
    graded = (torch.arange(frames) >= given).expand(batch, -1)
    return Scored(x.requires_grad_(), torch.randn(batch, frames - 1, 7), graded)


def at(level: float, **choices) -> DistributionMatchingConfig:
    """Return choices that compare at one level."""
    return DistributionMatchingConfig(least_level=level, most_level=level + 1e-7, **choices)


def gradient(clip: Scored, loss: Tensor) -> Tensor:
    return torch.autograd.grad(loss, clip.latents)[0]


def matched(clip, config, teacher=None, critic=None) -> Tensor:
    teacher, critic = teacher or Gaussian(-1.0, 1.5), critic or Gaussian(2.0, 0.5)
    return distribution_matching_loss(teacher, critic, clip, config, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("level", "expected"), [(0.2, 0.12), (0.5, 1.2), (0.9, 2.945)])
def test_the_gradient_is_the_closed_form_on_gaussians(level: float, expected: float) -> None:
    """E[fake - real] = s^2 (m0 - m1) / (a^2 v1 + s^2), the slope of the divergence in the student's mean."""
    clip = drawn(2.0, 0.5, batch=1, frames=400)
    teacher = Gaussian(-1.0, 1.5)
    slope = gradient(clip, matched(clip, at(level), teacher)) * clip.latents.numel()
    noisy = teacher.calls[0][0]
    norm = (clip.latents - teacher(noisy, torch.full((1, 400), level), clip.actions)).abs().mean()
    assert (slope * norm).mean().item() == pytest.approx(expected, rel=0.03)


def test_the_gradient_is_the_normalised_difference_over_the_graded_elements() -> None:
    clip, config = drawn(2.0, 0.5, given=2), at(0.5)
    teacher, critic = Gaussian(-1.0, 1.5), Gaussian(2.0, 0.5)
    slope = gradient(clip, matched(clip, config, teacher, critic))
    real, fake = (m(*model_input).detach() for m, model_input in ((m, m.calls[0]) for m in (teacher, critic)))
    x = clip.latents.detach()
    norm = (x - real)[:, 2:].abs().mean((1, 2, 3, 4), keepdim=True)
    expected = (fake - real)[:, 2:] / norm / x[:, 2:].numel()
    assert torch.allclose(slope[:, 2:], expected, atol=1e-7)
    assert slope[:, :2].abs().max() == 0  # what is given is not the student's to move


def test_each_clip_has_a_norm_of_its_own() -> None:
    clip = drawn(2.0, 0.5)
    far = clip.latents.detach().clone()
    far[1] += 100
    together = Scored(far.requires_grad_(), clip.actions, clip.graded)
    first = gradient(clip, matched(clip, at(0.5)))[0]
    assert torch.allclose(gradient(together, matched(together, at(0.5)))[0], first)


def test_a_teacher_that_agrees_exactly_leaves_the_gradient_finite() -> None:
    x = torch.zeros(2, 3, *SHAPE, requires_grad=True)
    clip = Scored(x, torch.zeros(2, 2, 7), torch.ones(2, 3, dtype=torch.bool))
    certain = Gaussian(0.0, 0.0)  # says 0 whatever it sees
    assert gradient(clip, matched(clip, at(0.5), certain, certain)).abs().max() == 0


def test_guidance_of_the_teacher_goes_from_free_through_given() -> None:
    clip, teacher = drawn(2.0, 0.5), Gaussian(-1.0, 1.5)
    matched(clip, at(0.5, guidance=3.0), teacher)
    (given, free) = teacher.calls
    assert given[3] is None
    assert free[3] is not None
    assert free[3].all()
    critic = Gaussian(2.0, 0.5)
    slope = gradient(clip, matched(clip, at(0.5, guidance=3.0), teacher, critic))
    with torch.no_grad():
        real = teacher(*free) + 3 * (teacher(*given) - teacher(*free))
        norm = (clip.latents - real).abs().mean((1, 2, 3, 4), keepdim=True)
        expected = (critic(*given) - real) / norm / clip.latents.numel()
    assert torch.allclose(slope, expected, atol=1e-7)


def test_given_latents_are_shown_clean_or_noised_as_chosen() -> None:
    clip, teacher = drawn(2.0, 0.5, given=2), Gaussian(-1.0, 1.5)
    matched(clip, at(0.5), teacher)
    matched(clip, at(0.5, context="noised"), teacher)
    (clean, clean_levels, *_), (noised, noised_levels, *_) = teacher.calls
    assert torch.equal(clean[:, :2], clip.latents[:, :2])
    assert clean_levels[0].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5])
    assert not torch.equal(noised[:, :2], clip.latents[:, :2])
    assert noised_levels[0].tolist() == pytest.approx([0.5] * 5)
    assert torch.equal(clean[:, 2:], noised[:, 2:])


def test_a_model_with_a_fixed_context_sees_each_latent_after_the_clip_s_own() -> None:
    model = Gaussian(-1.0, 1.5, lead=2)
    clip = drawn(2.0, 0.5, batch=2, frames=5, given=2)
    noisy, levels = torch.randn(2, 5, *SHAPE), torch.tensor([0.3, 0.6])
    predicted = predict_clip(model, clip, noisy, levels)
    seen, told, actions, _ = model.calls[0]
    assert torch.equal(predicted[:, :2], clip.latents[:, :2])
    assert torch.equal(seen[4, :2], clip.latents[1, 1:3])  # the second clip's second window
    assert torch.equal(seen[4, 2], noisy[1, 3])
    assert told[4].tolist() == pytest.approx([0, 0, 0.6])
    assert torch.equal(actions[4], clip.actions[1, 1:3])
    expected = posterior_mean(noisy[1, 3], torch.tensor(0.6), RectifiedFlow(), -1.0, 1.5**0.5)
    assert torch.allclose(predicted[1, 3], expected)


def test_the_critic_s_loss_is_the_squared_error_of_the_flow() -> None:
    clip, critic = drawn(2.0, 0.5, given=1), Gaussian(1.0, 0.7)
    loss = critic_loss(critic, clip, at(0.4), torch.Generator().manual_seed(1))
    noisy, levels, actions, _ = critic.calls[0]
    error = (critic(noisy, levels, actions) - clip.latents) / 0.4
    assert loss.item() == pytest.approx(error[:, 1:].square().mean().item(), rel=1e-5)
    assert torch.autograd.grad(loss, clip.latents, allow_unused=True) == (None,)


def test_a_critic_that_learns_draws_an_affine_student_to_the_teacher() -> None:
    """Student x = m + d eps, the exact critic of it at every step: it ends where the teacher's data is."""
    mean, deviation = torch.tensor(2.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    optimizer = torch.optim.Adam([mean, deviation], 0.05)
    teacher, config = Gaussian(-1.0, 1.5), DistributionMatchingConfig()
    generator = torch.Generator().manual_seed(4)
    for _ in range(300):
        x = mean + deviation * torch.randn(64, 2, *SHAPE)
        clip = Scored(x, torch.zeros(64, 1, 7), torch.ones(64, 2, dtype=torch.bool))
        critic = Gaussian(mean.item(), deviation.item() ** 2)
        optimizer.zero_grad()
        distribution_matching_loss(teacher, critic, clip, config, generator).backward()
        optimizer.step()
    assert mean.item() == pytest.approx(-1.0, abs=0.15)
    assert deviation.item() == pytest.approx(1.5**0.5, abs=0.2)


def test_sid_moves_the_student_the_same_way() -> None:
    clip = drawn(2.0, 0.5, frames=200)
    slope = gradient(clip, matched(clip, at(0.5, gradient="sid")))
    assert slope.mean() > 0  # the student's mean lies above the teacher's
    still = gradient(clip, matched(clip, at(0.5, gradient="sid"), critic=Gaussian(-1.0, 1.5)))
    assert still.abs().max() == 0  # scores that agree ask for nothing


def test_nothing_graded_is_no_loss() -> None:
    values = torch.randn(2, 3, *SHAPE)
    assert masked_mean(values, torch.zeros(2, 3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("levels", [(0.5, 0.5), (0.0, 0.9), (0.6, 0.2), (0.1, 1.2)])
def test_levels_out_of_order_are_refused(levels: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="they rise"):
        replace(DistributionMatchingConfig(), least_level=levels[0], most_level=levels[1])
