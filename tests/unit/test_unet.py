"""The U-Net: what it refuses, what it starts as, and its ring of frames."""

from typing import get_args

import pytest
import torch
from contracts.cases import ACTIONS, HEIGHT, WIDTH, build, clip
from torch import Tensor

from hallucade.diffusion.schedules import LinearNoiseConfig, RectifiedFlowConfig
from hallucade.diffusion.targets import Target
from hallucade.games.pong import PONG_ACTIONS
from hallucade.models.unet import FrameRing, UNetConfig
from hallucade.nn.level_features import LevelFeatures
from hallucade.nn.unet import AdaptiveGroupNorm, ResidualBlock, SelfAttention2d, UNetBackbone, fold
from hallucade.nn.warp import warped
from hallucade.recipes.registry import RECIPES

SMALL = {"context": 3, "widths": (8, 16), "blocks": (1, 1), "condition_width": 24}


def fresh(**changes):
    """A model as training starts it."""
    return UNetConfig(**(SMALL | changes)).build(ACTIONS, (3, HEIGHT, WIDTH))


# Configuration


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8, 12)}, r"widths are \(8, 12\); group norms need one or more multiples of 8"),
        ({"widths": (0, 8)}, r"widths are \(0, 8\)"),
        ({"widths": (), "blocks": ()}, r"widths are \(\)"),
        ({"widths": (8,)}, r"widths \(8,\) and blocks \(1, 1\) differ in length"),
        ({"patch": 0}, "patch is 0"),
        ({"blocks": (1, -1)}, r"blocks are \(1, -1\)"),
        ({"condition_width": 0}, "condition_width is 0"),
        ({"context": 0}, "context is 0; the U-Net needs at least one past frame"),
        ({"context_level": 1.0}, r"context_level is 1.0; it lies in \[0, 1\)"),
        ({"from_last": True, "target": "v"}, "from_last adds a change to a frame, and target is 'v'; use target x"),
        ({"warps": True, "target": "flow"}, "warps moves the pixels of a frame, and target is 'flow'; use target x"),
        ({"warps": True, "from_last": True}, "from_last adds to the last frame and warps moves it; choose one"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**(SMALL | settings))


@pytest.mark.parametrize(("height", "width"), [(10, 12), (8, 14)])
def test_frames_that_do_not_divide_name_the_remedy(height, width):
    config = UNetConfig(**SMALL)
    with pytest.raises(ValueError, match=f"{height}x{width} do not divide by patch 2 and 1 halv.*multiples of 4"):
        config.build(ACTIONS, (3, height, width))


def test_a_clip_without_a_frame_to_predict_is_refused():
    play = clip(3)
    with pytest.raises(ValueError, match="clip of 3 frames; this model needs 3 past frames and at least one to pred"):
        fresh()(play.latents, torch.rand(2, 3), play.actions)


@pytest.mark.parametrize(("name", "count"), [("pong_micro", 703_999), ("pong", 703_999)])
def test_the_recipes_network_has_its_parameters(name, count):
    model = RECIPES[name]().model.build(PONG_ACTIONS, (3, 24, 24))
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    "settings", [{"widths": (8,), "blocks": (2,)}, {"widths": (8, 16, 24), "blocks": (1, 0, 2), "patch": 1}]
)
def test_one_prediction_a_frame_after_the_lead(settings):
    play = clip(6)
    model = build(UNetConfig(**(SMALL | settings)))
    assert (model.lead, model.context) == (3, 3)
    assert model(play.latents, torch.rand(2, 6), play.actions).shape == (2, 3, 3, HEIGHT, WIDTH)


# What it starts as


def test_a_fresh_network_predicts_one_constant_picture():
    play, other, model = clip(5), clip(5, seed=9), fresh(attention=True)
    one = model(play.latents, torch.rand(2, 5), play.actions)
    assert torch.equal(one, model(other.latents, torch.rand(2, 5), other.actions))
    assert torch.equal(one, one[:1, :1].expand_as(one))


def test_blocks_and_attention_start_as_the_identity_plus_a_constant_and_norms_as_plain_ones():
    x, condition = torch.randn(2, 16, 3, 5), torch.randn(2, 7)
    for layer in (lambda: ResidualBlock(16, 7)(x, condition), lambda: SelfAttention2d(16)(x)):
        assert (layer() - x).std((0, 2, 3)).max() < 1e-6  # one number a channel
    normed = AdaptiveGroupNorm(16, 7)(x, condition).reshape(2, 8, -1)
    torch.testing.assert_close(normed.mean(2), torch.zeros(2, 8), rtol=0, atol=1e-6)
    torch.testing.assert_close(normed.var(2, correction=0), torch.ones(2, 8), rtol=0, atol=1e-3)


