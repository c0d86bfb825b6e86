"""What is particular to the transformer; what it shares with every model is in tests/contracts."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from hallucade.actions import ActionSpace, Button, Choice
from hallucade.config import Config
from hallucade.diffusion.schedules import CosineNoiseConfig
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.toy_wm import toy_wm
from hallucade.recipes.pong import pong_transformer
from hallucade.training.curriculum import Stage

PONG = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
SMALL = DiffusionTransformerConfig(width=24, heads=2, depth=2, window=5)


def build(config, actions=PONG, shape=(3, 8, 12)):
    torch.manual_seed(1)
    model = config.build(actions, shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def test_toy_wm_has_its_published_size():
    with torch.device("meta"):
        model = toy_wm().build(PONG, (3, 24, 24))
    assert sum(p.numel() for p in model.parameters()) == 19_509_243
    assert model.positions.tokens == 65


def test_the_default_has_1_3_million_parameters():
    with torch.device("meta"):
        model = DiffusionTransformerConfig().build(PONG, (3, 24, 24))
    assert 1.25e6 < sum(p.numel() for p in model.parameters()) < 1.35e6


def test_fresh_blocks_are_the_identity_and_the_output_is_zero():
    model = SMALL.build(PONG, (3, 8, 12))
    out = model(torch.randn(2, 5, 3, 8, 12), torch.rand(2, 5), torch.rand(2, 4, 3))
    assert torch.equal(out, torch.zeros_like(out))
    fresh = replace(SMALL, zero_init=False).build(PONG, (3, 8, 12))
    assert fresh(torch.randn(2, 5, 3, 8, 12), torch.rand(2, 5), torch.rand(2, 4, 3)).std() > 0


@torch.no_grad()
@pytest.mark.parametrize("layout", ["factorised", "full"])
@pytest.mark.parametrize("positions", ["axial", "flat", "video"])
def test_frame_one_million_is_as_exact_as_frame_one(layout, positions):
    # One layer that looks back: what it keeps of a frame does not depend on the frames before.
    depth = 2 if layout == "factorised" else 1
    model = build(replace(SMALL, depth=depth, layout=layout, positions=positions))
    latents, actions = torch.randn(2, 6, 3, 8, 12), torch.rand(2, 5, 3)
    early = model.prefill(LatentClip(latents[:, :5], actions[:, :4]))
    late = replace(model.prefill(LatentClip(torch.randn(2, 9, 3, 8, 12), torch.rand(2, 8, 3))), frames=10**6)
    late = model.observe(late, actions[:, :1], latents[:, 1:2])
    for i in range(2, 5):
        late = model.observe(late, actions[:, i - 1 : i], latents[:, i : i + 1])
    assert late.frames == 10**6 + 4
    out = [model.denoise(s, actions[:, 4:], latents[:, 5:], torch.full((2,), 0.5)) for s in (early, late)]
    torch.testing.assert_close(*out, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sinks_are_never_farther_than_in_training():
    # The same frame at the start stays as visible after 12 frames as after 5: only its content decides.
    model = build(replace(SMALL, sink=1))
    still, first = torch.randn(2, 1, 3, 8, 12), torch.randn(2, 1, 3, 8, 12)
    idle = torch.zeros(2, 12, 3)
    outs = []
    for frames in (5, 12):
        clip = LatentClip(torch.cat([first, still.expand(-1, frames - 1, -1, -1, -1)], 1), idle[:, : frames - 1])
        outs.append(model.denoise(model.prefill(clip), idle[:, :1], still, torch.full((2,), 0.5)))
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-5)


def test_bfloat16_autocast_trains_and_plays():
    model = build(replace(SMALL, norm="rms", registers=1))
    latents, levels, actions = torch.randn(2, 6, 3, 8, 12), torch.rand(2, 6), torch.rand(2, 5, 3)
    exact = model(latents, levels, actions)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(latents, levels, actions)
        state = model.prefill(LatentClip(latents, actions))
        live = model.denoise(state, actions[:, :1], latents[:, :1], levels[:, 0])
        model.observe(state, actions[:, :1], latents[:, :1])
    assert rough.dtype == live.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.1)


def test_forward_compiles_into_one_graph():
    # In a process of its own: the run-time type checks of the tests are no code that a compiler can trace.
    script = """
