"""From recorded play to a dream in the latents of an autoencoder, and then without the files that it was made of."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'hallucade[pretrained]'")
from samples.autoencoders import save_autoencoder
from samples.public_weights import nanowm_weights

from hallucade.cli import main
from hallucade.data.latent_cache import LatentCache
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.models.nanowm import NanoWMSizes
from hallucade.models.unet import UNetConfig
from hallucade.recipes.ablation import runs
from hallucade.recipes.latents import on_latents
from hallucade.recipes.load import load
from hallucade.recipes.pong import pong_micro
from hallucade.recipes.train import train
from hallucade.rollout import Session
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.tokenizers.autoencoder_folder import WEIGHTS, AutoencoderError
from hallucade.tokenizers.pretrained import PretrainedAutoencoder, PretrainedTokenizerConfig
from hallucade.training.curriculum import Stage

NANOWM = NanoWMSizes(
    input_size=3,
    patch_size=1,
    in_channels=4,
    hidden_size=24,
    depth=2,
    num_heads=2,
    num_frames=3,
    action_dim=2,
    action_injection="additive",
)


def recipe(**changes):
    base = pong_micro()
    model = UNetConfig(context=2, patch=1, widths=(8,), blocks=(1,), condition_width=12)
    trainer = replace(base.trainer, steps=5, compile=False, precision="32-true", checkpoint_every=3)
    stages = (Stage(steps=5, frames=4, batch=3),)
    return replace(
        base, model=model, stages=stages, focus=None, trainer=trainer, prompt_frames=3, sample_every=50, **changes
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A store of Pong, two autoencoders, and a latent cache made by the command."""
    root = tmp_path_factory.mktemp("desk")
    record(RecordingConfig(frame_size=24, frames=300, episode_length=40), root / "store")
    for kind in ("AutoencoderKL", "AutoencoderTiny"):
        save_autoencoder(root / kind, kind)
    options = ["--tokenizer", root / "AutoencoderKL", "--workers", "1", "--dtype", "float32", "--device", "cpu"]
    main([*map(str, ["tokenize", root / "store", root / "cache", *options])])
    return root


@pytest.fixture
def trained(desk, tmp_path, monkeypatch):
    """A run of five steps on the cache, none of which encoded a frame."""
    monkeypatch.setattr(PretrainedAutoencoder, "encode", None)
    cache = LatentCache(desk / "cache")
    train(recipe(), EpisodeStore(desk / "store"), tmp_path / "run", latents=[cache], progress=False)
    monkeypatch.undo()
    return tmp_path / "run"


def played(world, steps=3):
    session = Session(world, world.prompts[0], seed=4)
    return np.concatenate([session.step(world.actions.idle).cpu().numpy() for _ in range(steps)], 1)


def test_a_run_on_latents_is_played_from_its_folder_alone(desk, trained, tmp_path, monkeypatch):
    weights = load_file(trained / "checkpoints" / "step_00000005" / "weights.safetensors")
    assert weights
    assert all(name.startswith("model.") for name in weights)
    for name in ("cache", "AutoencoderKL"):
        (desk / name).rename(desk / f"{name}_moved")
    try:
        frames = played(load(trained, "cpu"))
        assert frames.shape == (1, 3, 24, 24, 3)
        main(["export", str(trained), str(tmp_path / "shared")])
        shutil.rmtree(trained)
        assert np.array_equal(played(load(tmp_path / "shared", "cpu")), frames)
    finally:
        for name in ("cache", "AutoencoderKL"):
            (desk / f"{name}_moved").rename(desk / name)


def test_a_recipe_whose_autoencoder_is_not_at_hand_takes_that_of_its_latents(desk):
    lacking = recipe(tokenizer=AbsentTokenizerConfig(made_by="an autoencoder", latent_shape=(4, 3, 3)))
    with pytest.raises(ValueError, match="latents of 4x3x3 made by an autoencoder, which is not at hand; give"):
        lacking.tokenizer.build()
    found = on_latents(lacking, [LatentCache(desk / "cache")]).tokenizer
    assert found == PretrainedTokenizerConfig(path=str(desk / "cache" / "tokenizer"), fingerprint=found.fingerprint)


def test_training_on_float32_latents_is_training_on_frames(desk, trained, tmp_path):
    tokenizer = PretrainedTokenizerConfig(path=str(desk / "AutoencoderKL"))
    train(recipe(tokenizer=tokenizer), EpisodeStore(desk / "store"), tmp_path / "frames", progress=False)
    folders = [run / "checkpoints" / "step_00000005" for run in (trained, tmp_path / "frames")]
    latents, frames = (load_file(folder / "weights.safetensors") for folder in folders)
    for name, value in latents.items():
        torch.testing.assert_close(value, frames[name], rtol=1e-2, atol=1e-4)


