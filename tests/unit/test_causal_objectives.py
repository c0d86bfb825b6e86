"""Diffusion forcing by blocks and teacher forcing, on data whose best denoiser is known."""

import pytest
import torch
from gaussian_game import posterior_mean

from hallucade.diffusion.schedules import RectifiedFlow, expand
from hallucade.diffusion.timesteps import LogitNormalLevels, UniformLevels, over_blocks
from hallucade.diffusion.weighting import BellWeight
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.teacher_forcing import TeacherForcingConfig

SHAPE = (2, 3, 5)
SPREAD = 0.6


class Walk(DiffusionModel[torch.Tensor]):
    """The exact denoiser of a walk whose blocks stand SPREAD off the last latent before them; notes what it is told."""

    def __init__(self, block: int = 1, exact: bool = True) -> None:
        super().__init__()
        self.block, self.exact = block, exact
        self.schedule, self.latent_shape = RectifiedFlow(), SHAPE
        self.told: list[torch.Tensor] = []
        self.actions: list[object] = []

    def forward(self, noisy, levels, actions, dropped=None):
        self.told.append(levels)
        return torch.zeros_like(noisy)

    def denoise(self, state, action, noisy, level):
        self.told.append(level)
        self.actions.append(action)
        mean = state if self.exact else torch.zeros(())
        return posterior_mean(noisy, expand(level, noisy), self.schedule, mean, SPREAD).expand(noisy.shape)

    def initial(self, latent):
        return latent[:, -1:]

    def observe(self, state, action, latent):
        return latent[:, -1:]

    def fork(self, state): ...


def walk(block: int, frames: int, batch: int = 64, stride: int = 1) -> LatentClip:
    latents = [torch.randn(batch, 1, *SHAPE).repeat_interleave(frames % block + block, 1)]
    while sum(part.shape[1] for part in latents) < frames:
        latents.append(latents[-1][:, -1:] + SPREAD * torch.randn(batch, block, *SHAPE))
    return LatentClip(torch.cat(latents, 1), torch.randn(batch, (frames - 1) * stride, 7))


def graded(config, model, clip, seed: int = 2):
    return config.build()(model, clip, torch.Generator().manual_seed(seed))["denoising"]


def test_latents_that_fill_no_block_come_first() -> None:
    values = torch.tensor([[1, 2, 3]])
    assert over_blocks(values, 7, 3).tolist() == [[1, 2, 2, 2, 3, 3, 3]]
    assert over_blocks(values, 9, 3).tolist() == [[1, 1, 1, 2, 2, 2, 3, 3, 3]]
    assert torch.equal(over_blocks(values, 3, 1), values)


@pytest.mark.parametrize("clean_share", [0.0, 1.0])
def test_the_latents_of_a_block_share_one_level(clean_share: float) -> None:
    model = Walk(block=3)
    graded(DiffusionForcingConfig(clean_share=clean_share), model, walk(3, 11))
    levels = model.told[0]
    blocks = levels[:, 2:].unflatten(1, (3, 3))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    assert torch.equal(levels[:, 0], levels[:, 1])
    assert (levels[:, [0, 2, 5, 8]].diff(dim=1) != 0).all()


def test_clips_of_one_block_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of 3 latents are one block of 3; diffusion forcing needs 2 or more"):
        graded(DiffusionForcingConfig(), Walk(block=3), walk(3, 3))


def test_the_bell_is_the_public_weight() -> None:
    """Of n timesteps, exp(-2 ((i - n/2) / n)^2) less the least, scaled so that they add up to n."""
    n = 20_000
    level = torch.arange(n, dtype=torch.float64) / n
    public = torch.exp(-2 * ((level * n - n / 2) / n) ** 2)
    public = (public - public.min()) * (n / (public - public.min()).sum())
    torch.testing.assert_close(BellWeight().weight("flow", level, RectifiedFlow()), public, rtol=0, atol=1e-3)


def test_a_bell_with_pure_noise_is_refused() -> None:
    for config in (DiffusionForcingConfig, TeacherForcingConfig):
        with pytest.raises(ValueError, match=r"pure_noise_share is 0\.5, but the bell gives pure noise no weight"):
            config(levels=LogitNormalLevels(pure_noise_share=0.5), level_weight=BellWeight())


@pytest.mark.parametrize("block", [1, 3])
def test_teacher_forcing_cannot_be_beaten_by_who_does_not_look_back(block: int) -> None:
    """The posterior variance of a block after its true past is known, and so is the loss of the exact denoiser."""
    config = TeacherForcingConfig(levels=UniformLevels(), loss_space="x")
    clip = walk(block, 8)
    exact = Walk(block)
    loss = graded(config, exact, clip)
    level = torch.stack(exact.told, 1)
    known = SPREAD**2 * level**2 / ((1 - level) ** 2 * SPREAD**2 + level**2)
    assert loss.item() == pytest.approx(known.mean().item(), rel=0.06)
    assert graded(config, Walk(block, exact=False), clip) > 1.2 * loss


def test_each_block_draws_a_level_of_its_own() -> None:
    model = Walk(block=3)
    graded(TeacherForcingConfig(), model, walk(3, 11))
    levels = torch.stack(model.told, 1)
    assert levels.shape == (64, 2)
    assert (levels.diff(dim=1) != 0).all()


def test_actions_are_dropped_a_block_at_a_time() -> None:
    model = Walk(block=3)
    clip = walk(3, 11, stride=2)
    calls = {share: [] for share in (0.0, 0.5, 1.0)}
    forced = model.teacher_forced
    model.teacher_forced = lambda *given: (calls[share].append(given[3]), forced(*given))[1]
    for share in calls:
        graded(TeacherForcingConfig(action_dropout=share), model, clip)
    assert calls[0.0] == [None]
    some, all_ = calls[0.5][0], calls[1.0][0]
    assert not all_[:, :8].any()
    assert all_[:, 8:].all()
    blocks = some[:, 8:].unflatten(1, (2, 6))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    assert 0.3 < blocks.float().mean() < 0.7


@pytest.mark.parametrize(("name", "value"), [("action_dropout", 1.5), ("motion_weight", -1.0)])
def test_impossible_choices_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        TeacherForcingConfig(**{name: value})


def test_configs_travel_as_json() -> None:
    config = TeacherForcingConfig(level_weight=BellWeight(), action_dropout=0.2)
    assert TeacherForcingConfig.from_json(config.to_json()) == config