def test_from_the_last_frame_it_starts_as_a_picture_that_stands_still():
    play = clip(6)
    predicted = fresh(from_last=True)(play.latents, torch.rand(2, 6), play.actions)
    change = predicted - play.latents[:, 2:5]  # from the frame before each that is predicted
    torch.testing.assert_close(change, change[:1, :1].expand_as(change))  # the same constant, whatever was shown
    assert change.abs().max() < 0.2


def test_a_network_that_warps_starts_as_half_of_the_last_frame():
    play = clip(6)
    predicted = fresh(warps=True)(play.latents, torch.rand(2, 6), play.actions)
    torch.testing.assert_close(predicted, play.latents[:, 2:5] / 2, rtol=0, atol=0.2)


def test_a_picture_is_moved_by_what_is_asked_for_and_its_edges_stay():
    picture = torch.arange(6.0).expand(1, 2, 4, 6) + 10 * torch.arange(4.0)[:, None]
    motion = torch.zeros(1, 2, 4, 6)
    motion[:, 0] = 2 / 6  # one column of six
    torch.testing.assert_close(warped(picture, motion), picture[..., [1, 2, 3, 4, 5, 5]])
    motion[:, 0], motion[:, 1] = 0, -1 / 4  # half a row of four, from above
    expected = (picture + picture[..., [0, 0, 1, 2], :]) / 2
    torch.testing.assert_close(warped(picture, motion)[..., 2, :], expected[..., 2, :])


def test_a_picture_that_stands_still_is_the_same_under_autocast_too():
    picture = torch.rand(2, 3, 48, 40)
    with torch.autocast("cpu", torch.bfloat16):
        moved = warped(picture, torch.zeros(2, 2, 48, 40, dtype=torch.bfloat16))
    torch.testing.assert_close(moved, picture, rtol=0, atol=1e-4)


