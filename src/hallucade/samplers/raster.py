"""Drawing a frame of codes one by one, each after those before it."""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.models.base import WorldModel
from hallucade.models.raster import RasterModel
from hallucade.samplers.base import Generators, SamplerConfig
from hallucade.samplers.categorical import CodeChoice
from hallucade.shapes import Action


@dataclass(frozen=True, kw_only=True)
class RasterSamplerConfig(SamplerConfig):
    """How to choose each code."""

    choice: CodeChoice = field(default_factory=CodeChoice)

    def build(self) -> "RasterSampler":
        return RasterSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        if isinstance(model, RasterModel):
            return model
        raise ValueError(
            f"the raster sampler draws codes one after the other, and a {type(model).__name__} does not know those "
            "before each; use the sampler of its recipe, or train token_raster_small"
        )


class RasterSampler:
    """Draws the next block of codes."""

    def __init__(self, config: RasterSamplerConfig) -> None:
        self.config = config

    def __call__(
        self, model: RasterModel[Any], state: Any, action: Action, generators: Generators
    ) -> Int64[Tensor, "b k h w"]:
        def choose(logits: Float[Tensor, "b codes"]) -> Int64[Tensor, "b"]:
            return self.config.choice.draw(logits[:, None], generators)[0][:, 0]

        return model.draw(state, action, choose)
