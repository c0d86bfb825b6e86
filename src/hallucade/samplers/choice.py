"""What to sample differently from how a run says: any sampler, its settings, and guidance around it."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hallucade.config import Config
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig

Schedule = Literal["autoregressive", "full_sequence", "pyramid"]
SAMPLERS: dict[str, type[SamplerConfig]] = {"flow": FlowSamplerConfig, "ddim": DDIMSamplerConfig}
CODES = MaskGITSamplerConfig | RasterSamplerConfig  # what chooses codes
HAS = {"order": "--sampler flow has it", "eta": "--sampler ddim has it"}


@dataclass(frozen=True, kw_only=True)
class SamplingChoice(Config):
    """How to sample instead of as the run says; what is left out stays as it is."""

    sampler: Literal["flow", "ddim"] | None = None  # steps along the path's slope, or DDIM; see docs/diffusion.md
    sampling_steps: int | None = None  # denoising steps a frame; of codes, steps that fill a frame
    order: Literal[1, 2] | None = None  # of flow: 1 Euler, 2 Heun
    eta: float | None = None  # of ddim, share of fresh noise: 0 none, 1 as much as DDPM
    shift: float | None = None  # above 1 spends more steps near noise
    limit: float | None = None  # largest latent value that is believed of a prediction; 1 for pixels
    history_level: float | None = None  # noise mixed into the memory, 0 to 1
    action_guidance: float | None = None  # above 1 exaggerates what the action does
    history_guidance: float | None = None  # above 1 exaggerates what the past says
    weaker_history_level: float | None = None  # noise in the past that history guidance moves away from
    schedule: Schedule | None = None  # frame after frame; or clips drawn at once, at one level or the later the noisier
    clip: int | None = None  # latents of a clip that is drawn at once, 16 by default
    temperature: float | None = None  # of codes: 0 takes the likeliest, 1 draws as the network says
    top_k: int | None = None  # of codes: only the likeliest so many
    top_p: float | None = None  # of codes: only the likeliest whose probabilities first add up to this

    def of(self, own: SamplerConfig) -> SamplerConfig:
        """Return a run's `own` sampler with what is chosen here.

        Raises:
            ValueError: settings that no such sampler has, or that exclude each other; the message says what to do.
        """
        if self == SamplingChoice():
            return own
        self._check_weaker(own)
        guidance = own if isinstance(own, GuidedSamplerConfig) else GuidedSamplerConfig(sampler=own)
        inner = guidance.sampler
        if isinstance(inner, FlowSamplerConfig) and inner.guidance != 1:  # guidance over guidance multiplies
            guidance = dataclasses.replace(guidance, action=guidance.action * inner.guidance)
            inner = dataclasses.replace(inner, guidance=1.0)
        chosen = {
            "history_level": self.history_level,
            "action": self.action_guidance,
            "history": self.history_guidance,
            "weaker_history_level": self.weaker_history_level,
            "limit": self.limit,
        }
        drawn = self._scheduled(inner)
        plain = GuidedSamplerConfig(sampler=drawn)
        guided = dataclasses.replace(guidance, sampler=drawn, **_given(chosen))
        return drawn if guided == plain else guided

    def _check_weaker(self, own: SamplerConfig) -> None:
        before = own.history if isinstance(own, GuidedSamplerConfig) else 1.0
        scale = before if self.history_guidance is None else self.history_guidance
        if self.weaker_history_level is not None and scale == 1:
            raise ValueError(
                f"weaker history level is {self.weaker_history_level:g}, and no history guidance moves away from it; "
                "add --history-guidance 1.5, or leave it out"
            )

    def _scheduled(self, own: SamplerConfig) -> SamplerConfig:
        """Return the sampler of blocks, or of clips if they are asked for or the run's own."""
        schedule, clips = self.schedule, own if isinstance(own, ClipwiseSamplerConfig) else None
        if schedule is None and clips is not None:
            schedule = "pyramid" if clips.joint.lag else "full_sequence"
        blocks = _blocks(clips) if clips is not None else own
        if schedule in (None, "autoregressive"):
            if self.clip is not None:
                raise ValueError(f"clip is {self.clip}, and frames are drawn one by one; add --schedule pyramid")
            return self._stepping(blocks)
        if self.sampler == "flow" or self.order is not None:
            raise ValueError(f"clips are drawn at once by DDIM; leave out --sampler flow and --order, or {_ONE_BY_ONE}")
        found = self._stepping(_with_class(DDIMSamplerConfig, blocks))
        assert isinstance(found, DDIMSamplerConfig)
        if found.steps < 2:
            raise ValueError(f"a {schedule} of {found.steps} step; add --sampling-steps 10, or {_ONE_BY_ONE}")
        lag = 1 if schedule == "pyramid" else 0
        joint = JointSamplerConfig(steps=found.steps, lag=lag, eta=found.eta, shift=found.shift)
        own_clip = clips.clip if clips is not None else ClipwiseSamplerConfig().clip
        return ClipwiseSamplerConfig(joint=joint, clip=own_clip if self.clip is None else self.clip)

    def _stepping(self, own: SamplerConfig) -> SamplerConfig:
        """Return the sampler of single blocks with the chosen settings."""
        kept = self._choosing(own if self.sampler is None else _with_class(SAMPLERS[self.sampler], own))
        chosen = _given({"steps": self.sampling_steps, "order": self.order, "eta": self.eta, "shift": self.shift})
        has = {field.name for field in dataclasses.fields(kept)}
        for name in chosen:
            if name not in has:
                remedy = (
                    "" if isinstance(kept, CODES) else HAS.get(name, "add --sampler flow or --sampler ddim") + ", or "
                )
                raise ValueError(f"{type(kept).__name__} has no {name}; {remedy}leave it out")
        return dataclasses.replace(kept, **chosen)

    def _choosing(self, own: SamplerConfig) -> SamplerConfig:
        """Return the sampler with what is chosen of how it chooses codes."""
        chosen = _given({name: getattr(self, name) for name in ("temperature", "top_k", "top_p")})
        if not chosen:
            return own
        if not isinstance(own, CODES):
            raise ValueError(
                f"{type(own).__name__} chooses no codes, and has no {' and no '.join(chosen)}; leave it out"
            )
        return dataclasses.replace(own, choice=dataclasses.replace(own.choice, **chosen))


_ONE_BY_ONE = "choose --schedule autoregressive"


def _with_class(kind: type[SamplerConfig], own: SamplerConfig) -> SamplerConfig:
    """Return a sampler of this kind, with the steps and the shift of the run's own."""
    if isinstance(own, kind):
        return own
    shared = {name: getattr(own, name) for name in ("steps", "shift") if hasattr(own, name)}
    return kind(**shared)


def _blocks(clips: ClipwiseSamplerConfig) -> DDIMSamplerConfig:
    """Return what draws single blocks as `clips` are drawn."""
    return DDIMSamplerConfig(steps=clips.joint.steps, eta=clips.joint.eta, shift=clips.joint.shift)


def _given(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if value is not None}
