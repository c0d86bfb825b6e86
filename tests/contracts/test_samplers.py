"""What every sampler promises over every world model, offline and live."""

import numpy as np
import pytest
import torch
from cases import MODELS, SAMPLERS, action_rows, build, clip, prompts, tensors, world

from hallucade.models.base import LatentClip
from hallucade.rollout import Session, dream
from hallucade.samplers.base import seeded
from hallucade.samplers.flow import FlowSamplerConfig

STEPS = 6  # frames dreamed after 4 of a prompt: beyond every window


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys(), scope="module")
def model(request):
    return build(request.param)


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS.keys(), scope="module")
def sampler(request):
    return request.param


def frames(model, sampler, seed=0, rows=None):
    """Dream one prompt for a few frames, `1 t h w 3`."""
    rows = action_rows(1, STEPS) if rows is None else rows
    return torch.cat(list(dream(world(model, sampler), prompts(1), rows, seed)), 1)


@pytest.fixture(scope="module")
def dreamed(model, sampler):
    return frames(model, sampler)


def test_same_seed_same_frames(model, sampler, dreamed):
    assert torch.equal(dreamed, frames(model, sampler))
    assert not torch.equal(dreamed, frames(model, sampler, seed=1))
    assert dreamed.float().std() > 10, "the dream is a flat picture: this test could not fail"


def test_actions_change_the_dream(model, sampler, dreamed):
    other = action_rows(1, STEPS)
    other[:, 3, 0] = 1 - other[:, 3, 0]
    changed = frames(model, sampler, rows=other)
    assert torch.equal(changed[:, :3], dreamed[:, :3])
    assert not torch.equal(changed[:, 3], dreamed[:, 3])


def test_batch_size_does_not_change_a_frame(model, sampler, dreamed):
    rows = action_rows(8, STEPS)
    rows[0] = action_rows(1, STEPS)
    together = torch.cat(list(dream(world(model, sampler), prompts(8), rows)), 1)
    assert (together[:1].int() - dreamed.int()).abs().max() <= 1
    assert not torch.equal(together[1], together[0])


def test_offline_equals_live(model, sampler, dreamed):
    session, k = Session(world(model, sampler), prompts(1)[0]), model.block
    live = torch.cat([session.step(rows) for rows in action_rows(1, STEPS)[0].reshape(-1, k, 2)], 1)
    assert torch.equal(live, dreamed)


@torch.no_grad()
def test_a_sampler_leaves_the_state_unchanged(model, sampler):
    seen = clip(6, batch=1)
    drawn = sampler.view(model)
    state = drawn.prefill(seen)
    before = [t.clone() for t in tensors(state)]
    draws = [sampler.build()(drawn, state, seen.actions[:, : model.block], seeded(0, 1)) for _ in range(2)]
    assert torch.equal(*draws)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(state), strict=True))


@torch.no_grad()
@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 3), (2.0, 6)])
def test_guidance_at_scale_one_costs_no_call(model, guidance, calls, monkeypatch):
    seen, counted = clip(4, batch=1), []
    denoise = model.denoise
    monkeypatch.setattr(model, "denoise", lambda *args: (counted.append(1), denoise(*args))[1])
    action = seen.actions[:, : model.block]
    FlowSamplerConfig(steps=3, guidance=guidance).build()(model, model.prefill(seen), action, seeded(0, 1))
    assert len(counted) == calls


@torch.no_grad()
def test_guidance_moves_away_from_no_action(model):
    seen = clip(4, batch=1)
    state, action = model.prefill(seen), seen.actions[:, : model.block]
    plain, strong = (FlowSamplerConfig(guidance=g).build()(model, state, action, seeded(0, 1)) for g in (1.0, 3.0))
    noise = torch.randn(plain.shape[1:], generator=seeded(0, 1)[0])[None]
    free = noise - model.velocity(state, None, noise, torch.ones(1))  # one Euler step without the action
    torch.testing.assert_close(strong, free + 3 * (plain - free), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_guided_memory_is_constant_forked_whole_and_prefilled_as_observed(model):
    whole, view, k = clip(10), SAMPLERS["ddim, guided"].view(model), model.block

    def following(state):
        return view.denoise(state, whole.actions[:, 6 : 6 + k], whole.latents[:, 7 : 7 + k], torch.full((2,), 0.6))

    def size(state):
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(state)}.values())

    state = view.initial(whole.latents[:, :1])
    start = size(state)
    for i in range(1, 7, k):
        state = view.observe(state, whole.actions[:, i - 1 : i - 1 + k], whole.latents[:, i : i + k])
    assert size(state) == start > 0
    prefilled = view.prefill(LatentClip(whole.latents[:, :7], whole.actions[:, :6]))
    torch.testing.assert_close(following(state), following(prefilled), rtol=1e-4, atol=1e-3)
    fork, before = view.fork(state), following(state)
    for _ in range(7):
        state = view.observe(state, whole.actions[:, :k], whole.latents[:, :k])
    assert torch.equal(following(fork), before)


def test_a_session_forgets_the_game_before_a_reset(model):
    session = Session(world(model, FlowSamplerConfig()), prompts(1)[0])
    start = session.step(np.array([1, 0]))
    for _ in range(STEPS):
        session.step(np.array([0, 2]))
    session.reset(prompts(1)[0])
    assert torch.equal(session.step(np.array([1, 0])), start)
