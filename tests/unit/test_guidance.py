"""Guidance and noised memories on a model that shows what it was given."""

from dataclasses import dataclass

import pytest
import torch

from hallucade.diffusion.schedules import CosineNoiseConfig, RectifiedFlow
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import seeded
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guidance import ActionGuided, HistoryGuided
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.samplers.history import NoisyHistory
from hallucade.samplers.joint import JointSamplerConfig

B, C, H, W, A = 2, 3, 6, 10, 5
ACTION = torch.rand(B, 1, A, generator=torch.Generator().manual_seed(1))


@dataclass
class Seen:
    latents: torch.Tensor  # b t c h w
    told: list[float]


class Recall(DiffusionModel[Seen]):
    """Predicts the newest latent that it remembers, plus the mean of the action."""

    def __init__(self, schedule=None):
        super().__init__()
        self.schedule, self.latent_shape = schedule or RectifiedFlow(), (C, H, W)

    def initial(self, latent):
        return Seen(latent, [self.context_level])

    def observe(self, state, action, latent):
        return Seen(torch.cat([state.latents, latent], 1), [*state.told, self.context_level])

    def fork(self, state):
        return Seen(state.latents.clone(), list(state.told))

    def denoise(self, state, action, noisy, level):
        pressed = 0.0 if action is None else action.mean((1, 2)).reshape(-1, 1, 1, 1, 1)
        return state.latents[:, -1:] + pressed

    def forward(self, noisy, levels, actions, dropped=None):
        self.given = noisy, levels, actions, dropped
        held = actions.mean(2)
        held = torch.where(dropped, 0.0, held) if dropped is not None else held
        lead = torch.zeros(held.shape[0], 1)
        return torch.cat([noisy[:, :1], noisy[:, :-1]], 1) + torch.cat([lead, held], 1).reshape(
            *noisy.shape[:2], 1, 1, 1
        )


def clip(frames=4, batch=B):
    return LatentClip(torch.rand(batch, frames, C, H, W) * 2 - 1, torch.rand(batch, frames - 1, A))


def predict(view, seen, action=ACTION):
    return view.denoise(view.prefill(seen), action, torch.randn(B, 1, C, H, W), torch.full((B,), 0.6))


# Action guidance


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_action_guidance_moves_away_from_no_action(scale):
    seen = clip()
    expected = seen.latents[:, -1:] + scale * ACTION.mean((1, 2)).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(predict(ActionGuided(Recall(), scale), seen), expected)


def test_action_guidance_of_a_clip_forgets_only_what_led_into_noise():
    model, seen = Recall(), clip(5)
    levels = torch.tensor([0.0, 0.0, 0.0, 0.4, 0.7]).expand(B, 5)
    seen_by, dropped = [], []
    forward = model.forward
    model.forward = lambda *args: (seen_by.append(args[1]), dropped.append(args[3]), forward(*args))[2]
    out = ActionGuided(model, 2.0).restore(seen.latents, levels, seen.actions)
    assert dropped[0][0].tolist() == [False, False, True, True]
    assert dropped[1] is None
    pressed = seen.actions.mean(2)
    torch.testing.assert_close(out[:, 2].mean((1, 2, 3)), seen.latents[:, 1].mean((1, 2, 3)) + pressed[:, 1])
    torch.testing.assert_close(out[:, 4].mean((1, 2, 3)), seen.latents[:, 3].mean((1, 2, 3)) + 2 * pressed[:, 3])


# Noised memories


def test_a_noised_memory_holds_the_schedules_mixture_and_the_network_is_told():
    schedule = CosineNoiseConfig().build()
    seen, model = clip(40), Recall(schedule)
    state = NoisyHistory(model, 0.3).prefill(seen)
    alpha, sigma = schedule.alpha(torch.tensor(0.3)), schedule.sigma(torch.tensor(0.3))
    noise = (state.inner.latents - alpha * seen.latents) / sigma
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert len({round(latent.sum().item(), 3) for latent in noise.flatten(0, 1)}) == 40 * B
    assert abs(torch.corrcoef(noise.flatten(1))[0, 1].item()) < 0.05, "rows share their noise"
    assert set(state.inner.told) == {0.3}
    assert model.context_level == 0, "the view told the model itself"


def test_the_noise_of_a_row_is_its_seeds_whatever_the_batch():
    whole, latent, view = clip(5, batch=3), torch.rand(3, 1, C, H, W), NoisyHistory(Recall(), 1.0)
    together = view.prefill(LatentClip(whole.latents, whole.actions, (7, 8, 7)))
    alone = view.prefill(LatentClip(whole.latents[1:2], whole.actions[1:2], (8,)))
    for _ in range(2):
        assert torch.equal(together.inner.latents[1:2], alone.inner.latents)
        assert torch.equal(together.inner.latents[0], together.inner.latents[2])
        assert not torch.equal(together.inner.latents[0], together.inner.latents[1])
        together = view.observe(together, whole.actions[:, :1], latent)
        alone = view.observe(alone, whole.actions[1:2, :1], latent[1:2])
    with pytest.raises(ValueError, match="2 seeds for a batch of 3; pass one a row"):
        view.prefill(LatentClip(whole.latents, whole.actions, (7, 8)))


def test_full_noise_is_no_memory():
    view, one, other = NoisyHistory(Recall(), 1.0), clip(), clip()
    assert not torch.equal(one.latents, other.latents)
    assert torch.equal(view.prefill(one).inner.latents, view.prefill(other).inner.latents)


