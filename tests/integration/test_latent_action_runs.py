"""From frames without actions to a game in play; and from actions to a judge of dreams."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from slide_game import HEIGHT, NOBODY, SLIDE, WIDTH, store

from hallucade.cli import main
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.latent_action_check import LatentActionCheckConfig, evaluate_latent_actions
from hallucade.models.unet import UNetConfig
from hallucade.nn.frame_trunk import FrameTrunkConfig
from hallucade.recipes.inverse_dynamics import (
    INVERSE_DYNAMICS,
    InverseDynamicsRunConfig,
    load_inverse_dynamics,
    train_inverse_dynamics,
    training_actions,
)
from hallucade.recipes.labelled_play import LabelledPlayConfig, label_actions
from hallucade.recipes.latent_actions import (
    LATENT_ACTIONS,
    LatentActionsRunConfig,
    load_latent_actions,
    train_latent_actions,
)
from hallucade.recipes.load import load
from hallucade.recipes.pong import pong_micro
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import train
from hallucade.rollout import Session
from hallucade.training.checkpoint import CheckpointError
from hallucade.training.curriculum import Stage
from hallucade.training.ema import EMAConfig

pytestmark = pytest.mark.filterwarnings("ignore:step .* latent actions have collapsed")  # after a handful of steps
QUICK = ["--trainer.compile", "False", "--sample-every", "3"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr("hallucade.recipes.held_out.SAMPLE_FRAMES", 7)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return store(tmp_path_factory.mktemp("video") / "store", actions=NOBODY)


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    return store(tmp_path_factory.mktemp("play") / "store", n=80)


def shortened(recipe, steps=4):
    trainer = replace(recipe.trainer, steps=steps, compile=False, precision="32-true", checkpoint_every=2)
    frames = recipe.stages[0].frames
    return replace(recipe, stages=(Stage(steps=steps, frames=frames, batch=4),), trainer=trainer, sample_every=2)


def latent_recipe(**changes) -> LatentActionsRunConfig:
    base = shortened(LATENT_ACTIONS["latent_actions"]())
    encoder = FrameTrunkConfig(widths=(8,), features=8, pooled=True)
    return replace(base, model=replace(base.model, encoder=encoder, widths=(8,), condition=8), **changes)


def reader_recipe() -> InverseDynamicsRunConfig:
    base = shortened(INVERSE_DYNAMICS["inverse_dynamics"]())
    return replace(base, model=replace(base.model, trunk=FrameTrunkConfig(widths=(8,), features=8)))


def world_recipe() -> RunConfig:
    base = pong_micro()
    trainer = replace(base.trainer, steps=2, compile=False, precision="32-true", checkpoint_every=2)
    model = UNetConfig(context=2, patch=1, widths=(8,), blocks=(1,), condition_width=8)
    stages = (Stage(steps=2, frames=4, batch=4),)
    return replace(base, model=model, stages=stages, focus=None, trainer=trainer, prompt_frames=3)


def test_a_video_without_actions_becomes_a_game_with_numbered_keys(video, tmp_path, capsys):
    run, labelled = tmp_path / "latent", tmp_path / "labelled"
    tiny = ["--model.widths", "8", "--model.encoder.widths", "8", "--model.bottleneck.codes", "5"]
    main(["train", "latent_actions", "--store", str(video.path), "--out", str(run), "--steps", "6", *tiny, *QUICK])
    assert f"label-actions STORE OUT --model {run}" in capsys.readouterr().out
    main(["label-actions", str(video.path), str(labelled), "--model", str(run)])
    assert "play it with keys 1 to 5" in capsys.readouterr().out
    found = EpisodeStore(labelled)
    assert [record.split for record in found.episodes] == [record.split for record in video.episodes]
    network = load_latent_actions(run, "cpu").network
    for index in range(len(video)):
        ours, theirs = found.episode(index), video.episode(index)
        assert np.array_equal(ours.frames, theirs.frames)
        codes = network.actions(torch.from_numpy(np.array(theirs.frames)))
        assert np.array_equal(ours.actions[:, 0], codes.numpy())
    train(world_recipe(), found, tmp_path / "world", progress=False)
    world = load(tmp_path / "world", "cpu")
    session = Session(world, world.prompts[0])
    assert session.step(world.actions.from_keys(["Digit3"])).shape == (1, 1, HEIGHT, WIDTH, 3)
    assert world.actions.from_keys(["Digit3"]).tolist() == [2]
    main(["evaluate", str(run), "--store", str(video.path), "--windows", "20"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["latent_actions/psnr"] > 0
    assert not [name for name in metrics if "information" in name or "one_to_one" in name]


def test_recorded_actions_are_held_against_latent_ones(play, tmp_path):
    train_latent_actions(latent_recipe(), play, tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="trained latent actions, and no world that could be played"):
        load(tmp_path / "run")
    network = load_latent_actions(tmp_path / "run", "cpu").network
    found = evaluate_latent_actions(network, play, LatentActionCheckConfig(windows=30, batch=7)).metrics
    assert found["latent_actions/action_entropy"] == pytest.approx(np.log2(3), abs=0.2)
    assert 0 <= found["latent_actions/information_share"] <= 1
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"perplexity", "validation/perplexity", "validation/one_to_one"} <= set().union(*logged)


def test_a_collapse_is_told(play, tmp_path):
    base = latent_recipe()
    closed = replace(base.method, free=0.0)
    alone = replace(base.model, bottleneck=replace(base.model.bottleneck, codes=2, patience=0))
    with pytest.warns(UserWarning, match=r"latent actions have collapsed: of 2 codes, 1\.\d+ are in effective use"):
        train_latent_actions(
            replace(base, model=alone, method=closed), still(play, tmp_path / "still"), tmp_path / "run", progress=False
        )


def still(play, path):
    """The same play, of which nothing is seen."""
    return store(path, repaint=lambda frames, rows: np.zeros_like(frames))


def test_labelling_goes_on_and_refuses_other_weights_and_sizes(video, play, tmp_path):
    run = tmp_path / "run"
    train_latent_actions(latent_recipe(), video, run, progress=False)
    whole = label_actions(video.path, tmp_path / "whole", run)
    again = label_actions(video.path, tmp_path / "whole", run, resume=True)
    assert again.fingerprint == whole.fingerprint
    with pytest.raises(ValueError, match="not empty"):
        label_actions(video.path, tmp_path / "whole", run)
    with pytest.raises(ValueError, match=r"holds the latent actions \w+, and 0123 were meant"):
        LabelledPlayConfig(store=str(video.path), run=str(run), fingerprint="0123").build()
    with pytest.raises(CheckpointError, match="is no run of a latent-action model; train one with `hallucade train"):
        label_actions(video.path, tmp_path / "other", tmp_path)


def test_a_reader_is_trained_loaded_and_judges_a_dream(play, tmp_path, capsys):
    run, world = tmp_path / "reader", tmp_path / "world"
    train_inverse_dynamics(reader_recipe(), play, run, progress=False)
    train(world_recipe(), play, world, progress=False)
    short = ["--control.clips", "5", "--control.frames", "9", "--control.resamples", "9", "--control.batch", "3"]
    little = ["--clips.clips", "2", "--clips.horizons", "2", "--clips.prompt-frames", "3", "--long.frames", "0"]
    main(["evaluate", str(world), "--store", str(play.path), "--inverse-dynamics", str(run), *short, *little])
    metrics = json.loads((world / "metrics.json").read_text())
    assert {"control/f1_macro", "control/f1_macro_real", "control_drawn/accuracy"} <= set(metrics)
    fingerprint = load_inverse_dynamics(run, "cpu").fingerprint
    report = (world / "report.html").read_text()
    assert fingerprint in report
    assert play.fingerprint in report
    main(["evaluate", str(run), "--store", str(play.path), "--clips", "4", "--frames", "12", "--resamples", "9"])
    assert "inverse_dynamics/accuracy" in capsys.readouterr().out
    logged = (run / "metrics.jsonl").read_text()
    assert '"validation/accuracy"' in logged
    with pytest.raises(CheckpointError, match="trained an inverse dynamics model, and no world that could be played"):
        load(run)


def test_a_resumed_reader_ends_with_the_same_bits(play, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for recipe, trained in ((reader_recipe(), train_inverse_dynamics), (latent_recipe(), train_latent_actions)):
        shutil.rmtree(whole, ignore_errors=True)
        shutil.rmtree(halves, ignore_errors=True)
        trained(recipe, play, whole, progress=False)
        shutil.copytree(whole, halves)
        shutil.rmtree(halves / "checkpoints" / "step_00000004")
        (halves / "checkpoints" / "latest").write_text("step_00000002\n")
        trained(recipe, play, halves, resume=True, progress=False)
        ends = [
            (each / "checkpoints" / "step_00000004" / "weights.safetensors").read_bytes() for each in (whole, halves)
        ]
        assert ends[0] == ends[1]


def test_what_does_not_suit_is_refused_before_the_first_step(play, tmp_path):
    base = reader_recipe()
    with pytest.raises(ValueError, match=r"clips have 8 frames, and this inverse dynamics .* action off 11"):
        train_inverse_dynamics(replace(base, model=replace(base.model, before=7)), play, tmp_path / "a", progress=False)
    latent = latent_recipe()
    with pytest.raises(ValueError, match="clips have 4 frames, and latent actions are read off 7"):
        train_latent_actions(replace(latent, model=replace(latent.model, past=6)), play, tmp_path / "b", progress=False)
    with pytest.raises(ValueError, match=r"use trainer\.ema none"):
        replace(latent, trainer=replace(latent.trainer, ema=EMAConfig()))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_only_training_episodes_are_learned_from(play):
    rows = training_actions(play)
    assert len(rows) == sum(play.episodes[i].length for i in play.indices("train"))
    assert play.actions == SLIDE


@pytest.mark.parametrize("recipe", [*INVERSE_DYNAMICS.values(), *LATENT_ACTIONS.values()])
def test_recipes_travel_as_json(recipe):
    config = recipe()
    assert type(config).from_json(config.to_json()) == config
