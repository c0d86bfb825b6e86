"""Another sampler for a run, refused where its training leaves nothing to sample so."""

from dataclasses import replace

from hallucade.objectives.base import ObjectiveConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.choice import SamplingChoice
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig

NOISY_PAST = "train it with DiffusionForcingConfig, whose levels are drawn per frame"


def resampled(config: RunConfig, choice: SamplingChoice) -> RunConfig:
    """Return a run's config with another sampler.

    Raises:
        ValueError: settings that exclude each other, or that need what training never showed; with the remedy.
    """
    sampler = choice.of(config.sampler)
    if sampler != config.sampler:
        _check_action_guidance(config.objective, sampler)
        _check_past(config.objective, sampler)
    return replace(config, sampler=sampler)


def _check_action_guidance(objective: ObjectiveConfig | None, sampler: SamplerConfig) -> None:
    scale = sampler.action if isinstance(sampler, GuidedSamplerConfig) else getattr(sampler, "guidance", 1.0)
    if scale != 1 and getattr(objective, "action_dropout", None) == 0:
        raise ValueError(
            f"action guidance is {scale:g}, away from a prediction without the action, which this run never learned; "
            "train it with --objective.action-dropout 0.1"
        )


def _check_past(objective: ObjectiveConfig | None, sampler: SamplerConfig) -> None:
    """Compare the noise in the past that a sampler shows the network with what training showed it."""
    shown, what = _noisiest_shown(sampler)
    seen = _noisiest_seen(objective)
    if shown > seen:
        raise ValueError(
            f"{what} shows the network a past at noise level {shown:g}, and this run's {type(objective).__name__} "
            f"went up to {seen:g}; {NOISY_PAST}"
        )


def _noisiest_shown(sampler: SamplerConfig) -> tuple[float, str]:
    inner = sampler.sampler if isinstance(sampler, GuidedSamplerConfig) else sampler
    if isinstance(inner, ClipwiseSamplerConfig):
        return 1.0, "a clip drawn at once"
    if isinstance(sampler, GuidedSamplerConfig):
        if sampler.history != 1:
            return sampler.weaker_history_level, "history guidance"
        return sampler.history_level or 0.0, f"history level {sampler.history_level}"
    return 0.0, ""


def _noisiest_seen(objective: ObjectiveConfig | None) -> float:
    """Return the highest noise level of the past in training; 1 for objectives that are not known here."""
    if isinstance(objective, NextFrameConfig):
        return objective.context_noise
    if isinstance(objective, DiffusionForcingConfig) and objective.levels.per == "clip":
        return objective.context_noise if objective.clean_share else 0.0
    return 1.0
