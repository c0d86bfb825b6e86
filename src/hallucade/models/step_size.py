"""Models that are told how far a sampler's step goes, and so can learn to take long ones.

Told a step of length d at level s, such a model answers with the x0 whose straight line leads to where the curved path
really is at s - d: the mean velocity over the step, in x0's clothes. A step of 0 is the slope itself, so that a model
that is not told of steps is the special case. Levels are those before a schedule's shift, as everywhere.

Source: Frans et al. 2024, shortcut models, arXiv:2410.12557; Geng et al. 2025, mean flows, arXiv:2505.13447.
"""

from typing import Any, Protocol, cast, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.diffusion.schedules import NoiseSchedule
from hallucade.models.base import LatentClip
from hallucade.shapes import Action


@runtime_checkable
class StepModel(Protocol):
    """A diffusion model whose calls take a step's length in levels beside the level; None is 0."""

    tells_step: bool
    block: int
    lead: int
    latent_shape: tuple[int, ...]
    schedule: NoiseSchedule

    def denoise(
        self,
        state: Any,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
        step: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b k *latent"]: ...

    def teacher_forced(
        self,
        clip: LatentClip,
        noisy: Float[Tensor, "b p *latent"],
        levels: Float[Tensor, "b p"],
        dropped: Bool[Tensor, "b n"] | None = None,
        step: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b p *latent"]: ...


def step_told(model: Any, by: str) -> StepModel:
    """Return `model` as one that is told of steps, which `by` needs.

    Raises:
        ValueError: it is not.
    """
    if getattr(model, "tells_step", False):
        return cast("StepModel", model)
    raise ValueError(
        f"{by} tells the model how far a step goes, and this {type(model).__name__} has no input for it; build a U-Net "
        "or a transformer with tells_step=True, and take no view of it such as guidance"
    )
