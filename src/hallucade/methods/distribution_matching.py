"""Distribution matching: move what a student draws to where a teacher finds it likelier than a critic does.

The teacher knows the data's score, the critic learns the student's. Where the two disagree about a noised sample, the
difference of their predictions of x0 is the gradient of the divergence between the two distributions, up to a weight.

Source: Yin et al. 2024, DMD2, arXiv:2405.14867; SiD: Zhou et al. 2024, arXiv:2404.04057, as used by self-forcing.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import NoiseSchedule, check_shift, expand, shift_levels
from hallucade.diffusion.targets import loss_scale
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.shapes import Actions, Latents, Scalar

Context = Literal["clean", "noised"]
LEAST_NORM = 1e-6  # below this the teacher agrees with the sample to rounding, and a division would only amplify it


@dataclass(frozen=True, kw_only=True)
class DistributionMatchingConfig(Config):
    """At which levels the scores are compared, and how the difference is weighed."""

    least_level: float = 0.02  # levels are clamped to these: at the ends a score says little
    most_level: float = 0.98
    shift: float = 1.0  # above 1 compares nearer to noise
    guidance: float = 1.0  # of the teacher, by the action: 1 none, x0 = free + guidance (given - free)
    context: Context = "clean"  # how teacher and critic see the latents that are given
    gradient: Literal["dmd", "sid"] = "dmd"
    sid_alpha: float = 1.0  # 1 is SiD's own; 0.5 leaves out its second term

    def __post_init__(self) -> None:
        check_shift(self.shift)
        if not 0 < self.least_level < self.most_level <= 1:
            raise ValueError(
                f"levels from {self.least_level} to {self.most_level}; they rise, above 0 (data) and up to 1 (noise)"
            )

    def levels(self, batch: int, generator: torch.Generator) -> Float[Tensor, "b"]:
        """Draw one level a clip, shared by its latents."""
        levels = shift_levels(torch.rand(batch, generator=generator), self.shift)
        return levels.clamp(self.least_level, self.most_level)


@dataclass(frozen=True)
class Scored:
    """A clip that a student drew, or drew part of.

    `graded` says which latents are the student's: the others are given, teacher and critic see them, and they get no
    gradient. With `past`, a recorded clip, the latents are drawn for its last ones, each block after what really came
    before it, and are scored so too.
    """

    latents: Latents
    actions: Actions
    graded: Bool[Tensor, "b t"]
    past: LatentClip | None = None


def distribution_matching_loss(
    teacher: DiffusionModel[Any],
    critic: DiffusionModel[Any],
    clip: Scored,
    config: DistributionMatchingConfig,
    generator: torch.Generator,
) -> Scalar:
    """Return a loss that moves the graded latents towards the teacher's distribution.

    For "dmd" its gradient in a graded element is the score difference over the number of graded elements, and zero in
    all others. Either kind is divided, clip by clip in float32, by the mean distance of the graded latents from the
    teacher's prediction, so that all levels count alike.
    """
    noisy, levels = _noised(teacher.schedule, clip, config, generator)
    with torch.set_grad_enabled(config.gradient == "sid" and torch.is_grad_enabled()):
        real = _guided(teacher, clip, noisy, levels, config).float()
        fake = predict_clip(critic, clip, noisy, levels, config.context).float()
    x = clip.latents.float()
    norm = clip_means((x - real).abs().detach(), clip.graded).clamp_min(LEAST_NORM)
    if config.gradient == "sid":
        apart = real - fake
        return masked_mean(apart * ((real - x) - config.sid_alpha * apart) / norm, clip.graded)
    goal = (x - (fake - real) / norm).detach()
    return 0.5 * masked_mean((x - goal).square(), clip.graded)


def critic_loss(
    critic: DiffusionModel[Any], clip: Scored, config: DistributionMatchingConfig, generator: torch.Generator
) -> Scalar:
    """Return the flow-matching loss of the critic, the squared error in eps - x0; no gradient reaches the latents."""
    drawn = replace(clip, latents=clip.latents.detach())
    noisy, levels = _noised(critic.schedule, drawn, config, generator)
    error = (predict_clip(critic, drawn, noisy, levels, config.context) - drawn.latents).square()
    return masked_mean(error * expand(loss_scale("flow", levels, critic.schedule), error), drawn.graded)


def predict_clip(
    model: DiffusionModel[Any],
    clip: Scored,
    noisy: Latents,
    levels: Float[Tensor, "b"],
    context: Context = "clean",
    dropped: bool = False,
) -> Latents:
    """Predict x0 of a noised clip, all graded latents at one level.

    A model with a fixed context (`lead`) is asked for each latent after the clip's own earlier ones, which are given:
    its first `lead` latents come back as they are. Where the clip has a real past, every model is asked after that.

    What a model is conditioned on (`given`) is the clip's own first picture, always clean: a window from the middle of
    a game has another one than the game.

    Args:
        model: teacher or critic.
        clip: what was noised.
        noisy: it, at `levels`.
        levels: one a clip.
        context: whether latents that are not graded are given clean, or as noisy as the others.
        dropped: whether the model is asked for "no action", for guidance.
    """
    everywhere = levels[:, None].expand(clip.graded.shape)
    if clip.past is not None:
        return model.teacher_forced(clip.past, noisy, everywhere, _dropped(clip.actions, dropped))
    if model.lead:
        return _predict_each(model, clip, noisy, levels, dropped)
    clean = ~clip.graded if context == "clean" else torch.arange(noisy.shape[1], device=noisy.device) < model.given
    seen = torch.where(expand(clean.expand(clip.graded.shape), noisy), clip.latents, noisy)
    return model.restore(seen, everywhere * ~clean, clip.actions, _dropped(clip.actions, dropped))


def masked_mean(values: Float[Tensor, "b t *latent"], graded: Bool[Tensor, "b t"]) -> Scalar:
    """Return the mean over the elements of graded latents; 0 where nothing is graded."""
    weights = expand(graded, values).to(values.dtype).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1)


def clip_means(values: Float[Tensor, "b t *latent"], graded: Bool[Tensor, "b t"]) -> Float[Tensor, "b ..."]:
    """Return the same mean clip by clip, with axes kept."""
    weights = expand(graded, values).to(values.dtype).expand_as(values)
    axes = tuple(range(1, values.ndim))
    return (values * weights).sum(axes, keepdim=True) / weights.sum(axes, keepdim=True).clamp_min(1)


def _noised(
    schedule: NoiseSchedule, clip: Scored, config: DistributionMatchingConfig, generator: torch.Generator
) -> tuple[Latents, Float[Tensor, "b"]]:
    x = clip.latents
    levels = config.levels(len(x), generator).to(x.device)
    eps = torch.randn(x.shape, generator=generator).to(x.device)
    return schedule.mix(x, eps, levels), levels


def _guided(
    teacher: DiffusionModel[Any],
    clip: Scored,
    noisy: Latents,
    levels: Float[Tensor, "b"],
    config: DistributionMatchingConfig,
) -> Latents:
    given = predict_clip(teacher, clip, noisy, levels, config.context)
    if config.guidance == 1:
        return given
    free = predict_clip(teacher, clip, noisy, levels, config.context, dropped=True)
    return torch.lerp(free, given, config.guidance)


def _predict_each(
    model: DiffusionModel[Any], clip: Scored, noisy: Latents, levels: Float[Tensor, "b"], dropped: bool
) -> Latents:
    c, latents = model.lead, clip.latents
    count = latents.shape[1] - c
    stride = clip.actions.shape[1] // (latents.shape[1] - 1)
    windows = [torch.cat([latents[:, i : i + c].detach(), noisy[:, i + c : i + c + 1]], 1) for i in range(count)]
    pressed = torch.stack([clip.actions[:, i * stride : (i + c) * stride] for i in range(count)], 1).flatten(0, 1)
    told = torch.zeros(len(latents) * count, c + 1, device=levels.device)
    told[:, -1] = levels.repeat_interleave(count)
    predicted = model.restore(torch.stack(windows, 1).flatten(0, 1), told, pressed, _dropped(pressed, dropped))
    return torch.cat([latents[:, :c], predicted[:, -1].unflatten(0, (len(latents), count))], 1)


def _dropped(actions: Actions, dropped: bool) -> Bool[Tensor, "b n"] | None:
    return torch.ones(actions.shape[:2], dtype=torch.bool, device=actions.device) if dropped else None
