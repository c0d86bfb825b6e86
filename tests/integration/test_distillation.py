"""A run that learns from another network: from its teacher's folder to a folder that can be played alone."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_recipe as tiny_recipe_module
import torch
from tiny_recipe import tiny_recipe

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.unet import UNetConfig
from hallucade.recipes.load import export, find_checkpoint, load, read_config
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.samples import SampleVideos
from hallucade.recipes.train import train
from hallucade.rollout import Session
from hallucade.samplers.few_step import FewStepSampler, FewStepSamplerConfig
from hallucade.training.checkpoint import Checkpoint, CheckpointError, CheckpointFolder, read_checkpoint
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer import Trainer, TrainingResult

UNET = UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16)


def taught(steps: int = 4, model: UNetConfig = UNET) -> RunConfig:
    config = tiny_recipe()
    return replace(
        config,
        focus=None,
        recipe="taught",
        model=model,
        objective=None,
        method=SelfForcingConfig(prompt=2, student_every=2),
        sampler=FewStepSamplerConfig(steps=2),
        stages=(Stage(steps=steps, frames=5, batch=2),),
        trainer=replace(
            config.trainer,
            steps=steps,
            checkpoint_every=2,
            role_optimizers={"critic": OptimizerConfig(learning_rate=2e-4, muon=False)},
            schedule=WarmupStableDecayConfig(warmup=1, decay=0.0),
        ),
        sample_every=2,
        prompt_frames=2,
    )


def teaching(steps: int = 2, seed: int = 0, model: UNetConfig = UNET) -> RunConfig:
    config = tiny_recipe()
    return replace(
        config,
        focus=None,
        model=model,
        stages=(Stage(steps=steps, frames=4, batch=2),),
        trainer=replace(config.trainer, steps=steps, seed=seed),
        sample_every=99,
        prompt_frames=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a teacher of it, a wider network, and a store of wider frames."""
    folder = tmp_path_factory.mktemp("taught")
    store = record(RecordingConfig(frames=1_500, episode_length=60), folder / "store")
    train(teaching(), store, folder / "teacher", progress=False)
    train(teaching(seed=1, model=replace(UNET, widths=(16,))), store, folder / "wide", progress=False)
    record(RecordingConfig(frames=1_500, episode_length=60, frame_size=32), folder / "wider_store")
    return folder


Distil = Callable[..., TrainingResult]


@pytest.fixture
def distil(folder: Path) -> Distil:
    def distil(run: Path, config: RunConfig | None = None, resume: bool = False, **runs: Path) -> TrainingResult:
        store = EpisodeStore(folder / "store")
        return train(config or taught(), store, run, networks=runs, resume=resume, progress=False)

    return distil


def newest(run: Path) -> Checkpoint:
    return CheckpointFolder(run / CHECKPOINTS).load()


def owners(checkpoint: Checkpoint) -> set[str]:
    return {name.split(".")[0] for name in checkpoint.weights}


def test_a_distilled_run_is_played_from_its_folder_alone(folder: Path, tmp_path: Path, distil: Distil) -> None:
    teacher = Path(shutil.copytree(folder / "teacher", tmp_path / "teacher"))
    distil(tmp_path / "run", teacher=teacher)
    shutil.rmtree(teacher)
    shared = export(tmp_path / "run", tmp_path / "shared")
    for place in (tmp_path / "run", shared):
        world = load(place, "cpu")
        assert isinstance(world.sampler, FewStepSampler)
        assert Session(world, world.prompts[0]).step(world.actions.idle).shape == (1, 1, 24, 24, 3)
    assert owners(find_checkpoint(shared)[1]) == {"model"}


def test_checkpoints_hold_the_critic_and_not_the_teacher(folder: Path, tmp_path: Path, distil: Distil) -> None:
    distil(tmp_path / "run", teacher=folder / "teacher")
    checkpoint = newest(tmp_path / "run")
    assert owners(checkpoint) == {"model", "critic"}
    assert {name.split(".")[0] for name in checkpoint.training if name.startswith("raw/")} == {"raw/model"}
    origin = read_config(tmp_path / "run", checkpoint).networks["teacher"]
    assert (origin.run, origin.model) == (str(folder / "teacher"), UNET)