import torch
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.nn import attention
for layout in ("factorised", "full"):
    config = DiffusionTransformerConfig(width=24, heads=2, depth=2, window=5, sink=1, layout=layout, zero_init=False)
    model = DiffusionTransformer(config, 3, (3, 8, 12))
    args = torch.randn(2, 7, 3, 8, 12), torch.rand(2, 7), torch.rand(2, 6, 3), torch.rand(2, 6) < 0.5
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*args), model(*args))
with torch.no_grad():  # the last one, full, as on an accelerator
    expected, attention.choose_kernel = model(*args), lambda *shape, **choices: "flex"
    torch.compiler.reset()
    torch.testing.assert_close(compiled(*args), expected)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_muon_gets_the_matrices_of_the_blocks_only():
    model = SMALL.build(ActionSpace(buttons=(Button(name="fire"),)), (3, 8, 12))
    kept = {name for name, p in model.named_parameters() if p not in model.adamw_parameters()}
    assert kept
    assert all(name.startswith("blocks.") for name in kept)


def test_config_survives_json():
    assert Config.from_json(toy_wm().to_json()) == toy_wm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "width 24 over 5 heads"),
        ({"heads": 8}, "3 a head"),
        ({"heads": 6, "layout": "full"}, "4 a head, too few for axial positions: 3 coordinates .* choose fewer heads"),
        ({"positions": "video", "heads": 6}, "4 a head, too few for video positions"),
        ({"position_shares": (2, 7, 7)}, r"\(2, 7, 7\), which axial positions do not read; choose positions='video'"),
        ({"positions": "learned", "learned_positions": True}, "vectors already; leave learned_positions off"),
        ({"rope_base": 1.0}, "rope_base is 1.0; use a number above 1"),
        ({"depth": 1}, "depth is 1"),
        ({"heads": 0}, "heads is 0; use 1 or more"),
        ({"registers": -1}, "registers is -1; use 0 for none"),
        ({"mlp_ratio": 0.0}, "mlp_ratio is 0.0: no hidden units at width 24; use 0.33"),
        ({"sink": 4}, "use 0 to 3"),
        ({"window": 1}, "window is 1"),
        ({"context_level": 1.0}, r"lies in \[0, 1\)"),
        ({"target": "eps", "schedule": CosineNoiseConfig(zero_terminal_snr=True)}, "eps.*LinearNoiseConfig"),
        ({"patch": 5}, "8x12 do not divide by patch 5"),
    ],
)
def test_bad_choices_name_the_value_and_the_remedy(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change).build(PONG, (3, 8, 12))


def test_learned_positions_ask_for_clips_longer_than_the_window():
    learned = replace(SMALL, positions="learned")
    with pytest.raises(ValueError, match=r"window of 5, but the longest clips have 5 .* train on clips of 10, or"):
        replace(pong_transformer(), model=learned, stages=(Stage(steps=3000, frames=5, batch=2),))
    replace(pong_transformer(), model=learned, stages=(Stage(steps=3000, frames=6, batch=2),))


@pytest.mark.parametrize("kind", ["swiglu", "geglu", "gelu"])
def test_feed_forwards_are_chosen_by_name(kind):
    model = build(replace(SMALL, mlp=kind, mlp_ratio=2.0, mlp_bias=True))
    latents, levels, actions = torch.randn(2, 6, 3, 8, 12), torch.rand(2, 6), torch.rand(2, 5, 3)
    out = model(latents, levels, actions)
    model.blocks[0].mlp.down.weight.data.zero_()
    assert (model(latents, levels, actions) - out).abs().max() > 1e-4
    assert {name.split(".", 2)[2] for name in model.state_dict() if ".mlp." in name} == {
        "mlp.up.weight",
        "mlp.up.bias",
        "mlp.down.weight",
        "mlp.down.bias",
    }
