"""Pretrained autoencoders: what diffusers computes, told apart by their content, refused when they are not usable."""

import json
import shutil
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'hallucade[pretrained]'")
from samples.autoencoders import FACTORS, build_autoencoder, save_autoencoder

from hallucade.config import Config
from hallucade.tokenizers import autoencoder_folder
from hallucade.tokenizers.autoencoder_folder import CONFIG, WEIGHTS, AutoencoderError, find_autoencoder
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig

B, T, H, W = 2, 3, 16, 24


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One folder for each kind of autoencoder."""
    root = tmp_path_factory.mktemp("autoencoders")
    return {kind: save_autoencoder(root / kind, kind) for kind in FACTORS}


@pytest.fixture
def folder(saved, tmp_path):
    """A KL autoencoder that a test may break."""
    return shutil.copytree(saved["AutoencoderKL"], tmp_path / "kl")


def config(path, **changes):
    return PretrainedTokenizerConfig(path=str(path), **changes)


def frames(seed=0):
    return torch.randint(0, 256, (B, T, H, W, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def edited(folder, **changes):
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(("kind", "shift", "scale"), [("AutoencoderKL", 0.2, 0.7), ("AutoencoderDC", 0, 0.4)])
def test_latents_are_those_of_diffusers_shifted_and_scaled(saved, kind, shift, scale):
    tokenizer, network = config(saved[kind]).build(), build_autoencoder(kind)
    pixels = frames().flatten(0, 1).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        encoded = network.encode(pixels)
        raw = encoded.latent if kind == "AutoencoderDC" else encoded.latent_dist.mode()
        shown = network.decode(raw).sample
    latents = tokenizer.encode(frames())
    assert latents.dtype == torch.float32
    assert latents.shape == (B, T, *tokenizer.latent_shape(H, W)) == (B, T, raw.shape[1], *raw.shape[2:])
    torch.testing.assert_close(latents.flatten(0, 1), (raw - shift) * scale, rtol=1e-4, atol=1e-5)
    decoded = tokenizer.decode(latents).flatten(0, 1).permute(0, 3, 1, 2).float()
    assert (decoded - ((shown + 1) * 127.5).round().clamp(0, 255)).abs().max() <= 1


def test_a_tiny_autoencoder_goes_there_and_back(saved):
    tokenizer = config(saved["AutoencoderTiny"]).build()
    latents = tokenizer.encode(frames())
    assert latents.shape == (B, T, 5, H // 4, W // 4)
    assert torch.equal(tokenizer.stream()(latents), tokenizer.decode(latents))
    assert tokenizer.decode(latents).shape == (B, T, H, W, 3)


def test_statistics_of_each_channel_take_the_place_of_the_shift(saved, tmp_path):
    mean, std = [0.5, -0.25, 1.0, 2.0], [2.0, 0.5, 1.0, 4.0]
    path = edited(shutil.copytree(saved["AutoencoderKL"], tmp_path / "kl"), latents_mean=mean, latents_std=std)
    raw = config(saved["AutoencoderKL"]).build().encode(frames()) / 0.7 + 0.2
    wanted = (raw - torch.tensor(mean)[:, None, None]) * 0.7 / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(config(path).build().encode(frames()), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FACTORS)
def test_frames_of_odd_sizes_are_refused_with_the_multiple(saved, kind):
    tokenizer = config(saved[kind]).build()
    with pytest.raises(ValueError, match=f"14x24 pixels and this autoencoder needs multiples of {FACTORS[kind]}; "):
        tokenizer.encode(torch.zeros(1, 1, 14, 24, 3, dtype=torch.uint8))


def test_a_fingerprint_is_of_the_content_and_not_of_the_file(folder, tmp_path):
    first = find_autoencoder(str(folder)).fingerprint
    weights = load_file(folder / WEIGHTS)
    packed = shutil.copytree(folder, tmp_path / "packed")
    save_file(dict(reversed(weights.items())), packed / WEIGHTS, {"made": "elsewhere"})
    assert find_autoencoder(str(edited(packed, _diffusers_version="0.0.1"))).fingerprint == first
    name = sorted(weights)[7]
    weights[name].view(-1)[0] += 1e-3
    save_file(weights, packed / WEIGHTS)
    assert find_autoencoder(str(packed)).fingerprint != first
    assert find_autoencoder(str(edited(folder, scaling_factor=0.71))).fingerprint != first


def test_another_autoencoder_than_the_pinned_one_is_refused_with_both_fingerprints(saved):
    pinned = config(saved["AutoencoderKL"]).pinned()
    other = config(saved["AutoencoderDC"]).pinned()
    with pytest.raises(AutoencoderError, match=f"holds the autoencoder {other.fingerprint}, and {pinned.fingerprint} "):
        replace(pinned, path=other.path).build()
    assert Config.from_json(pinned.to_json()) == pinned


def test_weights_are_in_no_checkpoint_and_draw_no_random_number(saved):
    before = torch.get_rng_state()
    tokenizer = config(saved["AutoencoderKL"]).build()
    assert torch.equal(torch.get_rng_state(), before)
    holder = torch.nn.ModuleDict({"tokenizer": tokenizer, "head": torch.nn.Linear(2, 3)})
    assert list(holder.state_dict()) == ["head.weight", "head.bias"]
    holder.load_state_dict(holder.state_dict())
    assert not any(p.requires_grad for p in tokenizer.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_a_trainers_autocast_changes_nothing(saved, precision):
    exact = config(saved["AutoencoderKL"], chunk=B * T).build()
    latents = exact.encode(frames())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(exact.encode(frames()), latents)
    half = config(saved["AutoencoderKL"], precision=precision, chunk=4).build()
    error = (half.encode(frames()) - latents).norm() / latents.norm()
    assert 0 < error < 0.03
    assert half.encode(frames()).dtype == torch.float32


def broken_class(folder):
    edited(folder, _class_name="StableDiffusionPipeline")


def broken_channels(folder):
    edited(folder, in_channels=4)


def broken_scale(folder):
    edited(folder, scaling_factor="big")


def broken_json(folder):
    (folder / CONFIG).write_text('{"_class_name":')


def broken_end(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def broken_name(folder):
    weights = load_file(folder / WEIGHTS)
    weights["stranger"] = weights.pop("quant_conv.bias")
    save_file(weights, folder / WEIGHTS)


def broken_shape(folder):
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"quant_conv.bias": torch.zeros(3)}, folder / WEIGHTS)


def broken_pickle(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")


def broken_place(folder):
    (folder / "vae").mkdir()
    shutil.move(folder / CONFIG, folder / "vae" / CONFIG)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (broken_class, "names 'StableDiffusionPipeline'; the autoencoders that can be used: AutoencoderKL, "),
        (broken_channels, "in_channels is 4; frames have 3; "),
        (broken_scale, "AutoencoderFacts.scaling_factor is 'big', which is not a "),
        (broken_json, "is damaged: it is not a JSON object; copy or download it again"),
        (broken_end, "diffusion_pytorch_model.safetensors is damaged .*; copy or download it again"),
        (broken_name, "does not fit config.json: missing quant_conv.bias"),
        (broken_shape, "cannot be read as AutoencoderKL .*quant_conv.bias.*; copy or download it again"),
        (broken_pickle, "holds diffusion_pytorch_model.bin, a pickle, which is never read, *; save it again"),
        (broken_place, "it has no config.json; its folder vae has one"),
    ],
)
def test_a_broken_folder_is_one_clear_error(folder, fault, message):
    fault(folder)
    with pytest.raises(AutoencoderError, match=message):
        config(folder).build()


def test_what_is_neither_here_nor_on_the_hub_is_said(tmp_path, monkeypatch):
    hub = import_module("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AutoencoderError, match=r"there is no folder \./gone; give one with config\.json"):
        config("./gone").build()
    with pytest.raises(AutoencoderError, match="there is no folder owner/gone, and the hub does not give it "):
        config("owner/gone").build()


def test_a_cached_download_is_used_offline(saved, tmp_path, monkeypatch):
    hub = import_module("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repo, commit = tmp_path / "models--owner--pipeline", "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(saved["AutoencoderTiny"], repo / "snapshots" / commit / "vae")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    found = config("owner/pipeline/vae").pinned()
    assert found.fingerprint == config(saved["AutoencoderTiny"]).pinned().fingerprint
    assert config(f"owner/pipeline/vae@{commit}").pinned().fingerprint == found.fingerprint


def test_without_diffusers_the_remedy_is_said(saved, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(autoencoder_folder, "import_module", absent)
    with pytest.raises(AutoencoderError, match=r"need diffusers .*pip install 'hallucade\[pretrained\]'"):
        config(saved["AutoencoderKL"]).build()


def test_a_folder_keeps_the_autoencoder_once_and_whole(saved, folder, tmp_path):
    run = tmp_path / "run"
    (run / "tokenizer.tmp-0").mkdir(parents=True)  # of a writer that was killed
    pinned = config(folder).pinned()
    pinned.keep_in(run)
    assert [path.name for path in run.iterdir()] == ["tokenizer"]
    stamp = (run / "tokenizer" / WEIGHTS).stat().st_mtime_ns
    shutil.rmtree(folder)
    kept = pinned.kept_in(run)
    kept.keep_in(run)
    assert (run / "tokenizer" / WEIGHTS).stat().st_mtime_ns == stamp
    assert torch.equal(kept.build().encode(frames()), config(saved["AutoencoderKL"]).build().encode(frames()))
