"""A sampler over a guided model: which guidance, how strong, how clean the memory, and how large a prediction."""

from dataclasses import dataclass, field
from typing import Any

from hallucade.models.base import WorldModel
from hallucade.samplers.base import Sampler, SamplerConfig, denoising
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guidance import ActionGuided, Clipped, HistoryGuided
from hallucade.samplers.history import NoisyHistory


@dataclass(frozen=True, kw_only=True)
class GuidedSamplerConfig(SamplerConfig):
    """Another sampler, drawing from a guided view of the model; what is left at its default costs nothing."""

    sampler: SamplerConfig = field(default_factory=FlowSamplerConfig)
    history_level: float | None = None  # noise mixed into the memory, and told; None leaves both to the model
    action: float = 1.0  # scale of action guidance
    history: float = 1.0  # scale of history guidance
    weaker_history_level: float = 1.0  # of the history that guidance moves away from: 1 is none at all
    limit: float | None = None  # largest latent value that is believed of a prediction; 1 for pixels, None for any

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
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"limit is {self.limit}; it is positive, 1 for pixels, or None for none")

    def build(self) -> Sampler[Any]:
        return self.sampler.build()

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        """Return a guided view of `model`.

        Raises:
            ValueError: it is not a diffusion model.
        """
        network = denoising(model, "guided sampler")
        seen = network if self.history_level is None else NoisyHistory(network, self.history_level)
        if self.action != 1:
            seen = ActionGuided(seen, self.action)
        if self.history != 1:
            seen = HistoryGuided(seen, NoisyHistory(network, self.weaker_history_level), self.history)
        if self.limit is not None:
            seen = Clipped(seen, self.limit)
        return self.sampler.view(seen)
