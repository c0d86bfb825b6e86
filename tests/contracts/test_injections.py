"""What every way of injecting an action promises: it is learned from, it is on time, and a memory changes nothing."""

import pytest
import torch
from cases import LONG, build, clip

from hallucade.actions import ActionSpace, Button
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.action_injection import (
    AdaLNInjectionConfig,
    AdditiveInjectionConfig,
    CrossAttentionInjection,
    CrossAttentionInjectionConfig,
    FiLMInjectionConfig,
    FusedInjectionConfig,
    JoinedInjectionConfig,
)
from hallucade.nn.injection import InjectionConfig

INJECTIONS = {
    "joined": JoinedInjectionConfig(),
    "fused": FusedInjectionConfig(),
    "additive": AdditiveInjectionConfig(),
    "adaln": AdaLNInjectionConfig(),
    "film": FiLMInjectionConfig(),
    "cross-attention": CrossAttentionInjectionConfig(),
}
ONE_BUTTON = ActionSpace(buttons=(Button(name="fire"),))


def test_every_injection_is_listed():
    known = {name for name in InjectionConfig._classes if name.endswith("InjectionConfig")}
    assert {type(config).__name__ for config in INJECTIONS.values()} == known - {"InjectionConfig"}


@pytest.fixture(params=INJECTIONS.values(), ids=INJECTIONS.keys())
def injection(request):
    return request.param


@pytest.fixture(params=["factorised", "full"])
def config(injection, request):
    return DiffusionTransformerConfig(
        width=24, heads=2, depth=2, window=5, sink=1, layout=request.param, injection=injection
    )


def learned_response(model, steps=60):
    """Train fresh weights to show what the last action was; return the error that is left, 1 for a blind model."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    loss = torch.ones(())
    for _ in range(steps):
        actions = torch.randint(0, 2, (8, 3, 1), generator=generator).float()
        noise = torch.randn(8, 4, 1, 4, 4, generator=generator)
        shown = (2 * actions - 1)[..., None, None].expand(-1, -1, 1, 4, 4)
        loss = (model(noise, torch.ones(8, 4), actions)[:, 1:] - shown).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def fresh(injection):
    torch.manual_seed(0)
    return DiffusionTransformerConfig(width=24, heads=2, depth=2, window=4, injection=injection).build(
        ONE_BUTTON, (1, 4, 4)
    )


def test_a_fresh_network_learns_what_actions_do(injection):
    assert learned_response(fresh(injection)) < 0.3


def test_a_network_that_cannot_learn_them_fails_that_test():
    model = fresh(CrossAttentionInjectionConfig())
    for block in model.modules():
        if isinstance(block, CrossAttentionInjection):  # as the public NanoWM starts: gate and projection both at zero
            torch.nn.init.zeros_(block.attention.out.weight)
            torch.nn.init.zeros_(block.attention.out.bias)
    assert learned_response(model) > 0.9


def test_actions_matter_and_gradients_reach_them(config):
    model, whole = build(config), clip(LONG)
    actions = whole.actions.clone().requires_grad_()
    model(whole.latents, torch.rand(2, LONG), actions)[:, -1].square().sum().backward()
    assert (actions.grad[:, -1].abs() > 0).all()


@torch.no_grad()
def test_an_action_reaches_the_frame_that_it_leads_to_and_none_before(config):
    model, whole, levels = build(config), clip(LONG), torch.rand(2, LONG)
    plain = model(whole.latents, levels, whole.actions)
    for i in (0, 7, LONG - 2):
        actions = whole.actions.clone()
        actions[:, i] = 1 - actions[:, i]
        change = (model(whole.latents, levels, actions) - plain).abs().flatten(2).amax(2)
        assert change[:, : i + 1].max() < 1e-6
        assert change[:, i + 1].min() > 1e-3


@torch.no_grad()
def test_a_memory_changes_nothing_also_after_the_window_wrapped(config):
    model, whole = build(config), clip(LONG)
    levels = torch.zeros(2, LONG)
    state = model.initial(whole.latents[:, :1])
    for i in range(1, LONG):
        action, latent = whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1]
        levels[:, i] = 0.6
        past = model(whole.latents[:, : i + 1], levels[:, : i + 1], whole.actions[:, :i])[:, -1]
        torch.testing.assert_close(model.denoise(state, action, latent, levels[:, i])[:, 0], past, rtol=1e-5, atol=1e-5)
        levels[:, i] = 0
        state = model.observe(state, action, latent)


@torch.no_grad()
def test_a_blank_memory_knows_the_action_that_led_to_the_first_frame(config):
    model, whole = build(config), clip(6)
    state = model.observe(model.blank(2), None, whole.latents[:, :1])
    for i in range(1, 5):
        state = model.observe(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])
    level = torch.full((2,), 0.6)
    expected = model.denoise(
        model.prefill(LatentClip(whole.latents[:, :5], whole.actions[:, :4])), None, whole.latents[:, 5:], level
    )
    torch.testing.assert_close(model.denoise(state, None, whole.latents[:, 5:], level), expected, rtol=1e-5, atol=1e-5)
    told = model.observe(model.blank(2), whole.actions[:, :1], whole.latents[:, :1])
    untold = model.initial(whole.latents[:, :1])
    one, two = (model.denoise(s, None, whole.latents[:, 1:2], level) for s in (told, untold))
    assert (one - two).abs().max() > 1e-4
