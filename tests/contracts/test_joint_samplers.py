"""What samplers of whole clips promise over every world model."""

import pytest
import torch
from cases import MODELS, build, clip

from hallucade.models.base import LatentClip
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig

PROMPT, STEPS = 4, 3
GREY = 2 / 255  # one grey level, in latent units
VIEWS = {
    "plain": GuidedSamplerConfig(),
    "guided": GuidedSamplerConfig(history_level=0.05, action=1.5, history=1.7, weaker_history_level=0.9),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys(), scope="module")
def model(request):
    return build(request.param)


@pytest.fixture(params=[0, 1, STEPS], ids=["full sequence", "pyramid", "one by one"])
def lag(request):
    return request.param


def new(model):
    """How many latents are drawn together: two blocks or more."""
    return max(4, 2 * model.block)


def prompt_and_actions(model, batch, seed=3):
    whole = clip(PROMPT + new(model), batch, seed)
    prompt = LatentClip(whole.latents[:, :PROMPT], whole.actions[:, : PROMPT - 1])
    return prompt, whole.actions[:, PROMPT - 1 :]


def same(a, b, model):
    """Equal up to rounding, relative to how large the latents of random weights become."""
    scale = max(1.0, a.abs().max().item())
    torch.testing.assert_close(a, b, rtol=0, atol=2e-4 * scale, msg=lambda m: f"{type(model).__name__}: {m}")


@torch.no_grad()
def test_the_seed_decides_and_the_prompt_is_left_alone(model, lag):
    prompt, actions = prompt_and_actions(model, 2)
    given = prompt.latents.clone()
    sampler = JointSamplerConfig(steps=STEPS, lag=lag, eta=0.5).build()
    first, again, other = (sampler(model, prompt, actions, seeded(seed, 2)) for seed in (0, 0, 1))
    assert first.shape == (2, new(model), *model.latent_shape)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(prompt.latents, given)


@torch.no_grad()
def test_batch_size_does_not_change_a_clip(model, lag):
    prompt, actions = prompt_and_actions(model, 8)
    sampler = JointSamplerConfig(steps=STEPS, lag=lag).build()
    together = sampler(model, prompt, actions, seeded(0, 8))
    alone = sampler(model, LatentClip(prompt.latents[:1], prompt.actions[:1]), actions[:1], seeded(0, 1))
    assert (together[:1].clamp(-1, 1) - alone.clamp(-1, 1)).abs().max() <= GREY


@torch.no_grad()
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_one_by_one_is_the_autoregressive_rollout(model, view):
    prompt, actions = prompt_and_actions(model, 2)
    drawn = view.view(model)
    joint = JointSamplerConfig(steps=STEPS, lag=STEPS).build()(drawn, prompt, actions, seeded(0, 2))
    single = DDIMSamplerConfig(steps=STEPS).build()
    latents = rollout(drawn, single, drawn.prefill(prompt), actions.split(model.block, 1), seeded(0, 2))
    same(joint, torch.cat(list(latents), 1), model)


@torch.no_grad()
def test_a_later_action_leaves_earlier_latents_alone(model, lag):
    prompt, actions = prompt_and_actions(model, 2)
    sampler = JointSamplerConfig(steps=STEPS, lag=lag).build()
    plain = sampler(model, prompt, actions, seeded(0, 2))
    other = actions.clone()
    other[:, -1] = 1 - other[:, -1]
    changed = sampler(model, prompt, other, seeded(0, 2))
    same(changed[:, : -model.block], plain[:, : -model.block], model)
    assert (changed[:, -1] - plain[:, -1]).abs().max() > 1e-3
