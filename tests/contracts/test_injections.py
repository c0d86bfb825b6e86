"""What every way of injecting an action promises: it is learned from, it is on time, and a memory changes nothing."""

from dataclasses import dataclass

import pytest
import torch
from cases import ACTIONS, LONG, MOUSE, build, clip

from hallucade.actions import ActionSpace, Axis, Button
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
    KeyboardMouseInjectionConfig,
)
from hallucade.nn.injection import InjectionConfig

INJECTIONS = {
    "joined": JoinedInjectionConfig(),
    "fused": FusedInjectionConfig(),
    "additive": AdditiveInjectionConfig(),
    "adaln": AdaLNInjectionConfig(),
    "film": FiLMInjectionConfig(),
    "cross-attention": CrossAttentionInjectionConfig(),
    "keyboard-mouse": KeyboardMouseInjectionConfig(key_features=6),
}
ONE_BUTTON = ActionSpace(buttons=(Button(name="fire"),))
ONE_AXIS = ActionSpace(axes=(Axis(name="yaw", low=-1, high=1),))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def test_every_injection_is_listed():
    known = {name for name in InjectionConfig._classes if name.endswith("InjectionConfig")}
    assert {type(config).__name__ for config in INJECTIONS.values()} == known - {"InjectionConfig"}


@pytest.fixture(params=INJECTIONS.values(), ids=INJECTIONS.keys())
def injection(request):
    return request.param


@dataclass(frozen=True)
class Case:
    """A transformer, and a game whose latents stand for `stride` frames."""

    config: DiffusionTransformerConfig
    space: ActionSpace

    @property
    def stride(self) -> int:
        return self.config.stride

    def build(self):
        return build(self.config, actions=self.space)

    def clip(self, latents: int) -> LatentClip:
        return clip(latents, actions=self.space, stride=self.stride)

    def before(self, actions, latent: int):
        """The actions that lead to this latent."""
        return actions[:, (latent - 1) * self.stride : latent * self.stride]


GAMES = {
    "factorised": (ACTIONS, "factorised", 1),
    "full": (ACTIONS, "full", 1),
    "mouse, four frames a latent": (MOUSE, "full", 4),
}


@pytest.fixture(params=GAMES.values(), ids=GAMES.keys())
def case(injection, request):
    space, layout, stride = request.param
    return Case(
        DiffusionTransformerConfig(
            width=24, heads=2, depth=2, window=5, sink=1, layout=layout, injection=injection, stride=stride
        ),
        space,
    )


