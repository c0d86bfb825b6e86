"""NanoWM and toy-wm: sizes, parity with the public networks' own outputs, weights that do not fit, small exactness."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from samples.public_weights import nanowm_weights, toy_wm_weights

from hallucade.config import Config
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformer
from hallucade.models.nanowm import (
    INJECTIONS,
    NanoWMSizes,
    convert_nanowm,
    measure_nanowm,
    nanowm_b2,
    nanowm_l2,
    nanowm_output,
    nanowm_s2,
)
from hallucade.models.public_weights import strip_prefix
from hallucade.models.toy_wm import ToyWMSizes, convert_toy_wm, measure_toy_wm, toy_wm, toy_wm_output, toy_wm_stream
from hallucade.models.weights_file import PublicWeightsError

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = NanoWMSizes(
    input_size=(4, 6),
    patch_size=2,
    in_channels=3,
    hidden_size=24,
    depth=3,
    num_heads=2,
    num_frames=5,
    action_dim=7,
    action_injection="additive",
)
TOY_SIZES = ToyWMSizes(height=6, width=9, n_window=4, n_heads=2, d_model=24, n_blocks=1, T=50)


def golden(name):
    """Return a fixture's public sizes, its weights under their public names, and its other tensors."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        config, tensors = json.loads(file.metadata()["config"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {key.removeprefix("weights."): t for key, t in tensors.items() if key.startswith("weights.")}
    return config, weights, tensors


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("injection", INJECTIONS)
def test_nanowm_gives_what_the_public_network_gives(injection):
    config, weights, tensors = golden(f"nanowm_{injection}")
    model = convert_nanowm(weights, NanoWMSizes.from_json(config)).build()
    inputs = [tensors[f"input.{name}"] for name in ("latents", "timesteps", "actions")]
    assert relative_error(nanowm_output(model, *inputs), tensors["output"]) < 1e-5
    inputs[2] = 1 - inputs[2]
    assert relative_error(nanowm_output(model, *inputs), tensors["output"]) > 1e-3