def test_networks_start_where_they_are_told_to(folder: Path, tmp_path: Path, distil: Distil) -> None:
    """At the first checkpoint, before any step, roles hold the weights of the runs that are named."""
    config = replace(taught(), trainer=replace(taught().trainer, keep=9))
    distil(tmp_path / "run", config, teacher=folder / "teacher", model=folder / "teacher", critic=folder / "wide")
    start = read_checkpoint(CheckpointFolder(tmp_path / "run" / CHECKPOINTS).path(0))
    for role, run in (("model", "teacher"), ("critic", "wide")):
        given = {name.removeprefix("model."): w for name, w in newest(folder / run).weights.items()}
        ours = {n.removeprefix(f"{role}."): w for n, w in start.weights.items() if n.startswith(f"{role}.")}
        assert ours.keys() == given.keys()
        assert all(torch.equal(ours[name], given[name]) for name in given)


def test_a_training_from_recorded_play_starts_at_a_run_that_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, start = str(Path(tiny_recipe_module.__file__)), str(tmp_path / "none")
    with pytest.raises(SystemExit):
        main(["train", recipe, "--store", str(folder / "store"), "--out", str(tmp_path / "run"), "--start", start])
    assert "the model: " in (said := " ".join(capsys.readouterr().err.split()))
    assert "name its place with --start" in said
    config = replace(teaching(), trainer=replace(teaching().trainer, keep=9))
    store = EpisodeStore(folder / "store")
    train(config, store, tmp_path / "run", networks={"model": folder / "teacher"}, progress=False)
    start_of = read_checkpoint(CheckpointFolder(tmp_path / "run" / CHECKPOINTS).path(0)).weights
    assert all(torch.equal(w, start_of[n]) for n, w in newest(folder / "teacher").weights.items())


@pytest.mark.parametrize("critic", [{}, {"critic": "wide"}], ids=["the teacher's copy", "its own"])
def test_four_steps_are_two_and_two_more_after_resume(
    folder: Path, tmp_path: Path, distil: Distil, monkeypatch: pytest.MonkeyPatch, critic: dict[str, str]
) -> None:
    runs = {"teacher": folder / "teacher", **{role: folder / run for role, run in critic.items()}}
    distil(tmp_path / "whole", **runs)

    def stop(self: SampleVideos, step: int, trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleVideos, "__call__", stop)
        assert distil(tmp_path / "halves", **runs).step == 2
    torch.manual_seed(77)  # a new process draws other weights, and must not keep them
    assert distil(tmp_path / "halves", resume=True).step == 4  # the teacher is where it was
    for kind in ("weights", "training"):
        ours, theirs = (getattr(newest(tmp_path / run), kind) for run in ("halves", "whole"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_run_goes_on_with_the_teacher_that_it_began_with(folder: Path, tmp_path: Path, distil: Distil) -> None:
    teacher = Path(shutil.copytree(folder / "teacher", tmp_path / "teacher"))
    distil(tmp_path / "run", teacher=teacher)
    moved = teacher.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"the teacher: .*teacher does not exist.*name its place with --teacher"):
        distil(tmp_path / "run", resume=True)
    assert distil(tmp_path / "run", resume=True, teacher=moved).step == 4
    with pytest.raises(ValueError, match=r"has the weights \w+ and the run began with \w+; give the same network"):
        distil(tmp_path / "run", resume=True, teacher=folder / "wide")


def test_networks_that_do_not_fit_are_refused_before_training(folder: Path, tmp_path: Path, distil: Distil) -> None:
    run, teacher = tmp_path / "run", folder / "teacher"
    other = EpisodeStore(folder / "wider_store")
    refusals = [
        (lambda: distil(run), "taught learns from a teacher; name its run with --teacher"),
        (lambda: distil(run, teacher=tmp_path / "none"), "the teacher: .*none does not exist"),
        (lambda: distil(run, teacher=teacher, coach=teacher), "a coach is given, and taught has no use for one"),
        (lambda: distil(run, teaching(), teacher=teacher), "a teacher is given, and tiny_recipe has no use for one"),
        (lambda: distil(run, teacher=teacher, model=folder / "wide"), r"does not fit UNet: .* there and .* here"),
        (lambda: train(taught(), other, run, networks={"teacher": teacher}, progress=False), "24x24 pixels and the"),
    ]
    for make, told in refusals:
        with pytest.raises(ValueError, match=told):
            make()
    assert not run.exists()


def test_a_recipe_is_trained_by_an_objective_or_by_a_method() -> None:
    with pytest.raises(ValueError, match="'taught' has neither of objective and method"):
        replace(taught(), method=None)
    with pytest.raises(ValueError, match="'taught' has both of objective and method"):
        replace(taught(), objective=teaching().objective)
    assert RunConfig.from_json(taught().to_json()) == taught()