def learned_response(model, space, steps=60):
    """Train fresh weights to show what the last action was; return the error that is left, 1 for a blind model."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    loss = torch.ones(())
    for _ in range(steps):
        pressed = torch.randint(0, 2, (8, 3, 1), generator=generator).float()
        noise = torch.randn(8, 4, 1, 4, 4, generator=generator)
        shown = (2 * pressed - 1)[..., None, None].expand(-1, -1, 1, 4, 4)
        actions = pressed if space is ONE_BUTTON else space.encode(2 * pressed - 1)
        loss = (model(noise, torch.ones(8, 4), actions)[:, 1:] - shown).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def fresh(injection, space=ONE_BUTTON, **options):
    torch.manual_seed(0)
    config = DiffusionTransformerConfig(width=24, heads=2, depth=2, window=4, injection=injection, **options)
    return config.build(space, (1, 4, 4))


def test_a_fresh_network_learns_what_actions_do(injection):
    assert learned_response(fresh(injection), ONE_BUTTON) < 0.1


def test_a_fresh_network_learns_what_a_mouse_does():
    assert learned_response(fresh(INJECTIONS["keyboard-mouse"], ONE_AXIS), ONE_AXIS) < 0.1


def test_a_network_that_cannot_learn_them_fails_that_test():
    model = fresh(CrossAttentionInjectionConfig())
    for block in model.modules():
        if isinstance(block, CrossAttentionInjection):  # as the public NanoWM starts: gate and projection both at zero
            torch.nn.init.zeros_(block.attention.out.weight)
            torch.nn.init.zeros_(block.attention.out.bias)
    assert learned_response(model, ONE_BUTTON) > 0.9


def test_one_step_from_fresh_weights_is_enough_for_actions_to_matter(injection):
    model = fresh(injection, zero_init=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    noise, levels, actions = torch.randn(2, 4, 1, 4, 4), torch.rand(2, 4), torch.rand(2, 3, 1).requires_grad_()
    model(noise, levels, actions).square().mean().backward()
    optimizer.step()
    actions.grad = None
    model(noise, levels, actions).square().mean().backward()
    assert actions.grad is not None
    assert (actions.grad.abs() > 0).all()


def test_actions_matter_and_gradients_reach_them(case):
    model, whole = case.build(), case.clip(LONG)
    actions = whole.actions.clone().requires_grad_()
    model(whole.latents, torch.rand(2, LONG), actions)[:, -1].square().sum().backward()
    assert (actions.grad[:, -case.stride :].abs() > 0).all()


@torch.no_grad()
def test_an_action_reaches_the_latent_that_it_leads_to_and_none_before(case):
    model, whole, levels = case.build(), case.clip(LONG), torch.rand(2, LONG)
    plain = model(whole.latents, levels, whole.actions)
    last = whole.actions.shape[1] - 1
    for i in (0, last // 2, last - case.stride, last):
        actions = whole.actions.clone()
        actions[:, i] = 1 - actions[:, i]
        change = (model(whole.latents, levels, actions) - plain).abs().flatten(2).amax(2)
        led_to = i // case.stride + 1
        assert change[:, :led_to].max() < 1e-6
        assert change[:, led_to].min() > 1e-4


@torch.no_grad()
def test_a_memory_changes_nothing_also_after_the_window_wrapped(case):
    model, whole = case.build(), case.clip(LONG)
    levels = torch.zeros(2, LONG)
    state = model.initial(whole.latents[:, :1])
    for i in range(1, LONG):
        action, latent = case.before(whole.actions, i), whole.latents[:, i : i + 1]
        levels[:, i] = 0.6
        past = model(whole.latents[:, : i + 1], levels[:, : i + 1], whole.actions[:, : i * case.stride])[:, -1]
        torch.testing.assert_close(model.denoise(state, action, latent, levels[:, i])[:, 0], past, **CLOSE)
        levels[:, i] = 0
        state = model.observe(state, action, latent)


@torch.no_grad()
@pytest.mark.parametrize("latents", [1, 2, 9])
def test_a_memory_of_a_prompt_goes_on_as_one_of_single_steps(case, latents):
    model, whole = case.build(), case.clip(latents + 2)
    steps = model.initial(whole.latents[:, :1])
    for i in range(1, latents):
        steps = model.observe(steps, case.before(whole.actions, i), whole.latents[:, i : i + 1])
    state = model.prefill(LatentClip(whole.latents[:, :latents], whole.actions[:, : (latents - 1) * case.stride]))
    for i in range(latents, latents + 2):
        action, latent = case.before(whole.actions, i), whole.latents[:, i : i + 1]
        one, two = (model.denoise(s, action, latent, torch.full((2,), 0.6)) for s in (state, steps))
        torch.testing.assert_close(one, two, **CLOSE)
        state, steps = (model.observe(s, action, latent) for s in (state, steps))


@torch.no_grad()
def test_a_blank_memory_knows_the_action_that_led_to_the_first_frame(case):
    model, whole = case.build(), case.clip(6)
    state = model.observe(model.blank(2), None, whole.latents[:, :1])
    for i in range(1, 5):
        state = model.observe(state, case.before(whole.actions, i), whole.latents[:, i : i + 1])
    level = torch.full((2,), 0.6)
    prompt = LatentClip(whole.latents[:, :5], whole.actions[:, : 4 * case.stride])
    expected = model.denoise(model.prefill(prompt), None, whole.latents[:, 5:], level)
    torch.testing.assert_close(model.denoise(state, None, whole.latents[:, 5:], level), expected, **CLOSE)
    told = model.observe(model.blank(2), case.before(whole.actions, 1), whole.latents[:, :1])
    untold = model.initial(whole.latents[:, :1])
    one, two = (model.denoise(s, None, whole.latents[:, 1:2], level) for s in (told, untold))
    assert (one - two).abs().max() > 1e-4