def test_toy_wm_gives_what_the_public_network_gives():
    config, weights, tensors = golden("toywm")
    model = convert_toy_wm(weights, ToyWMSizes.from_json(config)).build()
    inputs = [tensors[f"input.{name}"] for name in ("frames", "actions", "levels")]
    assert relative_error(toy_wm_output(model, *inputs), tensors["output"]) < 1e-5
    streamed = toy_wm_stream(model, tensors["stream.frames"], tensors["stream.actions"])
    assert relative_error(streamed, tensors["stream.output"]) < 1e-5
    inputs[1] = 3 - inputs[1]
    assert relative_error(toy_wm_output(model, *inputs), tensors["output"]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_cached_nanowm_equals_the_whole_clip(injection):
    config, weights, tensors = golden(f"nanowm_{injection}")
    model = convert_nanowm(weights, NanoWMSizes.from_json(config)).build()
    latents, actions = tensors["input.latents"], tensors["input.actions"][:, :-1]
    levels = torch.zeros(latents.shape[:2])
    levels[:, -1] = 0.7
    whole = model(latents, levels, actions)[:, -1]
    state = model.prefill(LatentClip(latents[:, :2], actions[:, :1]))
    for i in (2, 3):
        state = model.observe(state, actions[:, i - 1 : i], latents[:, i : i + 1])
    cached = model.denoise(state, actions[:, -1:], latents[:, -1:], torch.full((2,), 0.7))[:, 0]
    torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (nanowm_s2(), 39_781_648),
        (nanowm_b2(), 158_598_160),
        (nanowm_l2(), 558_666_768),
        (nanowm_b2(injection="adaln"), 201_120_784),
        (nanowm_b2(injection="adaln_fuse"), 158_598_160),
        (nanowm_b2(injection="film"), 172_772_368),
        (nanowm_b2(injection="cross_attention"), 186_955_792),
    ],
)
def test_presets_have_their_published_sizes(config, parameters):
    with torch.device("meta"):
        model = DiffusionTransformer(config, 7, (4, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert Config.from_json(config.to_json()) == config


def test_a_nanowm_without_an_action_is_one_with_a_zero_vector():
    model = convert_nanowm(nanowm_weights(SIZES), SIZES).build()
    assert torch.equal(model.pressed(torch.rand(2, 3, 7))[:, 0], torch.zeros(2, 24))
    assert not {"no_action"} & set(model.state_dict())


@pytest.mark.parametrize("injection", ["additive", "adaln", "film", "cross_attention"])
def test_nanowm_weights_tell_their_sizes(injection):
    sizes = replace(SIZES, action_injection=injection)
    said = injection if injection == "additive" else None
    assert measure_nanowm(nanowm_weights(sizes), (4, 6), said) == sizes
    square = replace(sizes, input_size=6)
    assert measure_nanowm(nanowm_weights(square), None, said) == square


def test_nanowm_weights_that_cannot_tell_say_what_is_missing():
    weights = nanowm_weights(SIZES)
    with pytest.raises(PublicWeightsError, match="say --injection additive or --injection adaln_fuse"):
        measure_nanowm(weights, (4, 6))
    with pytest.raises(PublicWeightsError, match="6 patches are no square; say --size"):
        measure_nanowm(weights, None, "additive")
    del weights["pos_embed"]
    with pytest.raises(PublicWeightsError, match="'pos_embed' is missing"):
        measure_nanowm(weights, (4, 6), "additive")
    with pytest.raises(ValueError, match="see the future"):
        replace(SIZES, causal=False)


@pytest.mark.parametrize("width", [24, 64])  # without and with norms in the stem
def test_toy_wm_weights_tell_their_sizes(width):
    sizes = replace(TOY_SIZES, d_model=width)
    weights = toy_wm_weights(sizes)
    assert measure_toy_wm(weights, (6, 9)) == sizes
    assert ("patch.init_conv_seq.2.weight" in weights) == (width == 64)
    model = convert_toy_wm(weights, sizes).build()
    assert (
        sum(p.numel() for p in model.parameters())
        == sum(value.numel() for name, value in weights.items() if name.rpartition(".")[2] in ("weight", "bias", "w"))
        + weights["registers"].numel()
    )
    with pytest.raises(PublicWeightsError, match=r"28 positions .* frames of 24x24 .* say --size"):
        measure_toy_wm(weights)


def test_a_second_convolution_may_come_third():
    sizes = replace(TOY_SIZES, d_model=24)
    weights = toy_wm_weights(sizes)
    third = {name.replace("init_conv_seq.3.", "init_conv_seq.2."): value for name, value in weights.items()}
    assert third.keys() != weights.keys()
    one, two = (convert_toy_wm(w, sizes).weights for w in (weights, third))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_toy_wm_is_its_published_sizes():
    assert ToyWMSizes().network() == toy_wm()


@pytest.mark.parametrize(
    ("convert", "draw", "sizes", "renamed", "resized"),
    [
        (convert_nanowm, nanowm_weights, SIZES, "blocks.1.attn.proj.bias", "temp_embed"),
        (convert_toy_wm, toy_wm_weights, TOY_SIZES, "blocks.0.geglu.down.bias", "action_emb.weight"),
    ],
)
def test_weights_that_do_not_fit_are_listed_one_by_one(convert, draw, sizes, renamed, resized):
    weights = draw(sizes)
    weights["blocks.0.odd"] = weights.pop(renamed)
    was = tuple(weights[resized].shape)
    weights[resized] = weights[resized].repeat(2, *[1] * (len(was) - 1))
    with pytest.raises(PublicWeightsError) as error:
        convert(weights, sizes)
    text = str(error.value)
    assert f"missing {renamed}" in text
    assert "unexpected blocks.0.odd" in text
    assert f"{resized} is {(2 * was[0], *was[1:])} there and {was} here" in text
    assert text.count(";") == 2


@pytest.mark.parametrize(("name", "prefix"), [("model.", None), ("", None), ("net._orig_mod.", None), ("a.b.", "a.b.")])
def test_wrappers_are_unwrapped(name, prefix):
    inner = {"x_embedder.proj.weight": torch.ones(2), "pos_embed": torch.zeros(3)}
    wrapped = {f"{name}{key}": value for key, value in inner.items()}
    found = strip_prefix(
        wrapped | ({"vae.conv.weight": torch.ones(4)} if name else {}), "x_embedder.proj.weight", prefix
    )
    assert found.keys() == inner.keys()


def test_weights_that_are_no_numbers_are_named():
    broken = {"x_embedder.proj.weight": torch.ones(2), "pos_embed": torch.tensor([0, torch.nan, 1])}
    with pytest.raises(PublicWeightsError, match=r"^pos_embed holds numbers that are not finite; copy or download"):
        strip_prefix(broken, "x_embedder.proj.weight")


def test_several_networks_ask_which():
    both = {f"{name}.x_embedder.proj.weight": torch.full((1,), i) for i, name in enumerate(("model", "ema"))}
    with pytest.raises(PublicWeightsError, match=r"choose one with --prefix: 'model.', 'ema.'"):
        strip_prefix(both, "x_embedder.proj.weight")
    assert strip_prefix(both, "x_embedder.proj.weight", "ema.") == {
        "x_embedder.proj.weight": both["ema.x_embedder.proj.weight"]
    }
    with pytest.raises(PublicWeightsError, match=r"no network has the prefix .vae\.."):
        strip_prefix(both, "x_embedder.proj.weight", "vae.")
    with pytest.raises(
        PublicWeightsError, match=r"no tensor is called patch.x_embedder.weight.*it has model.x_embedder"
    ):
        strip_prefix(both, "patch.x_embedder.weight")


@torch.no_grad()
def test_weights_in_half_precision_dream_nearly_the_same():
    config, weights, tensors = golden("toywm")
    public = convert_toy_wm(weights, ToyWMSizes.from_json(config))
    exact, half = public.build(), public.build().bfloat16()
    clip = LatentClip(tensors["input.frames"], torch.eye(3)[tensors["input.actions"][:, 1:] % 3])
    args = clip.actions[:, :1], tensors["input.frames"][:, :1], tensors["input.levels"][:, 0]
    ours, rough = (model.denoise(model.prefill(clip), *args) for model in (exact, half))
    assert rough.dtype == torch.float32
    assert 0 < relative_error(rough, ours) < 0.05
