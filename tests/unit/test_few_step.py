import pytest
import torch
from gaussian_game import ACTION, LATENT_SHAPE, GaussianGame, draw

from hallucade.rollout import rollout
from hallucade.samplers.base import normal, seeded
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.few_step import ExitSampler, FewStepSamplerConfig


class GradedGame(GaussianGame):
    """A Gaussian game with a weight, which notes at which calls gradients were on."""

    def __init__(self) -> None:
        super().__init__(spread=0.5)
        self.offset = torch.nn.Parameter(torch.tensor(0.25))
        self.graded: list[bool] = []

    def denoise(self, state, action, noisy, level):
        self.graded.append(torch.is_grad_enabled())
        return super().denoise(state, action, noisy, level) + self.offset

    def observe(self, state, action, latent):
        assert not torch.is_grad_enabled()
        return state


def test_even_levels_are_shifted_towards_noise() -> None:
    levels = FewStepSamplerConfig(steps=4, shift=5.0).build().levels
    assert levels == pytest.approx((1.0, 0.9375, 0.83333, 0.625), abs=1e-5)  # 1000, 937.5, 833.33, 625 in public code


def test_the_same_noise_between_steps_is_ddim() -> None:
    ours = draw(FewStepSamplerConfig(steps=3, renoise="same"), GaussianGame(0.7))
    assert torch.allclose(ours, draw(DDIMSamplerConfig(steps=3), GaussianGame(0.7)), atol=1e-5)


def test_fresh_noise_between_steps_draws_the_data_s_spread() -> None:
    """x0 of pure noise is the mean; a second prediction at level s spreads by the share of x_s that says something."""
    spread, level = 0.7, 0.4
    config = FewStepSamplerConfig(steps=2, levels=(1.0, level))
    x = draw(config, GaussianGame(spread)) - GaussianGame(spread).mean(ACTION)
    gain = (1 - level) * spread**2 / ((1 - level) ** 2 * spread**2 + level**2)
    assert x.std().item() == pytest.approx(gain * level, rel=0.1)  # all of it from the fresh noise


def test_levels_of_one_s_own_are_called_in_order() -> None:
    model = GaussianGame(0.7)
    draw(FewStepSamplerConfig(steps=3, levels=(1.0, 0.666, 0.333)), model)
    assert model.levels == pytest.approx([1.0, 0.666, 0.333])


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ((1.0, 0.5), "2 levels for 3 steps"),
        ((1.0, 0.2, 0.5), "fall"),
        ((1.5, 0.5, 0.2), "fall"),
        ((1.0, 0.5, 0.0), "fall"),
    ],
)
def test_levels_that_cannot_be_are_refused(levels: tuple[float, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        FewStepSamplerConfig(steps=3, levels=levels)


@pytest.mark.parametrize("renoise", ["fresh", "same"])
def test_only_the_last_prediction_of_a_block_carries_gradients(renoise) -> None:
    model = GradedGame()
    exits = (2, 0, 1)
    sampler = ExitSampler(FewStepSamplerConfig(steps=3, renoise=renoise).build(), iter(exits))
    blocks = list(rollout(model, sampler, None, [ACTION] * 3, seeded(3, len(ACTION))))
    assert model.graded == [False, False, True, True, False, True]
    for exit_, block in zip(exits, blocks, strict=True):
        (slope,) = torch.autograd.grad(block.sum(), model.offset, retain_graph=True)
        assert slope.item() == block.numel(), exit_  # the offset of the last step alone, not of those before it


def test_a_prediction_that_exits_early_is_that_of_a_sampler_that_ends_there() -> None:
    model = GaussianGame(0.7)
    sampler = FewStepSamplerConfig(steps=3).build()
    early = sampler.predicted_at(1, model, None, ACTION, seeded(3, len(ACTION)))
    shorter = FewStepSamplerConfig(steps=2, levels=sampler.levels[:2]).build()
    assert torch.equal(early, shorter(model, None, ACTION, seeded(3, len(ACTION))))


def test_blocks_before_the_first_graded_one_carry_no_gradients() -> None:
    model = GradedGame()
    sampler = ExitSampler(FewStepSamplerConfig(steps=2).build(), iter((1, 1, 1)), first_graded=2)
    blocks = list(rollout(model, sampler, None, [ACTION] * 3, seeded(3, len(ACTION))))
    assert [block.requires_grad for block in blocks] == [False, False, True]


def test_one_step_predicts_from_the_seed_s_noise() -> None:
    model, b = GaussianGame(0.7), len(ACTION)
    noise = normal((b, 1, *LATENT_SHAPE), seeded(11, b), torch.device("cpu"))
    expected = model.denoise(None, ACTION, noise, torch.ones(b))
    assert torch.equal(draw(FewStepSamplerConfig(steps=1), model), expected)
