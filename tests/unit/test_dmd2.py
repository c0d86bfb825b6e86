"""Distribution matching on recorded play: against Gaussian data, and with small networks."""

from dataclasses import replace

import pytest
import torch
from gaussian_game import posterior_mean
from gaussian_student import MEAN, SHAPE, SPREAD, AffineStudent, GaussianNetwork, train
from test_self_forcing import TRANSFORMER, UNET, B, batch, losses, network

from hallucade.diffusion.schedules import expand
from hallucade.methods.distribution_matching import Scored, predict_clip
from hallucade.methods.dmd2 import DMD2, DMD2Config
from hallucade.models.base import LatentClip
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

BIDIRECTIONAL = replace(TRANSFORMER, attention="bidirectional", window=32)


def method(config=None, model=TRANSFORMER, others=None, steps: int = 3, seed: int = 0) -> DMD2:
    others = others or model
    configs = {"model": model, "teacher": others, "critic": others}
    networks = {name: network(each, i) for i, (name, each) in enumerate(configs.items())}
    config = config or DMD2Config(student_every=2)
    return config.build(PixelTokenizerConfig().build(), networks, FewStepSamplerConfig(steps=steps).build(), seed)


class Mirror(GaussianNetwork):
    """The exact critic of an affine student that starts from pure noise."""

    def __init__(self, student: AffineStudent) -> None:
        super().__init__()
        self.student = [student]  # in a list: its weights are not the critic's
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def predicted(self, noisy, levels, mean):
        student = self.student[0]
        spread, offset = student.gain[-1].abs().detach(), student.offset[-1].detach()
        return posterior_mean(noisy, expand(levels, noisy), self.schedule, mean + offset, spread) + 0 * self.weight


def test_a_one_step_student_keeps_the_spread_that_regression_would_lose() -> None:
    """x0 of pure noise that is nearest on average has no spread; the one that is distributed as the data has."""
    student = AffineStudent(levels=1)
    with torch.no_grad():
        student.gain[-1], student.offset[-1] = 0.05, 0.7
    networks = {"model": student, "teacher": GaussianNetwork(), "critic": Mirror(student)}
    config = DMD2Config(student_every=1)
    tokenizer, sampler = PixelTokenizerConfig().build(), FewStepSamplerConfig(steps=1).build()
    train(config.build(tokenizer, networks, sampler, 0), 300, 0.02)
    assert student.offset[-1].item() == pytest.approx(0, abs=0.05)
    assert student.gain[-1].abs().item() == pytest.approx(SPREAD, abs=0.06)


def test_blocks_drawn_after_the_real_past_are_scored_after_it() -> None:
    past = LatentClip(torch.randn(2, 4, *SHAPE), torch.zeros(2, 3, 7))
    noisy, levels = torch.randn(2, 2, *SHAPE), torch.tensor([0.3, 0.6])
    clip = Scored(torch.randn(2, 2, *SHAPE), past.actions, torch.ones(2, 2, dtype=torch.bool), past)
    x0 = predict_clip(GaussianNetwork(), clip, noisy, levels)
    expected = GaussianNetwork().predicted(noisy, levels[:, None].expand(2, 2), past.latents[:, 1:3] + MEAN)
    assert torch.equal(x0, expected)
    free = predict_clip(GaussianNetwork(), clip, noisy, levels, dropped=True)
    assert torch.all(free > x0)  # all of its actions are dropped


@pytest.mark.parametrize("start", ["data", "own"])
@pytest.mark.parametrize("model", [TRANSFORMER, replace(TRANSFORMER, block=2), UNET], ids=["axial", "blocks", "u-net"])
def test_each_loss_reaches_its_own_role_at_its_own_pace(model, start) -> None:
    taught = method(DMD2Config(student_every=2, start=start), model=model)
    for step, roles in ((0, ["model", "critic"]), (1, ["critic"])):
        for role, loss in taught.losses(batch(), step):
            assert role == roles.pop(0)
            loss.backward()
            touched = {n for n in ("model", "teacher", "critic") if _touched(getattr(taught, n))}
            assert touched == {role}
            taught.zero_grad()
        assert not roles


def _touched(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_later_steps_start_from_the_student_s_own_prediction() -> None:
    taught = method(DMD2Config(student_every=1, start="own"))
    calls: list[tuple[bool, torch.Tensor, torch.Tensor]] = []
    forced = taught.model.teacher_forced

    def noting(clip, noisy, levels, dropped=None):
        x0 = forced(clip, noisy, levels, dropped)
        calls.append((torch.is_grad_enabled(), levels, x0.detach()))
        return x0

    taught.model.teacher_forced = noting
    step = next(step for step in range(20) if _exit(taught, calls, step) == 2)
    assert [graded for graded, *_ in calls] == [False, False, True]
    assert [levels.unique().item() for _, levels, _ in calls] == pytest.approx(taught.sampler.levels)
    assert {_exit(taught, calls, step) for step in range(20)} == {0, 1, 2}
    assert losses(taught, batch(), step) == losses(taught, batch(), step)


def _exit(taught: DMD2, calls: list, step: int) -> int:
    calls.clear()
    next(taught.losses(batch(), step))
    return len(calls) - 1


def test_recorded_blocks_are_noised_each_to_one_of_the_sampler_s_levels() -> None:
    taught = method(model=replace(TRANSFORMER, block=2))
    clip = LatentClip(taught.tokenizer.encode(batch().frames), batch().actions)
    noisy, levels = taught._start(clip, torch.randn(B, 4, 3, 8, 12), 0, torch.Generator().manual_seed(3))
    assert set(levels.flatten().tolist()) <= set(torch.tensor(taught.sampler.levels).tolist())
    assert torch.equal(levels[:, 0::2], levels[:, 1::2])  # one a block
    assert len(levels.unique()) > 1
    assert noisy.shape == (B, 4, 3, 8, 12)


def test_a_bidirectional_teacher_scores_the_student_s_clip_whole() -> None:
    taught = method(DMD2Config(student_every=1, scored="clip"), others=BIDIRECTIONAL)
    seen: list[torch.Tensor] = []
    forward = taught.teacher.forward
    taught.teacher.forward = lambda noisy, levels, *given: (seen.append(levels), forward(noisy, levels, *given))[1]
    losses(taught, batch(), 0)
    assert (seen[0][:, :1] == 0).all()  # the first latent is given
    assert (seen[0][:, 1:] > 0).all()
    with pytest.raises(ValueError, match=r'the teacher sees whole clips at once, .*; use scored="clip"'):
        method(DMD2Config(), others=BIDIRECTIONAL)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DMD2Config(student_every=0), "student_every is 0; use 1 or more"),
        (lambda: losses(method(), batch(frames=1), 0), "clips of 1 latents"),
        (lambda: method(others=replace(TRANSFORMER, block=2)), "advances by 2 latents and the model by 1"),
        (lambda: DMD2Config.from_json({"type": "DMD2Config", "student_evry": 3}), "unknown field.s. student_evry"),
    ],
)
def test_what_cannot_work_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_a_sampler_of_other_steps_is_refused() -> None:
    networks = {name: network(UNET) for name in ("model", "teacher", "critic")}
    with pytest.raises(ValueError, match="distil for a FewStepSamplerConfig"):
        DMD2Config().build(PixelTokenizerConfig().build(), networks, FlowSamplerConfig().build(), 0)
