"""From recorded play to an encoder, what it knows, and what starts from it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.metrics.encoder_features import EncoderFeatures
from hallucade.evaluation.perceptual import PerceptualConfig
from hallucade.methods.encoder_pretraining import EncoderPretraining, PartConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.encoder_folder import EncoderError, EncoderFolder, write_encoder
from hallucade.models.unet import UNetConfig
from hallucade.models.video_encoder import VideoEncoderConfig
from hallucade.objectives.latent_prediction import LatentPredictionConfig
from hallucade.recipes.any_game import transformer_small
from hallucade.recipes.encoder_start import start_from_encoder
from hallucade.recipes.load import load
from hallucade.recipes.pretraining import PRETRAINING, pretrain_jepa, pretrain_masked
from hallucade.recipes.pretraining_run import PretrainingRunConfig, train_encoder
from hallucade.recipes.train import train
from hallucade.training.checkpoint import CheckpointError, CheckpointFolder, read_checkpoint
from hallucade.training.curriculum import Stage

TINY = VideoEncoderConfig(width=24, depth=2, heads=2, patch=4, tubelet=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    config = RecordingConfig(frames=600, frame_size=12, episode_length=40, games=5, validation_share=0.3)
    return record(config, tmp_path_factory.mktemp("play") / "store")


def shrunk(config: PretrainingRunConfig, steps: int = 6, **encoder: object) -> PretrainingRunConfig:
    trainer = replace(config.trainer, steps=steps, precision="32-true", checkpoint_every=4, log_every=1)
    stages = (Stage(steps=steps, frames=8, batch=4),)
    return replace(config, encoder=replace(TINY, **encoder), stages=stages, trainer=trainer)


@pytest.mark.parametrize("name", PRETRAINING)
def test_every_recipe_travels_as_json_and_trains(name: str, store: EpisodeStore, tmp_path: Path) -> None:
    config = PRETRAINING[name]()
    assert config.recipe == name
    assert PretrainingRunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    result = train_encoder(shrunk(config, 2), store, tmp_path / "run", progress=False)
    assert result.step == 2
    folder = EncoderFolder.open(tmp_path / "run")
    assert (folder.facts.recipe, folder.facts.step, folder.facts.data) == (name, 2, store.fingerprint)
    trained = CheckpointFolder(tmp_path / "run" / "checkpoints").load().weights
    for key, value in folder.load().state_dict().items():
        assert torch.equal(value, trained[f"networks.encoder.{key}"])


def test_a_resumed_training_ends_with_the_same_bits(store: EpisodeStore, tmp_path: Path) -> None:
    """The slower copy is part of the state."""
    config = shrunk(pretrain_jepa())
    train_encoder(config, store, tmp_path / "whole", progress=False)
    original = EncoderPretraining.losses

    def losses(self, batch, step):
        if step == 4:
            raise KeyError("power")
        return original(self, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncoderPretraining, "losses", losses)
        with pytest.raises(KeyError, match="power"):
            train_encoder(config, store, tmp_path / "halves", progress=False)
    torch.manual_seed(99)
    train_encoder(config, store, tmp_path / "halves", resume=True, progress=False)
    one, other = (CheckpointFolder(tmp_path / run / "checkpoints").load().weights for run in ("whole", "halves"))
    assert any("target" in name for name in one)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    prints = [EncoderFolder.open(tmp_path / run).facts.fingerprint for run in ("whole", "halves")]
    assert prints[0] == prints[1]


def test_from_the_command_line_to_what_an_encoder_knows(
    store: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--encoder.width", "24", "--encoder.depth", "2", "--encoder.heads", "2", "--sample-every", "4"]
    part = ["--parts.0.objective.mask-ratio", "0.7", "--parts.1.weight", "0.3"]
    options = ["--store", str(store.path), "--out", str(run), "--steps", "4", *small, *part]
    main(["train", "pretrain_mix", *options])
    assert f"next: hallucade probe-encoder {run}" in capsys.readouterr().out
    quick = ["--columns", "player_y", "--clips", "40", "--held-out", "20", "--frames", "4", "--supervised-steps", "2"]
    main(["probe-encoder", str(run), "--store", str(store.path), *quick])
    told = capsys.readouterr().out
    assert "player_y" in told
    assert "supervised" in told
    metrics = json.loads((run / "metrics.json").read_text())
    assert {f"{who}/player_y/r2" for who in ("probe", "random", "supervised")} <= metrics.keys()
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--encoder.tubelet", "3"], "clips of 8 frames do not divide into tubelets of 3"),
        (["--encoder.patch", "5"], "frames of 12x12 do not divide by patch 5"),
        (["--parts.0.weight", "0"], "has the weight 0.0 and would never teach"),
        (["--parts.0.every", "2"], "no part counts in every step"),
        (["--parts.0.objective.mask-ratio", "1"], "mask_ratio is 1.0; it lies between 0 and 1"),
    ],
)
def test_bad_input_is_refused_before_the_first_step(
    wrong: list[str], told: str, store: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "pretrain_masked", "--store", str(store.path), "--out", str(tmp_path / "run"), *wrong])
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_changed_is_refused(store: EpisodeStore, tmp_path: Path) -> None:
    train_encoder(shrunk(pretrain_masked(), 1), store, tmp_path / "run", progress=False)
    train_encoder(replace(shrunk(pretrain_jepa(), 1)), store, tmp_path / "other", progress=False)
    with pytest.raises(EncoderError, match=r"holds no encoder: it has no encoder\.json"):
        EncoderFolder.open(tmp_path)
    shutil.copy(tmp_path / "other" / "encoder" / "weights.safetensors", tmp_path / "run" / "encoder")
    prints = [EncoderFolder.open(tmp_path / run).facts.fingerprint for run in ("other", "run")]
    with pytest.raises(EncoderError, match=f"is the encoder {prints[0]}, and encoder.json tells of {prints[1]}"):
        EncoderFolder.open(tmp_path / "run").load()


def test_a_world_model_takes_over_what_it_has_a_place_for(store: EpisodeStore, tmp_path: Path) -> None:
    config = shrunk(pretrain_masked(), 1, layout="factorised", tubelet=1)
    train_encoder(config, store, tmp_path / "run", progress=False)
    folder = EncoderFolder.open(tmp_path / "run")
    world = DiffusionTransformerConfig(width=24, depth=4, heads=2, patch=4)
    model = world.build(store.actions, (3, 12, 12))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = start_from_encoder(model, folder)
    weights, after = folder.weights(), model.state_dict()
    assert {"blocks.0.attention.qkv.weight", "blocks.1.mlp.down.weight", "blocks.1.attention.key_norm.weight"} <= {
        *start.taken
    }
    for name in start.taken:
        theirs = weights[f"grid.{name}"] if name.startswith("blocks.") else weights[name]
        assert torch.equal(after[name], theirs)
    assert set(start.fresh) == {name for name in after if name not in start.taken}
    assert all(torch.equal(after[name], before[name]) for name in start.fresh)
    assert "norm.weight" in start.left
    assert "left over there" in start.describe()
    with pytest.raises(ValueError, match=r"no layer of the encoder .* fits this DiffusionTransformer: it has width 24"):
        start_from_encoder(replace(world, width=32).build(store.actions, (3, 12, 12)), folder)
    unet = UNetConfig(context=2, widths=(8, 8), blocks=(1, 1), condition_width=8).build(store.actions, (3, 12, 12))
    with pytest.raises(ValueError, match="has no place for its layers"):
        start_from_encoder(unet, folder)


def test_a_training_starts_from_an_encoder_and_says_so(store: EpisodeStore, tmp_path: Path) -> None:
    pretrained = shrunk(pretrain_masked(), 1, layout="factorised", tubelet=1)
    train_encoder(pretrained, store, tmp_path / "encoder", progress=False)
    folder, base = EncoderFolder.open(tmp_path / "encoder"), transformer_small()
    config = replace(
        base,
        model=replace(base.model, width=24, depth=2, heads=2, patch=4, window=6),
        stages=(Stage(steps=2, frames=6, batch=2),),
        trainer=replace(base.trainer, steps=2, compile=False, checkpoint_every=1),
        prompt_frames=3,
    )
    start = {"networks": {"model": tmp_path / "encoder"}}
    train(config, store, tmp_path / "run", **start, progress=False)
    checkpoints = CheckpointFolder(tmp_path / "run" / "checkpoints")
    assert checkpoints.load().config["encoder"] == folder.facts.fingerprint
    first = read_checkpoint(checkpoints.path(0)).training["raw/model.blocks.0.attention.qkv.weight"]
    assert torch.equal(first, folder.weights()["grid.blocks.0.attention.qkv.weight"])
    assert train(config, store, tmp_path / "run", resume=True, progress=False).step == 2
    with pytest.raises(ValueError, match="goes on from a whole world model"):
        train(replace(config, lora=replace(config.lora, rank=2)), store, tmp_path / "lora", **start, progress=False)
    write_encoder(tmp_path / "another", TINY.build((12, 12)))
    with pytest.raises(ValueError, match="and the run began with"):
        train(config, store, tmp_path / "run", networks={"model": tmp_path / "another"}, resume=True, progress=False)


def test_layers_along_another_axis_are_left(store: EpisodeStore, tmp_path: Path) -> None:
    train_encoder(shrunk(pretrain_masked(), 1, layout="full"), store, tmp_path / "run", progress=False)
    world = DiffusionTransformerConfig(width=24, depth=2, heads=2, patch=4, layout="factorised")
    with pytest.raises(ValueError, match="layout 'full'"):
        start_from_encoder(world.build(store.actions, (3, 12, 12)), EncoderFolder.open(tmp_path / "run"))
    full = replace(world, layout="full").build(store.actions, (3, 12, 12))
    assert len(start_from_encoder(full, EncoderFolder.open(tmp_path / "run")).taken) >= 12


def test_encoders_serve_as_features_of_distances(store: EpisodeStore, tmp_path: Path) -> None:
    train_encoder(shrunk(pretrain_masked(), 1), store, tmp_path / "run", progress=False)
    network = EncoderFeatures.load(str(tmp_path / "run"), 12, 12)
    frames = torch.from_numpy(np.stack([store.read(i, 0, 6).frames for i in range(5)]))
    assert network.features(frames).shape == (5, 3, 24)
    encoder = EncoderFolder.open(tmp_path / "run").load()
    torch.testing.assert_close(network.features(frames), encoder(frames).mean(2))
    with pytest.raises(ValueError, match="reads frames of 12x12 pixels, not 24x24"):
        EncoderFeatures.load(str(tmp_path / "run"), 24, 24)
    with pytest.raises(ValueError, match="clips of 5 frames do not divide"):
        network.check_frames(5)
    compare = PerceptualConfig(lite0="off", encoder=str(tmp_path / "run"), until=(4,))
    scores = compare.build((12, 12), (4,), torch.device("cpu"))
    dreams = np.random.default_rng(0).integers(0, 256, (5, 4, 12, 12, 3), np.uint8)
    scores.add(dreams, frames[:, :4].numpy())
    metrics = scores.metrics("clips/")
    assert metrics["clips/frechet_encoder@4"] > 0
    assert metrics["clips/frechet_encoder_samples@4"] == 10  # two tubelets of five clips
    assert "clips/mmd_encoder@4" in metrics
    with pytest.raises(ValueError, match="clips of 3 frames do not divide"):
        replace(compare, until=(3,)).build((12, 12), (4,), torch.device("cpu"))


def test_the_target_is_no_part_of_what_is_exported(store: EpisodeStore, tmp_path: Path) -> None:
    parts = (PartConfig(objective=LatentPredictionConfig(predictor_width=12)),)
    train_encoder(replace(shrunk(pretrain_jepa(), 2), parts=parts), store, tmp_path / "run", progress=False)
    own = {name.split(".")[0] for name in EncoderFolder.open(tmp_path / "run").weights()}
    assert own == {"embed", "grid", "norm"}


def test_an_encoder_is_no_world(store: EpisodeStore, tmp_path: Path) -> None:
    train_encoder(shrunk(pretrain_masked(), 1), store, tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match=f"hallucade probe-encoder {tmp_path / 'run'} --store STORE"):
        load(tmp_path / "run")
