"""What every world model promises, whatever its memory looks like."""

import dataclasses

import pytest
import torch
from cases import LONG, MODELS, build, clip, tensors

from hallucade.models.base import LatentClip, WorldModel

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys(), scope="module")
def config(request):
    return request.param


@pytest.fixture
def model(config):
    return build(config)


def first(model) -> int:
    """The first frame of a clip that a model predicts from real ones."""
    return max(1, model.lead)


def levels_with(model, batch, frames, last=0.6):
    """Clean frames at the level that the model is told for them, and a noisy last one."""
    levels = torch.full((batch, frames), model.config.context_level)
    levels[:, -1] = last
    return levels


def part(whole: LatentClip, frames: int) -> LatentClip:
    return LatentClip(whole.latents[:, :frames], whole.actions[:, : frames - 1])


def observed(model, whole: LatentClip):
    state = model.initial(whole.latents[:, :1])
    for i in range(1, whole.latents.shape[1]):
        state = model.observe(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])
    return state


def next_frame(model, state, whole: LatentClip, i: int):
    """What `state`, which has seen the frames before i, makes of frame i as if it were noisy."""
    return model.denoise(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1], torch.full((2,), 0.6))[:, 0]


@torch.no_grad()
def test_parallel_equals_stepwise(model):
    whole = clip(LONG)
    for i in range(first(model), LONG):
        past = part(whole, i + 1)
        parallel = model(past.latents, levels_with(model, 2, i + 1), past.actions)[:, -1]
        stepwise = next_frame(model, model.prefill(part(whole, i)), whole, i)
        torch.testing.assert_close(stepwise, parallel, **CLOSE, msg=lambda m, i=i: f"frame {i}: {m}")


@torch.no_grad()
def test_cached_equals_uncached_after_the_window_wrapped(model):
    whole = clip(LONG)
    state = model.initial(whole.latents[:, :1])
    for i in range(1, LONG):
        if i >= first(model):
            past = part(whole, i + 1)
            uncached = model(past.latents, levels_with(model, 2, i + 1), past.actions)[:, -1]
            torch.testing.assert_close(next_frame(model, state, whole, i), uncached, **CLOSE)
        state = model.observe(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 4, LONG])
def test_prefill_equals_a_loop_of_observe(model, frames):
    whole = clip(frames + 3)
    ours, loop = model.prefill(part(whole, frames)), WorldModel.prefill(model, part(whole, frames))
    for i in range(frames, frames + 3):
        torch.testing.assert_close(next_frame(model, ours, whole, i), next_frame(model, loop, whole, i), **CLOSE)
        action, latent = whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1]
        ours, loop = model.observe(ours, action, latent), model.observe(loop, action, latent)


def test_the_memory_written_under_autograd_is_the_one_written_in_place(model):
    whole = clip(LONG)
    functional = observed(model, part(whole, LONG - 1))
    with torch.no_grad():
        in_place = observed(model, part(whole, LONG - 1))
    torch.testing.assert_close(
        next_frame(model, functional, whole, LONG - 1), next_frame(model, in_place, whole, LONG - 1), **CLOSE
    )


def test_gradients_reach_the_past_through_the_memory(model):
    whole = clip(LONG)
    latents = whole.latents.clone().requires_grad_()
    state = observed(model, LatentClip(latents[:, : LONG - 1], whole.actions[:, : LONG - 2]))
    next_frame(model, state, whole, LONG - 1).square().sum().backward()
    assert latents.grad is not None
    assert latents.grad[:, LONG - 2].abs().sum() > 0


