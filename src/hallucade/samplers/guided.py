"""A sampler over a guided model: which guidance, how strong, and how clean the memory is."""

from dataclasses import dataclass, field
from typing import Any

from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.samplers.base import Sampler, SamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guidance import ActionGuided, HistoryGuided
from hallucade.samplers.history import NoisyHistory


@dataclass(frozen=True, kw_only=True)
class GuidedSamplerConfig(SamplerConfig):
    """Another sampler, drawing from a guided view of the model; what is left at its default costs nothing."""

    sampler: SamplerConfig = field(default_factory=FlowSamplerConfig)
    history_level: float | None = None  # noise mixed into the memory, and told; None leaves both to the model
    action: float = 1.0  # scale of action guidance
    history: float = 1.0  # scale of history guidance
    weaker_history_level: float = 1.0  # of the history that guidance moves away from: 1 is none at all

    def __post_init__(self) -> None:
        if self.history_level is not None and not 0 <= self.history_level < 1:
            raise ValueError(f"history_level is {self.history_level}; it lies in [0, 1), or None for the model's own")
        if not 0 <= self.weaker_history_level <= 1:
            raise ValueError(f"weaker_history_level is {self.weaker_history_level}; it lies between 0 and 1")
        if self.history != 1 and self.weaker_history_level <= (self.history_level or 0):
            raise ValueError(
                f"weaker_history_level is {self.weaker_history_level}, no noisier than the history itself; raise it, "
                "or set history to 1 for no guidance"
            )

    def build(self) -> Sampler[Any]:
        return self.sampler.build()

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        """Return a guided view of `model`.

        Raises:
            ValueError: it is not a diffusion model.
        """
        if not isinstance(model, DiffusionModel):
            raise ValueError(f"{type(model).__name__} is not a diffusion model, which this guidance needs")
        seen: DiffusionModel[Any] = model if self.history_level is None else NoisyHistory(model, self.history_level)
        if self.action != 1:
            seen = ActionGuided(seen, self.action)
        if self.history != 1:
            seen = HistoryGuided(seen, NoisyHistory(model, self.weaker_history_level), self.history)
        return self.sampler.view(seen)