def test_a_kept_autoencoder_that_was_changed_is_refused(trained):
    weights = load_file(trained / "tokenizer" / WEIGHTS)
    weights["quant_conv.bias"] += 1
    save_file(weights, trained / "tokenizer" / WEIGHTS)
    kept = json.loads((trained / "config.json").read_text())["tokenizer"]["fingerprint"]
    with pytest.raises(AutoencoderError, match=f"run/tokenizer holds the autoencoder .*, and {kept} was recorded"):
        load(trained, "cpu")


def test_resuming_finds_the_same_autoencoder_wherever_it_lies(desk, trained, tmp_path):
    store, cache = EpisodeStore(desk / "store"), shutil.copytree(desk / "cache", tmp_path / "elsewhere")
    train(recipe(), store, trained, latents=[LatentCache(cache)], resume=True, progress=False)
    gone = PretrainedTokenizerConfig(path=str(tmp_path / "gone"))
    with pytest.warns(UserWarning, match="was trained on other data"):  # frames; its own copy encodes them
        train(recipe(tokenizer=gone), store, trained, resume=True, progress=False)
    tiny = PretrainedTokenizerConfig(path=str(desk / "AutoencoderTiny"))
    with pytest.raises(ValueError, match=r"holds another run: .*tokenizer.fingerprint was \w+, is \w+; choose another"):
        train(recipe(tokenizer=tiny), store, trained, resume=True, progress=False)


def test_a_cache_of_another_autoencoder_is_one_line(desk, capsys):
    made_by = LatentCache(desk / "cache").manifest.tokenizer_fingerprint
    other = PretrainedTokenizerConfig(path=str(desk / "AutoencoderTiny")).pinned().fingerprint
    options = ["--store", desk / "store", "--latents", desk / "cache", "--tokenizer", desk / "AutoencoderTiny"]
    with pytest.raises(SystemExit):
        main(["train", "pong_micro", *map(str, options), "--out", str(desk / "run")])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"its latents were made by the tokenizer {made_by}, and the run has {other}; train with that" in error


def test_an_ablation_on_latents_encodes_nothing_in_training(desk, tmp_path, capsys, monkeypatch):
    lines = ("import test_latent_training", "def small():", "    return test_latent_training.recipe()")
    (tmp_path / "small.py").write_text("\n".join(lines))
    monkeypatch.setattr(PretrainedAutoencoder, "encode", None)
    monkeypatch.setattr(runs, "_judged", lambda *_: {"clips/psnr@1": 1.0})
    arguments = ["ablate", f"{tmp_path / 'small.py'}:small", "--store", str(desk / "store"), "--out", str(tmp_path)]
    arguments += ["--seeds", "1", "--vary", "model.context=2,3"]
    main([*arguments, "--latents", str(desk / "cache")])
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/ablation_run.json")]
    assert [(record["state"], record["reason"]) for record in records] == [("finished", "")] * 2
    fingerprint = LatentCache(desk / "cache").fingerprint
    assert [record["latents"] for record in records] == [[fingerprint]] * 2
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"was trained on the latents {fingerprint}, now they are none" in capsys.readouterr().err
    main([*arguments, "--latents", str(desk / "cache"), "--vary", "tokenizer.chunk=4,8", "--table"])
    assert "refused: 2 8: the latents that are given have one tokenizer" in capsys.readouterr().out


def test_public_nanowm_is_shown_through_the_autoencoder_that_is_given(desk, tmp_path, capsys):
    save_file({name: v.contiguous() for name, v in nanowm_weights(NANOWM).items()}, tmp_path / "nanowm.safetensors")
    arguments = ["import-checkpoint", "nanowm", str(tmp_path / "nanowm.safetensors"), str(tmp_path / "run")]
    arguments += ["--injection", "additive", "--tokenizer"]
    with pytest.raises(SystemExit):
        main([*arguments, str(desk / "AutoencoderTiny")])
    assert "makes latents of 5x6x6 and this NanoWM dreams 4x3x3; give the autoencoder that" in capsys.readouterr().err
    main([*arguments, str(desk / "AutoencoderKL")])
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert played(load(tmp_path / "moved", "cpu")).shape == (1, 3, 24, 24, 3)