def test_a_later_write_in_place_does_not_spoil_an_earlier_gradient(model):
    whole = clip(LONG)

    def gradient(observe: bool):
        with torch.no_grad():
            state = model.prefill(part(whole, LONG - 2))
        action = whole.actions[:, LONG - 3 : LONG - 2].clone().requires_grad_()
        out = model.denoise(state, action, whole.latents[:, -2:-1], torch.full((2,), 0.6))
        if observe:
            with torch.no_grad():
                model.observe(state, action, whole.latents[:, -2:-1])
        return torch.autograd.grad(out.square().sum(), action)[0]

    torch.testing.assert_close(gradient(observe=True), gradient(observe=False), rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("i", [4, 8])
def test_the_future_does_not_reach_the_past(model, i):
    whole, levels = clip(LONG), torch.rand(2, LONG)
    plain = model(whole.latents, levels, whole.actions)
    frames, actions = whole.latents.clone(), whole.actions.clone()
    frames[:, i + 1] += 1
    actions[:, i] = 1 - actions[:, i]
    p = i + 1 - model.lead
    for changed in (model(frames, levels, whole.actions), model(whole.latents, levels, actions)):
        torch.testing.assert_close(changed[:, :p], plain[:, :p], rtol=0, atol=1e-6)
        assert (changed[:, p] - plain[:, p]).abs().max() > 1e-3


@torch.no_grad()
def test_what_left_the_window_is_forgotten(config):
    # A layer that looks back reaches one window further: two layers of time at most, and no sinks.
    if hasattr(config, "sink"):
        config = dataclasses.replace(config, sink=0)
    model = build(config)
    whole, other = clip(LONG), clip(LONG, seed=4)
    frames = torch.cat([other.latents[:, :1], whole.latents[:, 1:]], 1)
    one = next_frame(model, model.prefill(part(whole, LONG - 1)), whole, LONG - 1)
    two = next_frame(model, model.prefill(LatentClip(frames[:, :-1], whole.actions[:, :-1])), whole, LONG - 1)
    torch.testing.assert_close(one, two, **CLOSE)


def test_actions_matter(model):
    whole, i = clip(LONG), LONG - 1
    action = whole.actions[:, -1:].clone().requires_grad_()
    level = torch.full((2,), 0.6)
    model.denoise(model.prefill(part(whole, i)), action, whole.latents[:, i:], level).square().sum().backward()
    assert action.grad is not None
    assert (action.grad.abs() > 0).all()


def test_each_dropped_action_is_replaced_by_the_learned_one(model):
    whole, levels = clip(LONG), torch.rand(2, LONG)
    everything = torch.ones(2, LONG - 1, dtype=torch.bool)
    dropped = model(whole.latents, levels, whole.actions, everything)
    torch.testing.assert_close(dropped, model(whole.latents, levels, 1 - whole.actions, everything), rtol=0, atol=0)
    assert (dropped - model(whole.latents, levels, whole.actions)).abs().max() > 1e-3
    state = model.prefill(part(whole, 5))
    free = model.denoise(state, None, whole.latents[:, 5:6], levels[:, 5])
    assert (free - model.denoise(state, whole.actions[:, 4:5], whole.latents[:, 5:6], levels[:, 5])).abs().max() > 1e-3
    free.square().sum().backward()
    learned = [p for name, p in model.named_parameters() if name in ("no_action", "null_action")]
    assert learned
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)


def test_every_parameter_takes_part(model):
    whole = clip(LONG)
    dropped = torch.rand(2, LONG - 1) < 0.3
    model(whole.latents, torch.rand(2, LONG), whole.actions, dropped).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_fork_is_independent(model):
    whole = clip(LONG)
    state = model.prefill(part(whole, 6))
    before = next_frame(model, state, whole, 6)
    fork = model.fork(state)
    for i in range(6, LONG):  # far enough to overwrite every slot
        state = model.observe(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])
    torch.testing.assert_close(next_frame(model, fork, whole, 6), before, rtol=0, atol=0)
    model.observe(fork, whole.actions[:, 5:6], whole.latents[:, 6:7])
    last = whole.latents[:, -1:], torch.full((2,), 0.6)
    again = observed(model, whole)
    torch.testing.assert_close(
        model.denoise(state, whole.actions[:, -1:], *last), model.denoise(again, whole.actions[:, -1:], *last), **CLOSE
    )


@torch.no_grad()
def test_memory_is_constant(model):
    whole = clip(2)

    def size(state) -> int:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(state)}.values())

    state = model.initial(whole.latents[:, :1])
    start = size(state)
    for _ in range(40):
        state = model.observe(state, whole.actions, whole.latents[:, 1:])
    assert size(state) == start > 0
