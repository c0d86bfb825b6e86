"""Runs that train low-rank additions: from a base run's folder to weights that are played and shared without it."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_recipe import tiny_recipe

from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.lora import LoRAConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.load import export, find_checkpoint, load
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.samples import SampleVideos
from hallucade.recipes.train import train
from hallucade.rollout import World, dream
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.training.checkpoint import CheckpointError, CheckpointFolder
from hallucade.training.curriculum import Stage
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.trainer import Trainer

MODEL = DiffusionTransformerConfig(width=16, depth=2, heads=2, patch=8, window=5)
LORA = LoRAConfig(rank=2, alpha=4.0, layers=("blocks.*",))


def base() -> RunConfig:
    config = tiny_recipe()
    optimizer = replace(config.trainer.optimizer, learning_rate=1e-2)
    return replace(
        config,
        focus=None,
        model=MODEL,
        objective=DiffusionForcingConfig(),
        stages=(Stage(steps=3, frames=7, batch=2),),
        trainer=replace(config.trainer, steps=3, checkpoint_every=99, optimizer=optimizer),
        sample_every=99,
        prompt_frames=2,
    )


def tuned(steps: int = 4) -> RunConfig:
    config = base()
    trainer = replace(config.trainer, steps=steps, checkpoint_every=2)
    return replace(config, lora=LORA, stages=(replace(config.stages[0], steps=steps),), trainer=trainer, sample_every=2)


def distilled() -> RunConfig:
    method = SelfForcingConfig(prompt=2, student_every=2)
    return replace(tuned(), objective=None, method=method, sampler=FewStepSamplerConfig(steps=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run that is the base, and another one."""
    folder = tmp_path_factory.mktemp("additions")
    store = record(RecordingConfig(frames=1_500, episode_length=60), folder / "store")
    train(base(), store, folder / "base", progress=False)
    other = replace(base(), trainer=replace(base().trainer, seed=5))
    train(other, store, folder / "other", progress=False)
    return folder


def tune(folder: Path, run: Path, config: RunConfig | None = None, resume: bool = False, **runs: Path) -> int:
    store = EpisodeStore(folder / "store")
    return train(config or tuned(), store, run, networks=runs, resume=resume, progress=False).step


def dreamed(world: World) -> torch.Tensor:
    actions = world.actions.idle[None, None].repeat(5, 1)
    return torch.cat(list(dream(world, world.prompts[:1], actions)), 1)


def test_only_additions_are_in_a_checkpoint_and_the_run_is_played_with_them(folder: Path, tmp_path: Path) -> None:
    tune(folder, tmp_path / "run", model=folder / "base")
    raw = CheckpointFolder(tmp_path / "run" / CHECKPOINTS).load()
    assert {name.rpartition(".")[2] for name in raw.weights} == {"lora_down", "lora_up"}
    assert {key.split("/")[-2].rpartition(".")[2] for key in raw.training if "optimizer" in key} == {
        "lora_down",
        "lora_up",
    }
    whole, plain = (find_checkpoint(run)[1].weights for run in (tmp_path / "run", folder / "base"))
    assert whole.keys() == plain.keys()
    changed = {name for name in whole if not torch.equal(whole[name], plain[name])}
    assert changed
    assert all(name.startswith("model.blocks.") and name.endswith(".weight") for name in changed)


def test_an_exported_run_needs_no_base(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder / "base", tmp_path / "base"))
    tune(folder, tmp_path / "run", model=own)
    before = dreamed(load(tmp_path / "run", "cpu"))
    shared = export(tmp_path / "run", tmp_path / "shared")
    shutil.rmtree(own)
    assert torch.equal(dreamed(load(shared, "cpu")), before)
    with pytest.raises(CheckpointError, match=r"run holds additions .* another run \(.*base does not exist.*export"):
        load(tmp_path / "run", "cpu")


def test_additions_to_additions_add_up(folder: Path, tmp_path: Path) -> None:
    """The second run's base is the first run's merged weights: its first checkpoint is the first run itself."""
    tune(folder, tmp_path / "first", model=folder / "base")
    keep_all = replace(tuned(), trainer=replace(tuned().trainer, keep=9))
    tune(folder, tmp_path / "second", keep_all, model=tmp_path / "first")
    start = tmp_path / "second" / CHECKPOINTS / "step_00000000"
    fresh, first = (find_checkpoint(run)[1].weights for run in (start, tmp_path / "first"))
    assert all(torch.equal(fresh[name], first[name]) for name in first)


@pytest.mark.parametrize("kind", ["objective", "method"])
def test_four_steps_are_two_and_two_more_after_resume(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    runs = {"model": folder / "base"} | ({"teacher": folder / "base"} if kind == "method" else {})
    config = distilled() if kind == "method" else tuned()
    tune(folder, tmp_path / "whole", config, **runs)

    def stop(self: SampleVideos, step: int, trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleVideos, "__call__", stop)
        assert tune(folder, tmp_path / "halves", config, **runs) == 2
    torch.manual_seed(77)
    assert tune(folder, tmp_path / "halves", config, resume=True) == 4  # bases are where they were
    ours, theirs = (CheckpointFolder(tmp_path / run / CHECKPOINTS).load() for run in ("halves", "whole"))
    assert {name.split(".")[0] for name in ours.weights} == {"model"} | ({"critic"} if kind == "method" else set())
    for kept in ("weights", "training"):
        assert all(torch.equal(value, getattr(theirs, kept)[name]) for name, value in getattr(ours, kept).items())


def test_what_additions_cannot_be_made_to_is_refused(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"lora\.rank is 2, .* name their run with --start"):
        tune(folder, run)
    with pytest.raises(ValueError, match=r"'heads\.\*' names no linear layer of the DiffusionTransformer; it has"):
        tune(folder, run, replace(tuned(), lora=replace(LORA, layers=("heads.*",))), model=folder / "base")
    assert not run.exists()
    tune(folder, run, model=folder / "base")
    with pytest.raises(ValueError, match=r"the model of .*other has the weights \w+ and the run began with \w+"):
        tune(folder, run, resume=True, model=folder / "other")