def test_a_picture_that_is_moved_to_and_fro_stays_sharp():
    picture = (torch.arange(16) // 4 % 2).float().expand(1, 1, 4, 16) * 2 - 1
    moved = picture
    for way in (0.3, -0.3) * 4:
        motion = torch.zeros(1, 2, 4, 16)
        motion[:, 0] = way * 2 / 16
        moved = warped(moved, motion)
    assert (moved - picture)[..., 4:-4].square().mean() < 0.2  # bilinear: 0.29


def test_a_network_that_warps_learns_to_turn_what_it_never_saw():
    torch.manual_seed(0)
    model = UNetConfig(context=1, patch=2, widths=(16,), blocks=(1,), condition_width=16, warps=True).build(
        ACTIONS, (3, 8, 8)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def error() -> Tensor:
        frame = torch.rand(16, 3, 8, 8).repeat_interleave(2, 3)[..., :8] * 2 - 1  # noise: nothing to learn by heart
        way = torch.randint(0, 2, (16,)).float()
        turned = torch.where(way[:, None, None, None] > 0, frame.roll(1, 3), frame.roll(-1, 3))
        rows = way[:, None, None] * 2 - 1
        actions = rows.expand(16, 1, ACTIONS.features)
        noisy = torch.stack([frame, torch.randn_like(frame)], 1)
        x0 = model(noisy, torch.tensor([[0.0, 1.0]]).expand(16, 2), actions)[:, 0]
        return (x0 - turned)[..., 1:-1].square().mean()

    first = error().item()
    for _ in range(150):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert error().item() < first / 20


@pytest.mark.parametrize("schedule", [RectifiedFlowConfig(), LinearNoiseConfig()], ids=["flow", "linear"])
@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_every_target_is_finite_at_every_level_forwards_and_backwards(target, level, schedule):
    if target == "eps" and schedule.ends_in_pure_noise:
        with pytest.raises(ValueError, match="target 'eps' does not go with RectifiedFlowConfig"):
            UNetConfig(**SMALL, target=target, schedule=schedule)
        return
    play, model = clip(5), build(UNetConfig(**SMALL, target=target, schedule=schedule))
    predicted = model(play.latents, torch.full((2, 5), level), play.actions)
    predicted.square().mean().backward()
    assert predicted.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("width", [8, 40, 104, 112])
def test_attention_takes_any_width_that_the_norms_take(width):
    attention = SelfAttention2d(width)
    torch.nn.init.normal_(attention.out.weight)
    x = torch.randn(2, width, 3, 5)
    assert width % attention.heads == 0
    moved = x[:, :, [2, 0, 1]]  # attention without positions does not know where a pixel is
    torch.testing.assert_close(attention(moved), attention(x)[:, :, [2, 0, 1]], rtol=1e-4, atol=1e-4)


def test_the_backbone_keeps_the_size_of_odd_pictures():
    backbone = UNetBackbone(
        channels_in=5, channels_out=2, patch=2, widths=(8, 16), blocks=(1, 1), condition=7, attention=True
    )
    assert backbone(torch.randn(3, 5, 12, 20), torch.randn(3, 7)).shape == (3, 2, 12, 20)


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize("autocast", [False, True])
def test_patches_fold_like_torchs_into_channels_last(patch, autocast):
    x = torch.randn(2, 5, 6, 18)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        folded = fold(x, patch)
    expected = torch.nn.functional.pixel_unshuffle(x, patch)
    assert torch.equal(folded, expected.bfloat16() if autocast else expected)
    assert folded.is_contiguous(memory_format=torch.channels_last)


def test_level_features_turn_at_half_to_thirty_two_turns():
    features = LevelFeatures(5)
    level = torch.tensor([0.0, 0.25, 1.0])
    turns = torch.tensor([0.5, 2**0.5, 4.0, 2**3.5, 32.0]).log2()
    torch.testing.assert_close(turns.diff(), torch.full((4,), 1.5))
    angles = 2 * torch.pi * level[:, None] * 2**turns
    torch.testing.assert_close(features(level), torch.cat([angles.cos(), angles.sin()], 1), rtol=0, atol=1e-4)
    assert "frequencies" not in features.state_dict()


# The ring of frames


def numbered(number, batch=2):
    """A latent and an action that show their number."""
    return torch.full((batch, 1, 3, 4, 4), float(number)), torch.full((batch, 1, 5), float(number))


def ring(count, grad):
    """A ring of three after `count` appends to 0, 0, 0."""
    latent, action = numbered(0)
    state = FrameRing(latent.repeat(1, 3, 1, 1, 1), action.repeat(1, 3, 1))
    with torch.set_grad_enabled(grad):
        for i in range(1, count + 1):
            state = state.append(*numbered(i))
    return state


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("count", "order"), [(0, [0, 0, 0]), (2, [0, 1, 2]), (3, [1, 2, 3]), (4, [2, 3, 4]), (11, [9, 10, 11])]
)
def test_the_ring_is_read_oldest_first_also_after_it_wrapped(count, order, grad):
    latents, actions = ring(count, grad).ordered()
    assert latents[1, :, 2, 3, 0].tolist() == order
    assert actions[1, :, 4].tolist() == order


@torch.no_grad()
def test_under_inference_the_ring_is_written_in_place():
    state = ring(1, grad=False)
    places = state.latents.data_ptr(), state.actions.data_ptr()
    later = state.append(*numbered(2))
    assert later is state
    assert (later.latents.data_ptr(), later.actions.data_ptr()) == places


def test_under_autograd_an_append_leaves_the_ring_before_it_alone():
    state = ring(4, grad=False)  # wrapped: the oldest is not in slot 0
    before = [part.clone() for part in state.ordered()]
    latent, action = numbered(5)
    later = state.append(latent.requires_grad_(), action)
    assert all(torch.equal(*pair) for pair in zip(state.ordered(), before, strict=True))
    assert later.ordered()[0][0, :, 0, 0, 0].tolist() == [3, 4, 5]
    later.latents.sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))


@torch.no_grad()
def test_a_memory_starts_full_of_the_first_frame_and_no_action():
    model, play = build(UNetConfig(**SMALL)), clip(2)
    latents, actions = model.initial(play.latents[:, :1]).ordered()
    assert torch.equal(latents, play.latents[:, :1].expand(2, 3, 3, HEIGHT, WIDTH))
    assert torch.equal(actions, model.null_action.expand(2, 3, -1))
    latents.zero_()
    assert play.latents[:, 0].abs().min() > 0  # a copy
