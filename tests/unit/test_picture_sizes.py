"""One network for pictures of several sizes: weights shared, positions interpolated."""

import pytest
import torch

from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.models.token_transformer import TokenTransformer, TokenTransformerConfig
from hallucade.models.unet import UNet, UNetConfig
from hallucade.nn.positions import TokenPositions, regridded, stretched

CPU = torch.device("cpu")
SMALL = {"width": 24, "heads": 2, "depth": 2, "window": 5, "zero_init": False}


def transformer(shape=(3, 8, 12), **choices):
    torch.manual_seed(3)
    return DiffusionTransformer(DiffusionTransformerConfig(**{**SMALL, "patch": 2, **choices}), 7, shape).eval()


def u_net(shape=(3, 8, 12)):
    torch.manual_seed(3)
    config = UNetConfig(context=2, patch=2, widths=(8, 16), blocks=(1, 1), attention=True)
    return UNet(config, 7, shape).eval()


def play(shape, frames=4):
    generator = torch.Generator().manual_seed(5)
    return LatentClip(
        torch.randn(2, frames, *shape, generator=generator), torch.randn(2, frames - 1, 7, generator=generator)
    )


@pytest.mark.parametrize("build", [transformer, u_net])
def test_another_size_shares_the_weights_and_only_a_transformer_knows_where_a_patch_is(build):
    model, small = build(), build((3, 4, 8))
    small.load_state_dict(model.state_dict())
    clip, levels = play((3, 4, 8)), torch.full((2, 4), 0.3)
    seen = model.at((3, 4, 8))
    assert seen.latent_shape == (3, 4, 8)
    assert model.latent_shape == (3, 8, 12)
    assert [id(p) for p in seen.parameters()] == [id(p) for p in model.parameters()]
    there, own = seen(clip.latents, levels, clip.actions), small(clip.latents, levels, clip.actions)
    assert there.shape == own.shape
    assert torch.equal(there, own) == (build is u_net)  # a transformer's patches stand further apart there


def test_a_network_sees_its_own_size_as_it_always_did():
    model = transformer()
    assert model.at((3, 8, 12)) is model
    other = model.at((3, 4, 6)).at((3, 8, 12))  # there and back
    clip, levels = play((3, 8, 12)), torch.full((2, 4), 0.3)
    assert torch.equal(other(clip.latents, levels, clip.actions), model(clip.latents, levels, clip.actions))


@torch.no_grad()
@pytest.mark.parametrize("choices", [{}, {"positions": "video"}, {"learned_positions": True, "registers": 3}])
def test_a_game_at_another_size_and_pace_is_what_training_saw(choices):
    model = transformer(**choices).at((3, 4, 6), pace=2.0)
    clip = play((3, 4, 6), 8)
    levels = torch.tensor([0.0] * 7 + [0.6]).expand(2, -1)
    parallel = model(clip.latents, levels, clip.actions)[:, -1]
    state = model.prefill(LatentClip(clip.latents[:, :7], clip.actions[:, :6]))
    stepwise = model.denoise(state, clip.actions[:, 6:], clip.latents[:, 7:], torch.full((2,), 0.6))[:, 0]
    torch.testing.assert_close(stepwise, parallel, rtol=1e-5, atol=1e-5)


def test_a_patch_of_a_small_picture_stands_in_the_middle_of_those_it_covers():
    large = TokenPositions("axial", 4, 6, 2, 8, 50.0)
    small = large.at(2, 3)
    assert (small.tokens, large.tokens) == (8, 26)
    rows = large._coordinates("space", torch.arange(1))[:24, 1:].reshape(2, 2, 3, 2, 2)
    expected = rows.mean((1, 3)).flatten(0, 1)
    assert torch.equal(small._coordinates("space", torch.arange(1))[:6, 1:], expected)
    registers = [p._coordinates("space", torch.arange(1))[-2:] for p in (small, large)]
    assert torch.equal(*registers)  # those have no place in the picture


