"""Causal pre-stages from a teacher's folder to a student that is played: resumed to the same bits."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_recipe import tiny_recipe

from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import MethodConfig
from hallucade.methods.consistency import ConsistencyDistillationConfig
from hallucade.methods.ode_initialisation import OdeInitialisationConfig
from hallucade.methods.trajectories import TrajectoryConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.long_steps import ShortcutConfig
from hallucade.recipes.load import load
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.samples import SampleVideos
from hallucade.recipes.train import train
from hallucade.recipes.trajectories import record_run_trajectories
from hallucade.rollout import Session
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.shortcut import ShortcutSamplerConfig
from hallucade.training.checkpoint import CheckpointFolder
from hallucade.training.curriculum import Stage
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.schedules import WarmupStableDecayConfig

UNET = UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16)


def tiny(steps: int, **choices) -> RunConfig:
    config = tiny_recipe()
    schedule = WarmupStableDecayConfig(warmup=1, decay=0.0)
    trainer = replace(config.trainer, steps=steps, checkpoint_every=2, schedule=schedule)
    settings = {"focus": None, "model": UNET, "sample_every": 2, "prompt_frames": 2, "trainer": trainer}
    return replace(config, stages=(Stage(steps=steps, frames=5, batch=2),), **settings | choices)


def taught(method: MethodConfig) -> RunConfig:
    return tiny(4, objective=None, method=method, sampler=FewStepSamplerConfig(steps=2))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    folder = tmp_path_factory.mktemp("play") / "store"
    return record(RecordingConfig(frames=1_500, episode_length=60), folder)


@pytest.fixture(scope="module")
def teacher(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("taught") / "teacher"
    train(tiny(2), store, run, progress=False)
    return run


def test_a_consistency_distillation_resumes_with_its_target(
    store: EpisodeStore, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = taught(ConsistencyDistillationConfig(steps=4, decay=0.5, decay_start=1))
    train(config, store, tmp_path / "whole", networks={"teacher": teacher}, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(SampleVideos, "__call__", lambda *given: os.kill(os.getpid(), signal.SIGTERM))
        assert train(config, store, tmp_path / "halves", networks={"teacher": teacher}, progress=False).step == 2
    torch.manual_seed(77)  # a new process draws other weights, and must not keep them
    assert train(config, store, tmp_path / "halves", resume=True, progress=False).step == 4
    ours, theirs = (CheckpointFolder(tmp_path / run / CHECKPOINTS).load() for run in ("halves", "whole"))
    assert {name.split(".")[0] for name in theirs.weights} == {"model", "target", "followed"}
    assert all(torch.equal(value, ours.weights[name]) for name, value in theirs.weights.items())
    world = load(tmp_path / "halves", "cpu")
    assert Session(world, world.prompts[0]).step(world.actions.idle).shape == (1, 1, 24, 24, 3)


def test_a_student_learns_from_a_folder_of_trajectories_alone(
    store: EpisodeStore, teacher: Path, tmp_path: Path
) -> None:
    config = taught(OdeInitialisationConfig(trajectories=str(tmp_path / "ways")))
    ways = TrajectoryConfig(steps=4, keep=(1.0, 0.5))
    record_run_trajectories(config, store, teacher, tmp_path / "ways", ways, entries=2)
    assert train(config, store, tmp_path / "run", progress=False).step == 4
    assert load(tmp_path / "run", "cpu").device.type == "cpu"
    with pytest.raises(ValueError, match=r"begun with entries 2, now 3; choose another folder"):
        record_run_trajectories(config, store, teacher, tmp_path / "ways", ways, entries=3)
    other = record(RecordingConfig(frames=1_500, episode_length=60, frame_size=32), tmp_path / "wider")
    with pytest.raises(ValueError, match="knows other actions or frames than the store"):
        record_run_trajectories(config, other, teacher, tmp_path / "other", ways, entries=2)


def test_shortcuts_train_and_play_without_a_teacher(store: EpisodeStore, tmp_path: Path) -> None:
    model = replace(UNET, tells_step=True)
    config = tiny(2, model=model, objective=ShortcutConfig(steps=4), sampler=ShortcutSamplerConfig(steps=2))
    train(config, store, tmp_path / "run", progress=False)
    world = load(tmp_path / "run", "cpu")
    assert Session(world, world.prompts[0]).step(world.actions.idle).shape == (1, 1, 24, 24, 3)
