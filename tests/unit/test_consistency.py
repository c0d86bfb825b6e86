"""Consistency distillation on Gaussian data, where the end of the teacher's way is known."""

import copy

import pytest
import torch
from gaussian_student import SHAPE, AffineStudent, GaussianNetwork, latents_of, train, walks, way

from hallucade.diffusion.schedules import RectifiedFlow
from hallucade.methods.consistency import ConsistencyDistillation, ConsistencyDistillationConfig
from hallucade.methods.teacher_path import guided_after_truth
from hallucade.samplers.base import sampling_levels
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

N = 6


def distillation(student=None, teacher=None, **choices) -> ConsistencyDistillation:
    networks = {"model": student or AffineStudent(N), "teacher": teacher or GaussianNetwork()}
    config = ConsistencyDistillationConfig(**{"steps": N, **choices})
    return config.build(PixelTokenizerConfig().build(), networks, FewStepSamplerConfig().build(), 0)


def exact() -> AffineStudent:
    student = AffineStudent(N)
    student.gain.data.copy_(way(sampling_levels(N)).flip(0))  # a gain's number counts from data
    return student


def test_the_end_of_the_teacher_s_way_is_the_only_student_without_loss() -> None:
    ((_, loss),) = distillation(exact()).losses(walks(0), 0)
    assert loss.item() < 1e-10
    other = exact()
    other.gain.data[3] += 0.1
    ((_, loss),) = distillation(other).losses(walks(0), 0)
    assert loss.item() > 1e-5


def test_a_student_of_one_step_learns_where_the_teacher_s_steps_end() -> None:
    """It starts from the best guess of one step, the mean, which has no spread at all."""
    method = distillation(decay=0.8, decay_start=10)
    train(method, steps=160, learning_rate=0.1)
    torch.testing.assert_close(method.model.gain[1:], way(sampling_levels(N)).flip(0)[1:], rtol=0, atol=0.04)
    assert method.model.offset[1:].abs().max() < 0.04


def test_the_target_sees_what_the_teacher_made_one_step_cleaner_after_the_same_past() -> None:
    method = distillation()
    list(method.losses(walks(0), 0))
    (noisy, now), (cleaner, after) = method.teacher.asked[0], method.target.asked[0]
    torch.testing.assert_close(after, now - 1 / N)
    velocity = method.teacher.schedule.velocity(
        GaussianNetwork().teacher_forced(latents_of(walks(0)), noisy, now), noisy, now
    )
    torch.testing.assert_close(cleaner, noisy - velocity / N)
    assert torch.equal(method.model.asked[0][0], noisy)
    assert len(now.unique()) == N


def test_a_block_has_one_level() -> None:
    method = distillation(AffineStudent(N, block=3), GaussianNetwork(block=3))
    list(method.losses(walks(0, frames=9), 0))
    levels = method.teacher.asked[0][1].unflatten(1, (2, 3))
    assert torch.equal(levels, levels[:, :, :1].expand_as(levels))
    assert (levels[:, 0, 0] != levels[:, 1, 0]).any()


def test_guidance_goes_from_free_through_given() -> None:
    teacher, clip = GaussianNetwork(), latents_of(walks(0))
    noisy, levels = torch.randn(512, 2, *SHAPE), torch.rand(512, 2)
    given, free = (teacher.teacher_forced(clip, noisy, levels, dropped) for dropped in (None, True))
    guided = guided_after_truth(teacher, clip, noisy, levels, 3.0)
    torch.testing.assert_close(guided, free + 3 * (given - free))


def moved(method: ConsistencyDistillation, step: int, microbatches: int = 1) -> float:
    """Update the student by one from where the target is, and return the share of it that the target follows."""
    before = float(method.target.offset.detach()[0])
    streams = [method.losses(walks(i), step) for i in range(microbatches)]
    for stream in streams:
        next(stream)
    method.model.offset.data.fill_(before + 1)
    for stream in streams:
        next(stream, None)
    return float(method.target.offset[0]) - before


def test_the_target_is_the_student_at_first_and_then_follows_slowly() -> None:
    method = distillation(decay=0.75, decay_start=2)
    assert [moved(method, step) for step in range(4)] == pytest.approx([1, 1, 0.25, 0.25])


def test_microbatches_of_a_step_move_the_target_once() -> None:
    method = distillation(decay=0.75, decay_start=0)
    assert moved(method, 0, microbatches=3) == pytest.approx(0.25)


def test_the_target_travels_with_a_checkpoint_and_the_student_alone_learns() -> None:
    method = distillation(decay=0.75, decay_start=0)
    moved(method, 0)
    state = copy.deepcopy(method.state_dict())
    other = distillation(decay=0.75, decay_start=0)
    other.load_state_dict(state)
    assert torch.equal(other.target.offset, method.target.offset)
    assert [name for name, p in method.named_parameters() if p.requires_grad] == ["model.gain", "model.offset"]
    assert moved(other, 0) == 0  # the step is done: a preflight or a rollback brings the mark back with the weights


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ConsistencyDistillationConfig(decay=1.0), r"decay is 1\.0"),
        (lambda: ConsistencyDistillationConfig(decay_start=-1), "decay_start is -1"),
        (lambda: ConsistencyDistillationConfig(steps=0), "steps is 0"),
        (lambda: distillation(teacher=GaussianNetwork(block=2)), "advances by 2 latents and the model by 1"),
        (lambda: distillation(teacher=GaussianNetwork(schedule=RectifiedFlow(3.0))), "another noise schedule"),
        (lambda: list(distillation().losses(walks(0, frames=1), 0)), "use clips of 2 or more"),
    ],
)
def test_what_cannot_work_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_configs_travel_as_json() -> None:
    config = ConsistencyDistillationConfig(guidance=3.0)
    assert ConsistencyDistillationConfig.from_json(config.to_json()) == config
