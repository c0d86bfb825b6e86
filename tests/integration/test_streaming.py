"""Streaming long tuning from a recipe: on the command line, through an interruption, and refused before it begins."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_recipe import tiny_recipe

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods import matched_student, self_forcing
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.models.base import WorldModelConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.load import export, find_checkpoint, load
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.samples import SampleVideos
from hallucade.recipes.train import train, trained_for
from hallucade.rollout import Session
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.training.checkpoint import Checkpoint, CheckpointFolder
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer import Trainer

UNET = UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16)
TRANSFORMER = DiffusionTransformerConfig(width=16, depth=2, heads=2, window=4, patch=8, sink=1, layout="full")
MODELS = {"u-net": UNET, "transformer": TRANSFORMER}


def streamed(model: WorldModelConfig = UNET, accumulate: int = 1) -> RunConfig:
    """Five steps over sequences of three chunks: the second one is in its middle at the end."""
    config = tiny_recipe()
    return replace(
        config,
        recipe="streamed",
        focus=None,
        model=model,
        objective=None,
        method=StreamingLongTuningConfig(prompt=2, student_every=2, chunk=5, overlap=2),
        sampler=FewStepSamplerConfig(steps=2),
        stages=(Stage(steps=5, frames=11, batch=2),),
        trainer=replace(
            config.trainer,
            steps=5,
            accumulate=accumulate,
            checkpoint_every=2,
            optimizer=OptimizerConfig(learning_rate=1e-3, muon=False),
            schedule=WarmupStableDecayConfig(warmup=1, decay=0.0),
        ),
        sample_every=2,
        prompt_frames=2,
    )


def teaching(model: WorldModelConfig) -> RunConfig:
    config = tiny_recipe()
    return replace(
        config,
        focus=None,
        model=model,
        objective=DiffusionForcingConfig(),
        stages=(Stage(steps=1, frames=4, batch=2),),
        trainer=replace(config.trainer, steps=1),
        sample_every=99,
        prompt_frames=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and a teacher of each kind."""
    folder = tmp_path_factory.mktemp("streamed")
    store = record(RecordingConfig(frames=900, episode_length=60), folder / "store")
    for name, model in MODELS.items():
        train(teaching(model), store, folder / name, progress=False)
    return folder


def newest(run: Path) -> Checkpoint:
    return CheckpointFolder(run / CHECKPOINTS).load()


def test_the_command_line_streams_and_the_run_is_played_alone(folder: Path, tmp_path: Path) -> None:
    run, options = (
        tmp_path / "run",
        ("--method.chunk", "4", "--method.no-train-first-chunk", "--method.student-every", "3"),
    )
    given = ("--store", str(folder / "store"), "--teacher", str(folder / "u-net"), "--out", str(run))
    main(["distill", f"{__file__}:streamed", *given, *options, "--trainer.checkpoint-every", "3"])
    method = load_config(run).method
    assert isinstance(method, StreamingLongTuningConfig)
    assert (method.chunk, method.train_first_chunk) == (4, False)
    checkpoint = newest(run)
    assert not any(name.startswith("state.") for name in checkpoint.weights)
    assert any(name.startswith("rank/0/state.0.memory") for name in checkpoint.training)
    world = load(export(run, tmp_path / "shared"), "cpu")
    assert Session(world, world.prompts[0]).step(world.actions.idle).shape == (1, 1, 24, 24, 3)


def load_config(run: Path) -> RunConfig:
    return RunConfig.from_json(find_checkpoint(run)[1].config)


@pytest.mark.parametrize(("kind", "accumulate"), [("u-net", 2), ("transformer", 1)])
def test_a_sequence_that_was_interrupted_goes_on_to_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, accumulate: int
) -> None:
    config, store = streamed(MODELS[kind], accumulate), EpisodeStore(folder / "store")
    monkeypatch.setattr(SampleVideos, "__call__", lambda self, step, trainer: None)
    train(config, store, tmp_path / "whole", networks={"teacher": folder / kind}, progress=False)

    def stop(self: SampleVideos, step: int, trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(SampleVideos, "__call__", stop)
        half = train(config, store, tmp_path / "halves", networks={"teacher": folder / kind}, progress=False)
    assert half.step == 2
    positions = [v for n, v in newest(tmp_path / "halves").training.items() if n.endswith(".position")]
    assert [int(position) for position in positions] == [6] * accumulate  # in the middle of sequences of nine
    torch.manual_seed(77)
    train(config, store, tmp_path / "halves", resume=True, progress=False)
    whole, halves = (newest(tmp_path / name) for name in ("whole", "halves"))
    for ours, theirs in ((halves.weights, whole.weights), (halves.training, whole.training)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("room", "broken"), [(matched_student, "critic_loss"), (self_forcing, "collected")])
def test_a_step_that_failed_half_way_is_not_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType, broken: str
) -> None:
    """The fourth step draws its chunk, and then fails: a run that goes on draws the same chunk again."""
    config, store = replace(streamed(), sample_every=99), EpisodeStore(folder / "store")
    given = {"teacher": folder / "u-net"}
    train(config, store, tmp_path / "whole", networks=given, progress=False)
    calls: list[int] = []
    call = getattr(room, broken)

    def failing(*inputs: Any) -> Any:
        calls.append(1)
        result = call(*inputs)
        if len(calls) == 5:  # the first is that of the preflight
            raise RuntimeError("something broke")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(room, broken, failing)
        with pytest.raises(RuntimeError, match="something broke"):
            train(config, store, tmp_path / "halves", networks=given, progress=False)
    assert newest(tmp_path / "halves").step == 2
    train(config, store, tmp_path / "halves", resume=True, progress=False)
    whole, halves = (newest(tmp_path / name).weights for name in ("whole", "halves"))
    assert all(torch.equal(value, whole[name]) for name, value in halves.items())


def test_what_cannot_be_streamed_is_refused_before_training(folder: Path, tmp_path: Path) -> None:
    run, store, teacher = tmp_path / "run", EpisodeStore(folder / "store"), {"teacher": folder / "u-net"}
    config = streamed()
    longer = replace(config, stages=(Stage(steps=5, frames=62, batch=2),))
    refusals = [
        (longer, r"no .* episode .*6[12]"),
        (replace(config, method=replace(config.method, schedule="5:12")), "use stages with clips of 14 latents"),
        (replace(config, stages=(Stage(steps=5, frames=14, batch=2),)), "use a horizon of 15"),
        (replace(config, method=replace(config.method, overlap=1)), "use an overlap of 2 or more"),
    ]
    for refused, told in refusals:
        with pytest.raises(ValueError, match=told):
            train(refused, store, run, networks=teacher, progress=False)
    assert not run.exists()


def test_a_run_for_other_steps_streams_the_same_share_of_them() -> None:
    short = streamed()
    method = replace(short.method, schedule="2:3,5:9")
    stages = (Stage(steps=2, frames=5, batch=2), Stage(steps=3, frames=11, batch=2))
    longer = trained_for(replace(short, method=method, stages=stages), 50)
    assert [stage.steps for stage in longer.stages] == [20, 30]
    assert [(phase.end, phase.horizon, phase.streaming) for phase in longer.method.phases] == [
        (20, 3, False),
        (50, 9, True),
    ]
