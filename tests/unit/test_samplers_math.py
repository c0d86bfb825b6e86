"""Samplers on data whose probability-flow path is known, and the pixel round trip."""

import math

import pytest
import torch
from gaussian_game import ACTION, LATENT_SHAPE, GaussianGame
from gaussian_game import draw as draw_by

from hallucade.samplers.base import normal, seeded
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer


def draw(model, action=ACTION, seed=11, **config):
    return draw_by(FlowSamplerConfig(**config), model, action, seed)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_point_mass_is_found_from_any_noise(steps, order, shift):
    model = GaussianGame(spread=0.0)
    found = draw(model, steps=steps, order=order, shift=shift)
    torch.testing.assert_close(found, model.mean(ACTION).expand_as(found), rtol=0, atol=1e-5)


def test_heun_converges_at_second_order_and_euler_at_first():
    model = GaussianGame(spread=0.6)

    def order_of_convergence(order):
        errors = [(draw(model, steps=n, order=order) - model.endpoint()).abs().mean().item() for n in (12, 24)]
        return math.log2(errors[0] / errors[1])

    assert order_of_convergence(1) == pytest.approx(1, abs=0.2)
    assert order_of_convergence(2) == pytest.approx(2, abs=0.3)


def test_samples_have_the_spread_of_the_data():
    model = GaussianGame(spread=0.6)
    action = torch.zeros(40, 1, 7)
    assert draw(model, action, steps=16, order=2).std().item() == pytest.approx(0.6, abs=0.02)


def test_a_block_of_latents_is_drawn_at_once():
    model = GaussianGame(spread=0.6, block=2)
    drawn = draw(model, steps=24, order=2)
    assert drawn.shape == (5, 2, *LATENT_SHAPE)
    torch.testing.assert_close(drawn, model.endpoint(), rtol=0, atol=0.01)


@pytest.mark.parametrize(("order", "calls"), [(1, 4), (2, 7)])
def test_model_calls_and_levels_a_frame(order, calls):
    model = GaussianGame(spread=0.6)
    draw(model, steps=4, order=order)
    assert len(model.levels) == calls
    assert sorted(set(model.levels), reverse=True) == [1.0, 0.75, 0.5, 0.25]


def test_a_shift_spends_more_steps_near_noise():
    model = GaussianGame(spread=0.6)
    draw(model, steps=4, shift=3.0)
    assert model.levels == pytest.approx([1.0, 0.9, 0.75, 0.5])


def test_guidance_extrapolates_from_no_action_to_the_action():
    model = GaussianGame(spread=0.0)
    guided = draw(model, steps=1, guidance=1.5)  # from pure noise, a point mass: free mean 0, so 1.5 times the mean
    torch.testing.assert_close(guided, 1.5 * model.mean(ACTION).expand_as(guided), rtol=0, atol=1e-5)
    free = draw(model, steps=1, guidance=0.0)
    torch.testing.assert_close(free, torch.zeros_like(free), rtol=0, atol=1e-5)


def test_guidance_1_costs_nothing():
    model = GaussianGame(spread=0.6)
    draw(model, steps=3, order=2)
    assert model.free_calls == 0
    draw(model, steps=3, order=2, guidance=2.0)
    assert model.free_calls == 5


def test_the_batch_never_changes_a_row():
    model = GaussianGame(spread=0.6)
    together = draw(model, steps=3, order=2)
    generators = seeded(11, 5)
    sampler = FlowSamplerConfig(steps=3, order=2).build()
    alone = [sampler(model, None, ACTION[i : i + 1], generators[i : i + 1]) for i in range(5)]
    assert torch.equal(together, torch.cat(alone))


def test_the_seed_decides_the_noise():
    model = GaussianGame(spread=0.6)
    assert torch.equal(draw(model, steps=3), draw(model, steps=3))
    assert not torch.equal(draw(model, steps=3), draw(model, steps=3, seed=12))
    rows = draw(model, torch.zeros(5, 1, 7), steps=3)
    assert len({row.sum().item() for row in rows}) == 5


def test_seeds_of_neighbours_do_not_overlap():
    states = {tuple(g.get_state().tolist()) for seed in range(20) for g in seeded(seed, 30)}
    assert len(states) == 20 * 30


def test_noise_needs_one_generator_a_row():
    with pytest.raises(ValueError, match="3 generators for a batch of 5; pass one a row"):
        normal((5, 1, 7), seeded(0, 3), torch.device("cpu"))


def test_sampler_settings_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="sampling steps is 0; use 1 or more"):
        FlowSamplerConfig(steps=0)
    with pytest.raises(ValueError, match=r"shift is -1\.0; it must be positive"):
        FlowSamplerConfig(shift=-1.0)


def test_every_grey_level_survives_the_pixel_tokenizer():
    frames = torch.arange(256).repeat(3).reshape(2, 4, 4, 8, 3).to(torch.uint8)  # every level in every channel
    tokenizer = PixelTokenizer()
    latents = tokenizer.encode(frames)
    assert latents.shape == (2, 4, *tokenizer.latent_shape(4, 8))
    assert (latents.min(), latents.max()) == (-1, 1)
    assert torch.equal(tokenizer.decode(latents), frames)
    assert torch.equal(tokenizer.stream()(latents), frames)


def test_decoding_rounds_to_the_nearest_level_and_clips():
    level = 2 / 255
    latents = (
        torch.tensor([-1.7, -1 + 0.49 * level, -1 + 0.51 * level, 1.6]).reshape(1, 4, 1, 1, 1).expand(1, 4, 3, 6, 10)
    )
    assert PixelTokenizer().decode(latents)[0, :, 5, 9, 2].tolist() == [0, 0, 1, 255]


def test_encoding_leaves_the_frames_alone():
    frames = torch.full((2, 5, 6, 10, 3), 200, dtype=torch.uint8)
    PixelTokenizer().encode(frames)
    assert (frames == 200).all()
