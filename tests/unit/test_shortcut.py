"""Models that are told of steps: their input, their sampler, and how they learn, where the mean velocity is known."""

from dataclasses import replace

import pytest
import torch
from gaussian_game import GaussianGame, draw
from gaussian_student import MEAN, SHAPE, SPREAD, GaussianNetwork, latents_of, walks
from torch import Tensor

from hallucade.actions import ActionSpace, Choice
from hallucade.diffusion.schedules import CosineNoiseConfig, expand
from hallucade.diffusion.timesteps import UniformLevels
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.long_steps import MeanFlowConfig, ShortcutConfig, straight_to
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.shortcut import ShortcutSamplerConfig

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
PICTURE = (3, 8, 12)
MODELS = {
    "u-net": UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16, tells_step=True),
    "transformer": DiffusionTransformerConfig(width=16, depth=2, heads=2, window=4, tells_step=True),
    "transformer, blocks": DiffusionTransformerConfig(
        width=16, depth=2, heads=2, window=6, block=2, layout="full", tells_step=True
    ),
}


def exact(noisy: Tensor, levels: Tensor, steps: Tensor, mean: Tensor, spread: float, schedule) -> Tensor:
    """Return the x0 whose straight line leads where the path of Gaussian data is a step later."""

    def spread_at(level: Tensor) -> Tensor:
        return ((schedule.alpha(level) * spread) ** 2 + schedule.sigma(level) ** 2).sqrt()

    after = levels - steps
    off = (noisy - expand(schedule.alpha(levels), noisy) * mean) * expand(spread_at(after) / spread_at(levels), noisy)
    return straight_to(schedule, noisy, expand(schedule.alpha(after), noisy) * mean + off, levels, after)


class ToldGame(GaussianGame):
    """A Gaussian game that knows the mean velocity of any step; notes the steps that it is told."""

    tells_step = True

    def __init__(self, spread: float) -> None:
        super().__init__(spread)
        self.steps: list[float] = []

    def denoise(self, state, action, noisy, level, step=None):
        assert step is not None
        self.steps.append(float(step[0]))
        return exact(noisy, level, step, self.mean(action), self.spread, self.schedule)


class ToldNetwork(GaussianNetwork):
    """The same of clips; a slope is the posterior mean."""

    tells_step = True

    def teacher_forced(self, clip, noisy, levels, dropped=None, step=None):
        before = clip.latents[:, clip.latents.shape[1] - noisy.shape[1] - 1 : -1]
        slope = self.predicted(noisy, levels, before + MEAN)
        if step is None:
            return slope
        far = exact(noisy, levels, step.clamp_min(1e-4), before + MEAN, SPREAD, self.schedule)
        return torch.where(expand(step > 0, noisy), far, slope)


class ToldStudent(GaussianNetwork):
    """Gains for pairs of a level and a step, each a multiple of 1 / FINEST."""

    tells_step = True
    FINEST = 4

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.zeros(2 * self.FINEST + 1, self.FINEST + 1))

    def teacher_forced(self, clip, noisy, levels, dropped=None, step=None):
        before = clip.latents[:, clip.latents.shape[1] - noisy.shape[1] - 1 : -1]
        steps = torch.zeros_like(levels) if step is None else step
        gain = self.gain[(levels * 2 * self.FINEST).round().long(), (steps * self.FINEST).round().long()]
        return before + MEAN + expand(gain, noisy) * (noisy - expand(1 - levels, noisy) * (before + MEAN))


class GridLevels(UniformLevels):
    """Levels that a student of a table has."""

    def _draw(self, shape, generator):
        return (super()._draw(shape, generator) * 8).ceil() / 8


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_any_number_of_steps_ends_where_the_path_does(steps: int) -> None:
    game = ToldGame(0.7)
    torch.testing.assert_close(draw(ShortcutSamplerConfig(steps=steps), game), game.endpoint(), rtol=0, atol=1e-5)
    assert game.steps == pytest.approx([1 / steps] * steps)


def test_who_is_not_told_of_steps_is_refused() -> None:
    plain = replace(MODELS["u-net"], tells_step=False).build(ACTIONS, PICTURE)
    for use in (
        lambda: ShortcutSamplerConfig().view(plain),
        lambda: draw(ShortcutSamplerConfig(), GaussianGame(0.7)),
        lambda: ShortcutConfig().build()(plain, latents_of(walks(0)), torch.Generator()),
    ):
        with pytest.raises(ValueError, match=r"tells the model how far a step goes, and this .* tells_step=True"):
            use()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_two_half_steps_are_the_whole_step_for_who_knows_the_path(size: int) -> None:
    clip, model, levels = latents_of(walks(0)), ToldNetwork(), torch.full((512, 2), 0.75)
    noisy = model.schedule.mix(clip.latents[:, -2:], torch.randn(512, 2, *SHAPE), levels)
    steps = torch.full_like(levels, 0.75 / size)
    goal = ShortcutConfig(steps=16).build().goal(model, clip, noisy, levels, steps)
    torch.testing.assert_close(goal, model.teacher_forced(clip, noisy, levels, None, steps), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("level", "step"), [(0.9, 0.9), (0.7, 0.3)])