def test_a_noised_memory_is_prefilled_as_it_is_observed_and_forked_with_its_count():
    seen, view = clip(5), NoisyHistory(Recall(), 0.4)
    loop = WorldModel.prefill(view, seen)
    torch.testing.assert_close(loop.inner.latents, view.prefill(seen).inner.latents)
    fork = view.fork(loop)
    latent = torch.rand(B, 1, C, H, W)
    torch.testing.assert_close(
        view.observe(loop, ACTION, latent).inner.latents, view.observe(fork, ACTION, latent).inner.latents
    )


def test_a_clip_is_shown_what_a_memory_would_hold():
    seen, model = clip(5), Recall()
    view = NoisyHistory(model, 0.4)
    levels = torch.tensor([0.0, 0.0, 0.0, 0.2, 0.7]).expand(B, 5)
    view.restore(seen.latents, levels, seen.actions)
    shown, told, *_ = view.model.given
    assert told[0].tolist() == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.7])
    torch.testing.assert_close(
        shown[:, :3], view.prefill(LatentClip(seen.latents[:, :3], seen.actions[:, :2])).inner.latents
    )
    assert torch.equal(shown[:, 3:], seen.latents[:, 3:])


# History guidance


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_history_guidance_moves_away_from_a_noised_history(scale):
    seen, model = clip(), Recall()
    weaker = NoisyHistory(model, 1.0)
    guided = predict(HistoryGuided(model, weaker, scale), seen)
    blind, clear = predict(weaker, seen), predict(model, seen)
    torch.testing.assert_close(guided, blind + scale * (clear - blind))
    assert (blind - clear).abs().mean() > 0.5


def test_the_weaker_memory_follows_the_game():
    seen, model = clip(), Recall()
    view = HistoryGuided(model, NoisyHistory(model, 0.5), 2.0)
    state, latent = view.prefill(seen), torch.rand(B, 1, C, H, W)
    state = view.observe(state, ACTION, latent)
    assert torch.equal(state.stronger.latents[:, -1:], latent)
    assert state.weaker.latents == 5
    assert state.weaker.inner.latents.shape[1] == 5


# The config


def calls_of(config, seen):
    """Network calls that one block costs; twins that are told another level count with their original."""
    counted, denoise = [], Recall.denoise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recall, "denoise", lambda *args: (counted.append(1), denoise(*args))[1])
        view = config.view(Recall())
        config.build()(view, view.prefill(seen), ACTION, seeded(0, B))
    return len(counted)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({}, 2),
        ({"history_level": 0.1}, 2),
        ({"action": 1.5}, 4),
        ({"history": 2.0}, 4),
        ({"action": 1.5, "history": 2.0}, 6),
    ],
)
def test_each_guidance_costs_one_call_a_step_and_none_costs_nothing(settings, calls):
    assert calls_of(GuidedSamplerConfig(sampler=DDIMSamplerConfig(steps=2), **settings), clip()) == calls


def test_what_is_left_at_its_default_is_the_model_itself():
    model = Recall()
    assert GuidedSamplerConfig().view(model) is model
    assert FlowSamplerConfig(guidance=2.0).view(model) is model


def test_both_guidances_compose_as_they_nest():
    seen, model = clip(), Recall()
    view = GuidedSamplerConfig(action=1.5, history=2.0).view(model)
    free, pressed = predict(model, seen, None), predict(model, seen)
    blind = predict(NoisyHistory(model, 1.0), seen)
    torch.testing.assert_close(predict(view, seen), blind + 2 * (free + 1.5 * (pressed - free) - blind))


def test_impossible_guidance_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"history_level is 1.0; it lies in \[0, 1\), or None"):
        GuidedSamplerConfig(history_level=1.0)
    with pytest.raises(ValueError, match=r"weaker_history_level is -0.1; it lies between 0 and 1"):
        GuidedSamplerConfig(weaker_history_level=-0.1)
    with pytest.raises(
        ValueError, match=r"weaker_history_level is 0.2, no noisier than the history itself; raise it, or"
    ):
        GuidedSamplerConfig(history=2.0, history_level=0.3, weaker_history_level=0.2)


# Whole clips


def test_levels_of_a_clip_fall_together_in_a_pyramid_or_one_by_one():
    def rows(lag):
        return (JointSamplerConfig(steps=2, lag=lag).build().levels(3) * 2).int().tolist()

    assert rows(0) == [[2, 2, 2], [1, 1, 1], [0, 0, 0]]
    assert rows(1) == [[2, 2, 2], [1, 2, 2], [0, 1, 2], [0, 0, 1], [0, 0, 0]]
    assert rows(2) == [[2, 2, 2], [1, 2, 2], [0, 2, 2], [0, 1, 2], [0, 0, 2], [0, 0, 1], [0, 0, 0]]


def test_a_clip_needs_context_whole_latents_and_a_lag_within_its_steps():
    model, sampler = Recall(), JointSamplerConfig().build()
    model.lead = 5
    with pytest.raises(ValueError, match="a prompt of 4 latents; Recall needs 5 or more"):
        sampler(model, clip(4), ACTION, seeded(0, B))
    with pytest.raises(ValueError, match="3 actions for latents of 2; give 2 a latent"):
        sampler(Recall(), clip(4), ACTION.repeat(1, 3, 1), seeded(0, B), stride=2)
    with pytest.raises(ValueError, match="lag is 5; it lies between 0, full sequence, and steps = 4"):
        JointSamplerConfig(steps=4, lag=5)
