"""Trajectories on disk and what a student learns from them, on Gaussian data, where every way's end is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gaussian_student import MEAN, SHAPE, AffineStudent, GaussianNetwork, latents_of, train, walks, way

from hallucade.diffusion.schedules import RectifiedFlow
from hallucade.methods.ode_initialisation import OdeInitialisation, OdeInitialisationConfig
from hallucade.methods.trajectories import (
    TrajectoryConfig,
    TrajectoryFolder,
    TrajectorySource,
    draw_trajectories,
    record_trajectories,
)
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

N = 6
CONFIG = TrajectoryConfig(steps=N)
SOURCE = TrajectorySource(teacher="one", play="walks", entries=3)


class Together(GaussianNetwork):
    """A bidirectional teacher of independent latents; notes the levels that it is told."""

    def forward(self, noisy, levels, actions, dropped=None):
        self.asked.append((noisy, levels))
        return self.predicted(noisy, levels, torch.full((), MEAN))


def record(folder: Path, config=CONFIG, source=SOURCE, teacher=None, clip_at=None, **ranks) -> Path:
    clip_at = clip_at or (lambda entry: latents_of(walks(entry)))
    record_trajectories(folder, teacher or GaussianNetwork(), clip_at, config, source, **ranks)
    return folder


def method(folder: Path, student=None, steps: int = 2, sampler=None) -> OdeInitialisation:
    networks = {"model": student or AffineStudent(N)}
    config = OdeInitialisationConfig(trajectories=str(folder))
    sampler = sampler or FewStepSamplerConfig(steps=steps)
    return config.build(PixelTokenizerConfig().build(), networks, sampler.build(), 0)


def test_ways_end_where_the_teacher_s_steps_lead() -> None:
    clip = latents_of(walks(0))
    drawn = draw_trajectories(GaussianNetwork(), clip, CONFIG, torch.Generator().manual_seed(4))
    mean = (clip.latents[:, :-1] + MEAN).unsqueeze(1)
    alpha = 1 - torch.tensor(CONFIG.passed).reshape(-1, 1, 1, 1, 1)
    offs = drawn.ways - alpha * mean  # of the mean at each level
    torch.testing.assert_close(offs[:, -1:].expand(offs.shape), offs * way(CONFIG.passed).reshape(-1, 1, 1, 1, 1))
    assert drawn.ways.shape == (512, N + 1, 2, *SHAPE)
    assert abs(drawn.ways[:, 0].std() - 1) < 0.05


def test_a_bidirectional_teacher_draws_all_but_the_given_latents_together() -> None:
    teacher, clip = Together(), latents_of(walks(0, frames=5))
    config = replace(CONFIG, history="noisy", given=2, keep=(1.0, 0.5))
    drawn = draw_trajectories(teacher, clip, config, torch.Generator().manual_seed(4))
    assert drawn.ways.shape == (512, 3, 3, *SHAPE)
    for (noisy, levels), level in zip(teacher.asked, config.passed, strict=False):
        assert torch.equal(noisy[:, :2], clip.latents[:, :2])
        assert levels[0].tolist() == pytest.approx([0, 0, level, level, level])
    gains = way(config.passed)
    torch.testing.assert_close(drawn.ways[:, 2] - MEAN, gains[0] * drawn.ways[:, 0])  # pure noise has no mean
    torch.testing.assert_close(drawn.ways[:, 2] - MEAN, gains[3] * (drawn.ways[:, 1] - 0.5 * MEAN))


def test_a_student_of_two_steps_learns_the_ends(tmp_path: Path) -> None:
    taught = method(record(tmp_path))
    (_, before), *_ = taught.losses(walks(0), 0)
    train(taught, steps=60, learning_rate=0.15)
    (_, after), *_ = taught.losses(walks(0), 0)
    gains = way(CONFIG.passed)
    torch.testing.assert_close(taught.model.gain[[6, 3]], gains[[0, 3]], rtol=0, atol=0.02)
    assert after < 0.02 * before
    assert (taught.model.gain[[1, 2, 4, 5]] == 0).all()  # no step of its own starts there


def test_a_student_of_a_noisy_history_sees_given_latents_clean_and_each_block_at_its_own_level(tmp_path: Path) -> None:
    config = replace(CONFIG, history="noisy", given=1)
    record(tmp_path, config, teacher=Together(), clip_at=lambda entry: latents_of(walks(entry, frames=7)))
    student = Together(block=3)
    list(method(tmp_path, student).losses(walks(0), 0))
    noisy, levels = student.asked[0]
    assert (levels[:, 0] == 0).all()
    assert set(levels[:, 1:].unique().tolist()) == {1.0, 0.5}
    blocks = levels[:, 1:].unflatten(1, (2, 3))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    assert (blocks[:, 0, 0] != blocks[:, 1, 0]).any()
    assert noisy[:, 1:].std() > 0


def test_a_recording_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, halves = record(tmp_path / "whole"), tmp_path / "halves"

    def fails_at(entry: int):
        if entry == 2:
            raise KeyboardInterrupt
        return latents_of(walks(entry))

    with pytest.raises(KeyboardInterrupt):
        record(halves, clip_at=fails_at)
    with pytest.raises(ValueError, match="holds 2 of 3 batches of trajectories; let the recording finish"):
        TrajectoryFolder(halves)
    asked: list[int] = []
    record(halves, clip_at=lambda entry: (asked.append(entry), latents_of(walks(entry)))[1])
    assert asked == [2]
    assert {path.name: path.read_bytes() for path in halves.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_two_processes_fill_one_folder(tmp_path: Path) -> None:
    for rank in (1, 0):
        record(tmp_path / "shared", rank=rank, world=2)
    alone, shared = TrajectoryFolder(record(tmp_path / "alone")), TrajectoryFolder(tmp_path / "shared")
    assert torch.equal(shared[1].ways, alone[1].ways)
    assert not torch.equal(shared[0].ways, shared[1].ways)


def test_other_ways_do_not_go_into_the_same_folder(tmp_path: Path) -> None:
    record(tmp_path)
    others = (
        {"source": replace(SOURCE, teacher="two")},
        {"config": replace(CONFIG, steps=12)},
        {"config": replace(CONFIG, guidance=3.0)},
        {"teacher": GaussianNetwork(schedule=RectifiedFlow(3.0))},
    )
    for other in others:
        with pytest.raises(ValueError, match=r"was begun with .* choose another folder"):
            record(tmp_path, **other)


def test_damaged_ways_are_never_handed_out(tmp_path: Path) -> None:
    path = record(tmp_path) / "00000001.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    folder = TrajectoryFolder(tmp_path)
    assert folder[0].ways.isfinite().all()
    with pytest.raises(ValueError, match=r"00000001.safetensors is damaged .* record again"):
        folder[1]


def test_students_that_cannot_learn_from_a_folder_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "all")
    record(tmp_path / "some", replace(CONFIG, keep=(1.0, 0.5)))
    method(tmp_path / "some", steps=2)
    wide = AffineStudent(N)
    wide.latent_shape = (3, 8, 12)
    refusals = [
        (lambda: method(tmp_path / "none"), "none holds no trajectories"),
        (lambda: method(tmp_path / "all", steps=4), r"level 0\.75 is not on the way of .*; the nearest is"),
        (lambda: method(tmp_path / "some", steps=3), r"level 0\.666667 is not on"),
        (lambda: method(tmp_path / "all", sampler=FlowSamplerConfig()), "distil for a FewStepSamplerConfig"),
        (lambda: method(tmp_path / "all", wide), r"holds latents of \(1, 1, 2\) and the model dreams \(3, 8, 12\)"),
        (lambda: method(tmp_path / "all", AffineStudent(N, block=2)), "advances by 1 latents and the model by 2"),
        (lambda: method(tmp_path / "all", AffineStudent(N, schedule=RectifiedFlow(3.0))), "another noise schedule"),
        (lambda: TrajectoryConfig(keep=(0.9,)), r"level 0\.9 is not on the teacher's way"),
        (lambda: TrajectoryConfig(given=0), "given is 0"),
    ]
    for make, told in refusals:
        with pytest.raises(ValueError, match=told):
            make()


def test_configs_travel_as_json() -> None:
    config = TrajectoryConfig(history="noisy", keep=(1.0, 0.5))
    assert TrajectoryConfig.from_json(config.to_json()) == config
    ours = OdeInitialisationConfig(trajectories="somewhere")
    assert OdeInitialisationConfig.from_json(ours.to_json()) == ours