def test_frames_that_are_left_out_are_counted():
    positions = TokenPositions("video", 2, 3, 0, 12, 50.0)
    slow = positions.at(2, 3, pace=4.0)
    there, here = slow.turn("both", torch.arange(3), CPU), positions.turn("both", torch.arange(3) * 4, CPU)
    assert torch.equal(there.cos, here.cos)
    assert torch.equal(slow.turn_by("both", 5, CPU).sin, positions.turn_by("both", 20, CPU).sin)


def test_a_table_of_places_is_interpolated_between_their_middles_and_one_of_moments_from_end_to_end():
    ramp = torch.arange(4.0)[:, None].expand(4, 6).reshape(24, 1)  # the row of each of 4 x 6 patches
    assert regridded(ramp, (4, 6), (2, 3))[:, 0].tolist() == [0.5] * 3 + [2.5] * 3
    torch.testing.assert_close(stretched(torch.arange(3.0)[:, None], 5)[:, 0], torch.tensor([0, 0.5, 1, 1.5, 2]))


def test_a_larger_and_longer_network_starts_from_a_small_one_with_its_tables_interpolated():
    small = transformer((3, 4, 6), learned_positions=True)
    large = transformer((3, 8, 12), learned_positions=True, window=9)
    taken = large.start_from(small)
    assert taken.keys() == small.state_dict().keys()
    assert torch.equal(taken["places"], regridded(small.places, (2, 3), (4, 6)))
    assert torch.equal(taken["moments"], stretched(small.moments, 9))
    large.load_state_dict(taken)
    other = transformer((3, 4, 6), width=32)
    assert "blocks.0.attention.qkv.weight" not in other.start_from(small)
    assert other.start_from(other).keys() == other.state_dict().keys()


def test_models_of_codes_see_other_sizes_too():
    tokens = {"width": 24, "heads": 2, "depth": 2, "window": 5}
    for model in (
        TokenTransformer(TokenTransformerConfig(**tokens), 11, 7, (4, 6)),
        TokenConvGRU(TokenConvGRUConfig(width=8, layers=2), 11, 7, (4, 6)),
    ):
        codes, actions = torch.zeros(2, 3, 2, 5, dtype=torch.long), torch.zeros(2, 2, 7)
        assert model.at((2, 5)).forced_logits(LatentClip(codes, actions), codes[:, 1:]).shape == (2, 2, 2, 5, 11)


def test_what_cannot_change_size_says_so():
    assert not DiffusionTransformerConfig(**SMALL, positions="flat").resizes
    with pytest.raises(
        ValueError, match="positions='flat' counts the tokens of one picture size and rate; use 'axial'"
    ):
        transformer(positions="flat").at((3, 4, 6))
    with pytest.raises(ValueError, match="frames of 5x6 do not divide by patch 2"):
        transformer().at((3, 5, 6))
    with pytest.raises(ValueError, match="frames of 6x8 do not divide by patch 2 and 1 halvings; use sizes that are"):
        u_net().at((3, 6, 8))
    with pytest.raises(ValueError, match="a UNet for latents of 3x8x12 cannot see 4x8x12"):
        u_net().at((4, 8, 12))


def test_tokens_are_those_that_the_network_works_on():
    assert DiffusionTransformerConfig(**SMALL, patch=4, registers=3).tokens((3, 32, 40)) == 8 * 10 + 3
    assert UNetConfig(patch=4, widths=(8, 16), blocks=(1, 1)).tokens((3, 32, 40)) == 80
    assert TokenConvGRUConfig().tokens((8, 10)) == 80


def test_a_compiled_network_does_not_answer_for_another_size():
    clip, levels = play((3, 4, 6)), torch.full((2, 4), 0.3)
    model, plain = transformer(), transformer().at((3, 4, 6))
    model._compiled_call_impl = lambda *inputs: pytest.fail("this is compiled for 8x12")
    seen = model.at((3, 4, 6))(clip.latents, levels, clip.actions)
    assert torch.equal(seen, plain(clip.latents, levels, clip.actions))
