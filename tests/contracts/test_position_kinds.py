"""What every kind of position promises, in both layouts, with sinks and without."""

from dataclasses import replace

import pytest
import torch
from cases import LONG, build, clip

from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL = DiffusionTransformerConfig(width=24, heads=2, depth=2, window=5)
KINDS = {
    "axial": {},
    "flat": {"positions": "flat"},
    "video": {"positions": "video", "position_shares": (2, 1, 1)},
    "learned": {"positions": "learned"},
    "axial and learned": {"learned_positions": True},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request):
    return replace(SMALL, **request.param)


@pytest.fixture(params=["factorised", "full"])
def config(kind, request):
    return replace(kind, layout=request.param)


def next_frame(model, state, whole, i):
    return model.denoise(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1], torch.full((2,), 0.6))[:, 0]


def observe(model, state, whole, i):
    return model.observe(state, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])


@torch.no_grad()
@pytest.mark.parametrize("sink", [0, 2])
def test_a_memory_changes_nothing_also_after_the_window_wrapped(config, sink):
    model, whole = build(replace(config, sink=sink)), clip(LONG)
    state = model.initial(whole.latents[:, :1])
    for i in range(1, LONG):
        levels = torch.tensor([0.0] * i + [0.6]).expand(2, -1)
        uncached = model(whole.latents[:, : i + 1], levels, whole.actions[:, :i])[:, -1]
        torch.testing.assert_close(
            next_frame(model, state, whole, i), uncached, **CLOSE, msg=lambda m, i=i: f"{i}: {m}"
        )
        state = observe(model, state, whole, i)


@torch.no_grad()
@pytest.mark.parametrize("sink", [0, 2])
def test_frame_one_hundred_thousand_is_as_good_as_the_twentieth(config, sink):
    model, whole = build(replace(config, sink=sink)), clip(18)
    early = model.prefill(LatentClip(whole.latents[:, :8], whole.actions[:, :7]))
    late = replace(model.fork(early), frames=8 + 60 * 1667)  # whole turns of learned vectors, of 5 or of 3
    for i in range(8, 17):  # long enough to fill both layers' memories anew
        early, late = observe(model, early, whole, i), observe(model, late, whole, i)
    assert late.frames > 100_000
    torch.testing.assert_close(next_frame(model, late, whole, 17), next_frame(model, early, whole, 17), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("frames", [4, 11])
def test_a_network_is_told_the_order_of_what_it_saw(config, frames):
    model, whole = build(config), clip(frames + 1)
    swapped = whole.latents.clone()
    swapped[:, [-3, -2]] = whole.latents[:, [-2, -3]]
    actions = torch.zeros_like(whole.actions)  # the frames alone differ
    one, two = (
        next_frame(model, model.prefill(LatentClip(seen[:, :-1], actions[:, :-1])), LatentClip(seen, actions), frames)
        for seen in (whole.latents, swapped)
    )
    assert (one - two).abs().max() > 1e-4


@torch.no_grad()
def test_a_network_is_told_the_places_of_patches(config):
    model, latents = build(config), clip(2).latents
    patches = latents.unflatten(4, (3, 4))
    swapped = patches[..., [1, 0, 2], :].flatten(4, 5)  # columns of patches change places
    actions, levels = torch.zeros(2, 1, 4), torch.full((2, 2), 0.5)
    one, two = (model(seen, levels, actions) for seen in (latents, swapped))
    assert (one.unflatten(4, (3, 4))[..., [1, 0, 2], :].flatten(4, 5) - two).abs().max() > 1e-4
