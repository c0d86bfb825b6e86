"""Files of strangers to runs of ours, and the command that does it."""

import json
import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from samples.public_weights import nanowm_weights, toy_wm_weights

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.evaluate import evaluate
from hallucade.evaluation.recorded_clips import ClipCheckConfig
from hallucade.models.nanowm import NanoWMSizes
from hallucade.models.toy_wm import ToyWMSizes
from hallucade.models.weights_file import PublicWeightsError, read_weights
from hallucade.recipes.import_checkpoint import Hints, import_checkpoint, relative_error
from hallucade.recipes.load import load
from hallucade.rollout import Session

GOLDEN = Path(__file__).parents[1] / "golden"
PONG = ToyWMSizes(n_window=4, n_heads=2, d_model=24, n_blocks=1, T=50)
LATENTS = NanoWMSizes(
    input_size=4,
    patch_size=2,
    in_channels=4,
    hidden_size=24,
    depth=2,
    num_heads=2,
    num_frames=3,
    action_dim=5,
    action_injection="film",
)


class Settings:
    """What a training framework keeps beside the weights; no class of ours or torch's."""


class Program:
    """Runs a command when it is unpickled the usual way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def said(capsys, *arguments):
    """Run a command that a user got wrong; return its one line."""
    with pytest.raises(SystemExit) as end:
        main(["import-checkpoint", *map(str, arguments)])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1
    return error


@pytest.fixture
def pong(tmp_path):
    """Bare weights of a small toy-wm for 24x24 frames."""
    path = tmp_path / "pong.safetensors"
    save_file({name: value.contiguous() for name, value in toy_wm_weights(PONG).items()}, path)
    return path


def test_a_checkpoint_of_a_training_is_imported_from_its_pickle(tmp_path):
    weights = toy_wm_weights(PONG)
    network = OrderedDict((f"model._orig_mod.{name}", value) for name, value in weights.items())
    moments = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3}]}
    torch.save({"epoch": 3, "state_dict": network, "optimizer_states": [moments]}, tmp_path / "last.ckpt")
    model = import_checkpoint("toywm", tmp_path / "last.ckpt", tmp_path / "run")
    world = load(tmp_path / "run", "cpu")
    ours = world.model.state_dict()
    assert ours.keys() == model.weights.keys()
    assert all(torch.equal(ours[name], value) for name, value in model.weights.items())
    assert torch.equal(ours["no_action"], weights["action_emb.weight"][0])
    assert world.actions.describe() == "move: stay | up | down"
    assert world.fps == 30
    (prompt,) = world.prompts
    assert (prompt.frames == (6, 24, 24)).all()
    assert torch.equal(world.tokenizer.encode(torch.as_tensor(prompt.frames)[None]), -torch.ones(1, 4, 3, 24, 24))
    session = Session(world, prompt)
    up, down = (session.step(np.array([option]))[0, 0] for option in (1, 2))
    session.reset(prompt)
    assert torch.equal(session.step(np.array([1]))[0, 0], up)
    assert not torch.equal(session.step(np.array([0]))[0, 0], down)


def test_a_size_without_rows_is_refused(tmp_path, pong, capsys):
    error = said(capsys, "toywm", pong, tmp_path / "run", "--size", "-3", "5")
    assert "size is (-3, 5); give rows and columns, 1 or more of each" in error


def test_prompts_come_from_a_store_and_its_clips_are_dreamed(tmp_path, pong):
    store = record(RecordingConfig(frames=600, episode_length=100, validation_share=0.4), tmp_path / "store")
    import_checkpoint("toywm", pong, tmp_path / "run", store=EpisodeStore(store.path))
    world = load(tmp_path / "run", "cpu")
    assert len(world.prompts) == 16
    first = store.read(store.indices("validation")[0], 0, 101).frames
    assert any((world.prompts[0].frames[0] == frame).all() for frame in first)
    clips = ClipCheckConfig(clips=2, prompt_frames=3, horizons=(1, 2))
    assert "clips/psnr@2" in evaluate(world, store, clips=clips).metrics


def test_a_store_of_another_size_or_game_is_refused(tmp_path, pong):
    store = record(RecordingConfig(frames=300), tmp_path / "store")
    weights = toy_wm_weights(replace(PONG, height=12, width=12))
    small = tmp_path / "small.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, small)
    with pytest.raises(ValueError, match="are 24x24 pixels, this model dreams 12x12"):
        import_checkpoint("toywm", small, tmp_path / "run", store=store, hints=Hints(size=(12, 12)))
    assert not (tmp_path / "run").exists()


def test_latents_are_imported_and_say_what_would_show_them(tmp_path):
    path = tmp_path / "film.safetensors"
    save_file({f"model.{name}": value.contiguous() for name, value in nanowm_weights(LATENTS).items()}, path)
    model = import_checkpoint("nanowm", path, tmp_path / "run")
    assert model.config == LATENTS.network()
    assert model.latent_shape == (4, 4, 4)
    with pytest.raises(ValueError, match="latents of 4x4x4 made by Stable Diffusion's autoencoder"):
        load(tmp_path / "run", "cpu")


def test_a_nanowm_of_pixels_is_played(tmp_path):
    sizes, path = replace(LATENTS, in_channels=3), tmp_path / "pixels.safetensors"
    save_file({name: value.contiguous() for name, value in nanowm_weights(sizes).items()}, path)
    import_checkpoint("nanowm", path, tmp_path / "run")
    world = load(tmp_path / "run", "cpu")
    assert Session(world, world.prompts[0]).step(np.zeros(5)).shape == (1, 1, 4, 4, 3)


@pytest.mark.parametrize("name", ["nanowm_film", "toywm"])
def test_check_prints_one_line_of_json(name, capsys):
    path, family = str(GOLDEN / f"{name}.safetensors"), name.partition("_")[0]
    for arguments in ([family, "--check", path], [family, path, "--check"]):
        main(["import-checkpoint", *arguments])
        result = json.loads(capsys.readouterr().out)
        assert result["fixture"] == path
        assert 0 < result["relative_error"] < 1e-5


def test_check_fails_where_outputs_differ(tmp_path, capsys):
    tensors = load_file(GOLDEN / "toywm.safetensors")
    sizes = {"height": 12, "width": 12, "n_window": 4, "n_heads": 4, "d_model": 64, "n_blocks": 2}
    tensors["stream.output"][0, 5] += 0.1
    save_file(tensors, tmp_path / "off.safetensors", {"config": json.dumps(sizes)})
    with pytest.raises(SystemExit) as end:
        main(["import-checkpoint", "toywm", "--check", str(tmp_path / "off.safetensors")])
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["relative_error"] > 1e-3


def test_the_command_imports_and_says_so(tmp_path, pong, capsys):
    main(["import-checkpoint", "toywm", str(pong), str(tmp_path / "run")])
    parameters = sum(p.numel() for p in load(tmp_path / "run", "cpu").model.parameters())
    assert capsys.readouterr().out == f"imported: {tmp_path / 'run'}, {parameters:,} parameters\n"
    assert "is not empty; choose another folder" in said(capsys, "toywm", pong, tmp_path / "run")


def test_what_is_wrong_is_one_line(tmp_path, pong, capsys):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(pong.read_bytes()[:-100])
    other = GOLDEN / "nanowm_film.safetensors"
    assert "give a file of weights" in said(capsys, "nanowm")
    assert "is no file; give weights" in said(capsys, "nanowm", tmp_path / "none.ckpt", tmp_path / "a")
    assert "broken.safetensors is neither safetensors nor" in said(capsys, "toywm", broken, tmp_path / "a")
    assert "no tensor is called patch.x_embedder.weight" in said(capsys, "toywm", other, tmp_path / "a")
    assert "no tensor is called x_embedder.proj.weight" in said(capsys, "nanowm", "--check", pong)
    assert "no network has the prefix" in said(capsys, "toywm", "--check", pong)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("beside", [Settings, None])
def test_a_pickle_that_is_more_than_data_is_refused_and_not_run(tmp_path, beside):
    made = tmp_path / "made"
    torch.save({"model": {"w": torch.ones(3)}, "x": Program(made) if beside is None else beside()}, tmp_path / "x.pt")
    with pytest.raises(PublicWeightsError, match=r"more than tensors and data .*; nothing in it was run"):
        read_weights(tmp_path / "x.pt")
    assert not made.exists()


def test_a_pickle_that_would_fill_the_memory_is_stopped(tmp_path):
    torch.save({"w": torch.ones(1).expand(1 << 34)}, tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(PublicWeightsError, match="far more memory than its size"):
        read_weights(tmp_path / "bomb.pt")


def test_a_pickle_cut_short_or_slow_is_refused(tmp_path):
    torch.save({"w": torch.ones(3000)}, tmp_path / "whole.pt")
    with pytest.raises(PublicWeightsError, match=r"was not read within 0\.01 s"):
        read_weights(tmp_path / "whole.pt", seconds=0.01)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:9000])
    with pytest.raises(PublicWeightsError, match=r"cut\.pt is neither safetensors nor a file of torch.save"):
        read_weights(tmp_path / "cut.pt")


def test_a_fixture_without_an_output_says_so(tmp_path):
    tensors = load_file(GOLDEN / "toywm.safetensors")
    del tensors["output"]
    sizes = {"height": 12, "width": 12, "n_window": 4, "n_heads": 4, "d_model": 64, "n_blocks": 2}
    save_file(tensors, tmp_path / "no.safetensors", {"config": json.dumps(sizes)})
    with pytest.raises(PublicWeightsError, match="is no parity fixture: 'output' is missing"):
        relative_error("toywm", tmp_path / "no.safetensors")
