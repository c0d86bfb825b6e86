"""What distillations along a teacher's way from noise to data share."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.models.base import DiffusionModel, LatentClip, forced_latents

PROBED = 11  # levels at which two schedules are compared


def check_alike(model: DiffusionModel[Any], teacher: DiffusionModel[Any]) -> None:
    """Refuse a teacher whose noisy blocks are not the student's.

    Raises:
        ValueError: blocks or schedules differ.
    """
    if teacher.block != model.block:
        raise ValueError(
            f"the teacher advances by {teacher.block} latents and the model by {model.block}; "
            "a causal teacher has the blocks of its student"
        )
    check_schedules(model, teacher)


def check_schedules(model: DiffusionModel[Any], teacher: DiffusionModel[Any]) -> None:
    """Refuse a teacher that means other noise by a level.

    Raises:
        ValueError: the schedules differ.
    """
    levels = torch.linspace(0, 1, PROBED)
    if not torch.allclose(model.schedule.alpha(levels), teacher.schedule.alpha(levels), atol=1e-5):
        raise ValueError("the teacher has another noise schedule than the model; give both the same")


def forced_together(networks: Sequence[DiffusionModel[Any]], latents: int) -> int:
    """Return how many latents at the end of a clip all of the networks can predict by teacher forcing.

    Raises:
        ValueError: none.
    """
    return min(forced_latents(network, latents) for network in networks)


@torch.no_grad()
def guided_after_truth(
    teacher: DiffusionModel[Any],
    clip: LatentClip,
    noisy: Float[Tensor, "b p *latent"],
    levels: Float[Tensor, "b p"],
    guidance: float,
) -> Float[Tensor, "b p *latent"]:
    """Predict x0 of each block after the true ones before it, guided by the actions that lead to it."""
    given = teacher.teacher_forced(clip, noisy, levels)
    if guidance == 1:
        return given
    everything = torch.ones(clip.actions.shape[:2], dtype=torch.bool, device=clip.actions.device)
    return torch.lerp(teacher.teacher_forced(clip, noisy, levels, everything), given, guidance)
