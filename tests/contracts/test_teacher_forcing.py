"""Every model grades the blocks of a clip as play would meet them: each after what really came before it."""

from dataclasses import replace

import pytest
import torch
from cases import MODELS, build, clip
from torch import Tensor

from hallucade.models.base import DiffusionModel, LatentClip, forced_latents

FRAMES = 9


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> DiffusionModel:
    return build(MODELS[request.param])


def noised(model: DiffusionModel, given: LatentClip, graded: int) -> tuple[Tensor, Tensor]:
    """Return other latents for the clip's end, at levels that differ from block to block."""
    generator = torch.Generator().manual_seed(8)
    b, k = len(given.latents), model.block
    levels = (0.2 + 0.7 * torch.rand(b, graded // k, generator=generator)).repeat_interleave(k, 1)
    return torch.randn(b, graded, *model.latent_shape, generator=generator), levels


def test_one_pass_is_the_stepwise_path(model: DiffusionModel) -> None:
    given = clip(FRAMES)
    for graded in (forced_latents(model, FRAMES), model.block):
        noisy, levels = noised(model, given, graded)
        for dropped in (None, torch.tensor([[False], [True]]).expand(given.actions.shape[:2])):
            together = model.teacher_forced(given, noisy, levels, dropped)
            stepwise = DiffusionModel.teacher_forced(model, given, noisy, levels, dropped)
            torch.testing.assert_close(together, stepwise, rtol=1e-5, atol=2e-5)


def test_a_noisy_block_sees_the_clean_past_and_neither_its_own_clean_self_nor_the_future(model: DiffusionModel) -> None:
    given = clip(FRAMES)
    graded, k = forced_latents(model, FRAMES), model.block
    noisy, levels = noised(model, given, graded)
    before = model.teacher_forced(given, noisy, levels)
    first = FRAMES - graded
    at = first + (graded // k - 1) // 2 * k  # the first latent of a block that is not the last
    latents = given.latents.clone()
    latents[:, at : at + k] += 1
    after = model.teacher_forced(replace(given, latents=latents), noisy, levels)
    moved = (after - before).abs().amax((0, 2, 3, 4))
    assert moved[: at - first + k].max() == 0
    assert moved[at - first + k] > 1e-4  # the next block; those after it as far as the model looks back
    other = noisy.clone()
    other[:, at - first : at - first + k] += 1
    moved = (model.teacher_forced(given, other, levels) - before).abs().amax((0, 2, 3, 4))
    assert moved[at - first : at - first + k].min() > 1e-4
    assert torch.cat([moved[: at - first], moved[at - first + k :]]).max() == 0


def test_gradients_reach_the_clean_past(model: DiffusionModel) -> None:
    """What a block remembers of the truth is trained by those that look back at it."""
    given = clip(FRAMES)
    noisy, levels = noised(model, given, model.block)
    latents = given.latents.clone().requires_grad_()
    model.teacher_forced(replace(given, latents=latents), noisy, levels).sum().backward()
    reached = latents.grad.abs().amax((0, 2, 3, 4))
    assert reached[-model.block :].max() == 0
    assert reached[-model.block - 1] > 0


def test_clips_without_a_block_to_grade_are_refused(model: DiffusionModel) -> None:
    least = max(model.lead, model.grain)
    with pytest.raises(ValueError, match=f"use clips of {least + model.block} or more"):
        forced_latents(model, least + model.block - 1)
    given = clip(least + model.block)
    noisy, levels = noised(model, clip(FRAMES), 2 * model.block)
    with pytest.raises(ValueError, match="choose longer clips, or fewer noisy latents"):
        model.teacher_forced(given, noisy, levels)
