"""What every world model promises, whatever its memory looks like."""

import dataclasses

import pytest
import torch
from cases import LONG, MODELS, build, clip, tensors

from hallucade.models.base import LatentClip

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
    """Clean frames at the level that the model is told for them, and a noisy last block."""
    levels = torch.full((batch, frames), model.config.context_level)
    levels[:, -model.block :] = last
    return levels


def part(whole: LatentClip, frames: int) -> LatentClip:
    return LatentClip(whole.latents[:, :frames], whole.actions[:, : frames - 1])


def block_at(model, whole: LatentClip, i: int):
    """The actions that lead to the block from frame i on, and the block."""
    return whole.actions[:, i - 1 : i - 1 + model.block], whole.latents[:, i : i + model.block]


def observed(model, whole: LatentClip):
    frames = whole.latents.shape[1]
    start = frames % model.block or model.block  # frames that fill no block come first
    state = model.prefill(part(whole, start))
    for i in range(start, frames, model.block):
        state = model.observe(state, *block_at(model, whole, i))
    return state


def next_block(model, state, whole: LatentClip, i: int):
    """What `state`, which has seen the frames before i, makes of the block from there on as if it were noisy."""
    return model.denoise(state, *block_at(model, whole, i), torch.full((2,), 0.6))


@torch.no_grad()
def test_parallel_equals_stepwise(model):
    whole, k = clip(LONG), model.block
    for i in range(first(model), LONG - k + 1):
        past = part(whole, i + k)
        parallel = model(past.latents, levels_with(model, 2, i + k), past.actions)[:, -k:]
        stepwise = next_block(model, model.prefill(part(whole, i)), whole, i)
        torch.testing.assert_close(stepwise, parallel, **CLOSE, msg=lambda m, i=i: f"frame {i}: {m}")


@torch.no_grad()
def test_cached_equals_uncached_after_the_window_wrapped(model):
    whole, k = clip(LONG), model.block
    state = model.initial(whole.latents[:, :1])
    for i in range(1, LONG, k):
        if i >= first(model):
            past = part(whole, i + k)
            uncached = model(past.latents, levels_with(model, 2, i + k), past.actions)[:, -k:]
            torch.testing.assert_close(next_block(model, state, whole, i), uncached, **CLOSE)
        state = model.observe(state, *block_at(model, whole, i))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 6, LONG])
def test_prefill_equals_a_loop_of_observe(model, frames):
    end = frames + 3 * model.block
    whole = clip(end)
    ours, loop = model.prefill(part(whole, frames)), observed(model, part(whole, frames))
    for i in range(frames, end, model.block):
        torch.testing.assert_close(next_block(model, ours, whole, i), next_block(model, loop, whole, i), **CLOSE)
        ours, loop = (model.observe(state, *block_at(model, whole, i)) for state in (ours, loop))


def test_the_memory_written_under_autograd_is_the_one_written_in_place(model):
    whole, i = clip(LONG), LONG - model.block
    functional = observed(model, part(whole, i))
    with torch.no_grad():
        in_place = observed(model, part(whole, i))
    torch.testing.assert_close(next_block(model, functional, whole, i), next_block(model, in_place, whole, i), **CLOSE)


def test_gradients_reach_the_past_through_the_memory(model):
    whole, i = clip(LONG), LONG - model.block
    latents = whole.latents.clone().requires_grad_()
    state = observed(model, LatentClip(latents[:, :i], whole.actions[:, : i - 1]))
    next_block(model, state, whole, i).square().sum().backward()
    assert latents.grad is not None
    assert latents.grad[:, i - 1].abs().sum() > 0


def test_a_later_write_in_place_does_not_spoil_an_earlier_gradient(model):
    whole = clip(LONG)

    def gradient(observe: bool):
        with torch.no_grad():
            state = model.prefill(part(whole, LONG - model.block))
        action, latent = block_at(model, whole, LONG - model.block)
        action = action.clone().requires_grad_()
        out = model.denoise(state, action, latent, torch.full((2,), 0.6))
        if observe:
            with torch.no_grad():
                model.observe(state, action, latent)
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
    led_to = LONG - -(-(LONG - i - 1) // model.block) * model.block  # the first frame of the block with frame i + 1
    p = led_to - model.lead
    for changed in (model(frames, levels, whole.actions), model(whole.latents, levels, actions)):
        torch.testing.assert_close(changed[:, :p], plain[:, :p], rtol=0, atol=1e-6)
        assert (changed[:, p] - plain[:, p]).abs().max() > 1e-3


@torch.no_grad()
def test_what_left_the_window_is_forgotten(config):
    # A layer that looks back reaches one window further: two layers of time at most, no sinks and no picture.
    lasting = {"sink": 0, "image_condition": "none"}
    config = dataclasses.replace(config, **{name: off for name, off in lasting.items() if hasattr(config, name)})
    model = build(config)
    whole, other, i = clip(LONG), clip(LONG, seed=4), LONG - model.block
    frames = torch.cat([other.latents[:, :1], whole.latents[:, 1:]], 1)
    one = next_block(model, model.prefill(part(whole, i)), whole, i)
    two = next_block(model, model.prefill(LatentClip(frames[:, :i], whole.actions[:, : i - 1])), whole, i)
    torch.testing.assert_close(one, two, **CLOSE)


def test_actions_matter(model):
    whole, i = clip(LONG), LONG - model.block
    action = whole.actions[:, i - 1 :].clone().requires_grad_()
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
    state, (action, latent) = model.prefill(part(whole, 5)), block_at(model, whole, 5)
    free = model.denoise(state, None, latent, levels[:, 5])
    assert (free - model.denoise(state, action, latent, levels[:, 5])).abs().max() > 1e-3
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
    whole, start = clip(LONG), 7
    state = model.prefill(part(whole, start))
    before = next_block(model, state, whole, start)
    fork = model.fork(state)
    for i in range(start, LONG, model.block):  # far enough to overwrite every slot
        state = model.observe(state, *block_at(model, whole, i))
    torch.testing.assert_close(next_block(model, fork, whole, start), before, rtol=0, atol=0)
    model.observe(fork, *block_at(model, whole, start))
    last = (*block_at(model, whole, LONG - model.block), torch.full((2,), 0.6))
    again = observed(model, whole)
    torch.testing.assert_close(model.denoise(state, *last), model.denoise(again, *last), **CLOSE)


@torch.no_grad()
def test_memory_is_constant(model):
    whole = clip(1 + model.block)

    def size(state) -> int:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(state)}.values())

    state = model.initial(whole.latents[:, :1])
    start = size(state)
    for _ in range(40):
        state = model.observe(state, whole.actions, whole.latents[:, 1:])
    assert size(state) == start > 0