def test_the_mean_flow_s_goal_is_on_average_the_mean_velocity(level: float, step: float) -> None:
    """What is best told of a sample is the goal's mean over all data that it may come from: least squares finds it."""
    x0 = MEAN + SPREAD * torch.randn(1, 60_000, 1, 1, 1)
    eps, model = torch.randn_like(x0), ToldNetwork()
    clip = LatentClip(torch.cat([torch.zeros(1, 1, 1, 1, 1), x0], 1), torch.zeros(1, 60_000, 7))
    model.teacher_forced = lambda clip, noisy, levels, dropped, step: exact(
        noisy, levels, step, torch.full((), MEAN), SPREAD, model.schedule
    )
    levels, steps = torch.full((1, 60_000), level), torch.full((1, 60_000), step)
    goal = MeanFlowConfig().build().goal(model, clip, eps, levels, steps).flatten()
    noisy = model.schedule.mix(x0, eps, levels)
    off = noisy.flatten() - noisy.mean()
    fitted = goal.mean() + (off * (goal - goal.mean())).mean() / off.square().mean() * off
    known = exact(noisy, levels, steps, torch.full((), MEAN), SPREAD, model.schedule).flatten()
    assert (fitted - known).abs().mean() < 0.02


def test_a_student_learns_to_draw_in_one_step_without_a_teacher() -> None:
    """A single slope from pure noise leads to the mean, gain 0; the path leads to the data's own spread."""
    student = ToldStudent()
    objective = ShortcutConfig(steps=4, levels=GridLevels(), loss_space="x", long_share=0.5).build()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    for step in range(150):
        parts = objective(student, latents_of(walks(step, batch=256)), torch.Generator().manual_seed(step))
        optimizer.param_groups[0]["lr"] = 0.1 * min(1, 2 * (1 - step / 150))
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
    euler = torch.ones(())  # what the finest shortcut is made of: slopes of eighths
    for eighth in range(8, 0, -1):
        s = torch.tensor(eighth / 8)
        euler = euler * (1 - (s - (1 - s) * SPREAD**2) / ((1 - s) ** 2 * SPREAD**2 + s**2) / 8)
    assert student.gain[8, 4].item() == pytest.approx(euler.item(), abs=0.04)
    assert student.gain[8, 0].item() == pytest.approx(0.0, abs=0.04)
    assert euler > 0.7 * SPREAD


@pytest.mark.parametrize("config", [ShortcutConfig(), MeanFlowConfig(motion_weight=2.0)], ids=["shortcut", "mean flow"])
@pytest.mark.parametrize("model", MODELS)
def test_networks_learn_from_both_parts(config, model: str) -> None:
    network = built(MODELS[model])
    for batch in (1, 3):
        parts = config.build()(network, clip(7, batch), torch.Generator().manual_seed(1))
        assert set(parts) == {"slope", "long"}
        network.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert set(silent) <= {"null_action"}


def built(config) -> DiffusionModel:
    torch.manual_seed(3)
    network = config.build(ACTIONS, PICTURE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape) + (parameter == 1))
    return network


def clip(frames: int, batch: int = 2) -> LatentClip:
    return LatentClip(torch.rand(batch, frames, *PICTURE) * 2 - 1, torch.rand(batch, frames - 1, ACTIONS.features))


@pytest.mark.parametrize("model", MODELS)
def test_networks_are_told_of_a_step_alike_in_clips_and_in_play(model: str) -> None:
    network, k = built(MODELS[model]), MODELS[model].build(ACTIONS, PICTURE).block
    given, noisy = clip(6), torch.randn(2, k, *PICTURE)
    level = torch.tensor([0.9, 0.5])
    state = network.prefill(LatentClip(given.latents[:, :-k], given.leading_to(1, 6 - k)))
    action = given.leading_to(6 - k, 6)
    told = [network.denoise(state, action, noisy, level, step) for step in (None, 0 * level, level / 2)]
    assert torch.equal(told[0], told[1])  # no step is a slope
    assert (told[2] - told[0]).abs().max() > 1e-3
    levels = level[:, None].expand(2, k)
    forced = network.teacher_forced(given, noisy, levels, None, levels / 2)
    torch.testing.assert_close(forced, told[2], rtol=0, atol=1e-5)
    drawn = list(rollout(network, ShortcutSamplerConfig(steps=2).build(), state, [action], seeded(0, 2)))
    assert drawn[0].shape == noisy.shape


@pytest.mark.parametrize("model", MODELS)
def test_an_input_that_is_off_costs_nothing(model: str) -> None:
    told, plain = (replace(MODELS[model], tells_step=on).build(ACTIONS, PICTURE) for on in (True, False))
    extra = sum(p.numel() for p in told.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra > 0
    assert not [name for name in plain.state_dict() if "step" in name]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ShortcutConfig(steps=6), "steps is 6; .* use 1, 2, 4, 8"),
        (lambda: ShortcutConfig(long_share=1.0), r"long_share is 1\.0"),
        (lambda: MeanFlowConfig(motion_weight=-1.0), r"motion_weight is -1\.0"),
        (lambda: ShortcutSamplerConfig(steps=0), "steps is 0"),
    ],
)
def test_what_cannot_work_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_mean_flows_are_of_straight_paths() -> None:
    model = ToldNetwork(schedule=CosineNoiseConfig(zero_terminal_snr=True).build())
    with pytest.raises(ValueError, match="mean flows are of straight paths"):
        MeanFlowConfig().build()(model, latents_of(walks(0)), torch.Generator().manual_seed(0))


def test_configs_travel_as_json() -> None:
    for config in (ShortcutConfig(steps=16), MeanFlowConfig(), ShortcutSamplerConfig(steps=4), MODELS["transformer"]):
        assert type(config).from_json(config.to_json()) == config
