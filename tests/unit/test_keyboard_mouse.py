"""What is particular to keys and mouse; what all injections promise is in tests/contracts/test_injections.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.methods.pretrain import Pretrain
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.action_injection import KeyboardMouseInjectionConfig
from hallucade.nn.action_window import grouped, preceded, windows
from hallucade.nn.injection import BlockSite
from hallucade.nn.keyboard_mouse import MATRIX_GAME_2, KeyboardMouseInjection
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.rollout import Prompt, Session, World, dream, rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guidance import ActionGuided
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer

MOUSE = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="yaw", low=-1, high=1),))
KEYS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
STICK = ActionSpace(axes=(Axis(name="x", low=-1, high=1), Axis(name="y", low=-1, high=1)))
SMALL = DiffusionTransformerConfig(
    width=24, heads=2, depth=3, window=5, layout="full", injection=KeyboardMouseInjectionConfig(key_features=6)
)


def modules(model):
    return [block.injection for block in model.blocks if isinstance(block.injection, KeyboardMouseInjection)]


def shaken(config, space=MOUSE):
    torch.manual_seed(2)
    model = config.build(space, (3, 8, 12)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def test_matrix_game_2_has_its_published_size():
    site = BlockSite(width=1536, heads=12, axis="both", index=14, count=30, features=6, axes=2, stride=4)
    with torch.device("meta"):
        module = MATRIX_GAME_2.build(site)
    mix = (1536 + 2 * 12 + 1) * 1024 + (1024 + 1) * 1024 + 2 * 1024  # two layers and a norm
    mouse = mix + 1024 * 3 * 1024 + 2 * 64 + 1024 * 1536
    embed = (4 + 1) * 128 + (128 + 1) * 128
    keyboard = embed + 1536 * 1024 + 12 * 128 * 2 * 1024 + 2 * 64 + 1024 * 1536
    assert sum(p.numel() for p in module.mouse.parameters()) == mouse == 7_368_832
    assert sum(p.numel() for p in module.keyboard.parameters()) == keyboard == 6_308_736
    after = replace(site, index=15)
    assert not list(MATRIX_GAME_2.build(after).parameters())


def test_latents_hear_of_the_actions_that_matrix_game_2_tells_them_of():
    actions = torch.arange(5 * 4).reshape(1, 20, 1).float()  # 6 latents of 4 frames
    before = actions[:, :1].repeat(1, 3, 4)
    told = windows(preceded(before, grouped(actions, 4)), 3)
    rule = [[max(4 * i - 12 + j, 0) for j in range(12)] for i in range(6)]  # the first action stands for earlier ones
    assert told.tolist() == [rule]


def test_the_first_latents_hear_of_no_action_instead_of_later_ones():
    model = shaken(replace(SMALL, stride=2))
    told = model.pressed(torch.rand(2, 6, 2))[:, 0].reshape(2, 3, 4)
    assert torch.equal(told, model.no_action.expand(2, 3, 4))


def test_a_dropped_latent_is_one_of_no_action_and_no_other():
    model, actions = shaken(replace(SMALL, stride=2)), torch.rand(1, 6, 2)
    dropped = torch.tensor([[False, False, True, False, False, True]])  # the first of a latent's actions decides
    rows = model.embed_actions(actions, dropped)
    assert torch.equal(rows[:, 1], model.no_action[None])
    assert torch.equal(rows[:, ::2], actions.reshape(1, 3, 4)[:, ::2])


@pytest.mark.parametrize(("space", "mouse", "keyboard"), [(MOUSE, 1, 1), (KEYS, 0, 1), (STICK, 1, 0)])
def test_a_game_has_layers_for_the_controls_that_it_has(space, mouse, keyboard):
    (_, module) = modules(SMALL.build(space, (3, 8, 12)))
    assert (module.mouse is not None, module.keyboard is not None) == (mouse, keyboard)


@pytest.mark.parametrize(
    ("layout", "blocks", "carriers"),
    [("full", None, [0, 1]), ("full", 1, [0]), ("factorised", None, [1]), ("factorised", 2, [1, 3])],
)
def test_the_first_blocks_that_look_back_carry_it(layout, blocks, carriers):
    injection = replace(SMALL.injection, blocks=blocks)
    model = replace(SMALL, layout=layout, depth=3 if layout == "full" else 4, injection=injection).build(
        MOUSE, (3, 8, 12)
    )
    found = [i for i, block in enumerate(model.blocks) if isinstance(block.injection, KeyboardMouseInjection)]
    assert found == carriers


def test_a_fresh_module_changes_nothing_and_learns_at_once():
    model = SMALL.build(MOUSE, (3, 8, 12))
    module, view = modules(model)[0], model.views.of_clip("both", 1, torch.device("cpu"))
    x, told = torch.randn(2, 1, 6, 24), torch.randn(2, 1, 6)
    out, kept = module.between(x, told, view, ())
    assert torch.equal(out, x)
    assert [tuple(k.keys.shape) for k in kept] == [(2, 6, 2, 1, 12), (2, 2, 1, 12)]  # places share the keys' memory
    out.square().sum().backward()
    assert all(part.out.weight.grad.abs().sum() > 0 for part in (module.mouse, module.keyboard))


@torch.no_grad()
def test_each_row_of_a_batch_is_a_game_of_its_own():
    model = shaken(replace(SMALL, stride=3))
    latents, actions = torch.randn(3, 7, 3, 8, 12), torch.rand(3, 18, 2)

    def last(rows: slice):
        state = model.initial(latents[rows, :1])
        for i in range(1, 6):
            state = model.observe(state, actions[rows, 3 * i - 3 : 3 * i], latents[rows, i : i + 1])
        return model.denoise(state, actions[rows, 15:], latents[rows, 6:], torch.full((len(latents[rows]),), 0.6))

    together = last(slice(0, 3))
    for i in range(3):
        torch.testing.assert_close(last(slice(i, i + 1)), together[i : i + 1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_frame_one_million_is_as_exact_as_frame_one():
    model = shaken(replace(SMALL, depth=1))
    latents, actions = torch.randn(2, 13, 3, 8, 12), torch.rand(2, 12, 2)
    early = model.prefill(LatentClip(latents[:, :12], actions[:, :11]))
    late = replace(model.prefill(LatentClip(torch.randn(2, 9, 3, 8, 12), torch.rand(2, 8, 2))), frames=10**6)
    for i in range(1, 12):  # a place's memory of itself rests on its attention to the frames before
        late = model.observe(late, actions[:, i - 1 : i], latents[:, i : i + 1])
    out = [model.denoise(s, actions[:, 11:], latents[:, 12:], torch.full((2,), 0.5)) for s in (early, late)]
    torch.testing.assert_close(*out, rtol=1e-5, atol=1e-5)


class Pairs(PixelTokenizer):
    """Two frames a latent: it keeps the second, and shows it twice."""

    stride = 2

    def encode(self, frames):
        return super().encode(frames[:, 1::2])

    def decode(self, latents):
        return super().decode(latents).repeat_interleave(2, 1)


def test_a_game_of_latents_of_two_frames_is_played_live_as_offline():
    model, rng = shaken(replace(SMALL, stride=2)), np.random.default_rng(0)
    world = World(Pairs(), model, FlowSamplerConfig(steps=2).build(), MOUSE, frame_size=(8, 12), fps=30.0)
    prompt = Prompt(rng.integers(0, 256, (6, 8, 12, 3), np.uint8), rng.random((5, 2), np.float32).round())
    rows = rng.random((1, 14, 2), np.float32).round()
    dreamed = torch.cat(list(dream(world, [prompt], rows)), 1)
    assert dreamed.shape == (1, 14, 8, 12, 3)
    live = Session(world, prompt)
    assert torch.equal(torch.cat([live.step(rows[0, i : i + 2]) for i in range(0, 14, 2)], 1), dreamed)
    rows[0, 5] = 1 - rows[0, 5]  # leads to the second frame of the third latent
    other = torch.cat(list(dream(world, [prompt], rows)), 1)
    assert torch.equal(other[:, :4], dreamed[:, :4])
    assert not torch.equal(other[:, 4:6], dreamed[:, 4:6])


@torch.no_grad()
def test_clips_drawn_at_once_know_which_actions_lead_to_which_latent():
    model, latents, actions = shaken(replace(SMALL, stride=3)), torch.randn(2, 2, 3, 8, 12), torch.rand(2, 11, 2)
    prompt = LatentClip.encoded(latents, actions[:, :5], 3)  # with the actions between the frames of the first latent
    drawn = JointSamplerConfig(steps=2, lag=2).build()(
        ActionGuided(model, 1.5), prompt, actions[:, 5:], seeded(0, 2), stride=3
    )
    state = model.prefill(prompt)
    steps = rollout(
        ActionGuided(model, 1.5), DDIMSamplerConfig(steps=2).build(), state, actions[:, 5:].split(3, 1), seeded(0, 2)
    )
    torch.testing.assert_close(torch.cat(list(steps), 1), drawn, rtol=1e-4, atol=1e-4)


def test_training_on_recorded_play_hears_of_every_action():
    method = Pretrain(
        Pairs(), replace(SMALL, stride=2).build(MOUSE, (3, 8, 12)), DiffusionForcingConfig(action_dropout=0.2).build()
    )
    frames = torch.randint(0, 256, (2, 8, 8, 12, 3), dtype=torch.uint8)
    optimizer = torch.optim.SGD(method.model.parameters(), 0.1)
    for seed in range(3):  # zeros in three layers, one behind the other
        optimizer.zero_grad()
        ((_, loss),) = method.losses(Clip(frames, torch.rand(2, 7, 2), seed), 0)
        loss.backward()
        optimizer.step()
    for part in (modules(method.model)[0].mouse.mix[0], modules(method.model)[0].keyboard.embed[0]):
        assert part.weight.grad.abs().sum() > 0


def test_bfloat16_autocast_trains_and_plays():
    model = shaken(SMALL)
    latents, levels, actions = torch.randn(2, 6, 3, 8, 12), torch.rand(2, 6), torch.rand(2, 5, 2)
    exact = model(latents, levels, actions)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(latents, levels, actions)
        state = model.observe(model.prefill(LatentClip(latents, actions)), actions[:, :1], latents[:, :1])
        live = model.denoise(state, actions[:, :1], latents[:, :1], levels[:, 0])
    assert rough.dtype == live.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "window is 0; use 1 or more"),
        ({"turning": 3}, "turning is 3; features turn in pairs"),
        ({"heads": 5}, "width 24 of the keyboard and mouse over 5 heads is 4.8 a head"),
        ({"blocks": 4}, "4 blocks are to carry the keyboard and mouse; 3 look back"),
    ],
)
def test_bad_sizes_name_the_value_and_the_remedy(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, injection=replace(SMALL.injection, **change)).build(MOUSE, (3, 8, 12))


def test_an_embedding_of_the_model_is_refused():
    with pytest.raises(ValueError, match="KeyboardMouseInjectionConfig embeds them itself, so leave it off"):
        replace(SMALL, action_hidden=True)


def test_actions_that_do_not_fill_latents_name_the_stride():
    model = replace(SMALL, stride=4).build(MOUSE, (3, 8, 12))
    with pytest.raises(ValueError, match=r"6 actions for 3 latents of 4 frame\(s\); give 8"):
        model(torch.randn(1, 3, 3, 8, 12), torch.rand(1, 3), torch.rand(1, 6, 2))
    with pytest.raises(ValueError, match="3 actions for latents of 4 frames; give 4 a latent"):
        model.observe(model.blank(1), torch.rand(1, 3, 2), torch.randn(1, 1, 3, 8, 12))


def test_config_survives_json():
    assert Config.from_json(SMALL.to_json()) == SMALL
