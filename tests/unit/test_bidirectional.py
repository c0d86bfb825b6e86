"""Networks all of whose frames see each other: teachers and critics, which grade whole clips and are never played."""

from dataclasses import replace

import pytest
import torch
from test_blocks import ACTIONS, BLOCKS, KINDS, SHAPE, B, clip, network, part

from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig

BIDIRECTIONAL = {
    name: replace(config, attention="bidirectional", block=1, sink=0)
    for name, config in KINDS.items()
    if config.positions != "learned"
}
FRAMES = 9  # longer than the window of 6


@pytest.fixture(params=BIDIRECTIONAL.values(), ids=BIDIRECTIONAL.keys())
def config(request: pytest.FixtureRequest) -> DiffusionTransformerConfig:
    return request.param


@torch.no_grad()
def test_all_frames_see_each_other_and_the_actions_between(config: DiffusionTransformerConfig) -> None:
    model, whole, levels = network(config), clip(FRAMES), torch.rand(B, FRAMES)
    plain = model(whole.latents, levels, whole.actions)
    for i in (0, 4, FRAMES - 1):
        latents = whole.latents.clone()
        latents[:, i] += 1
        changed = (model(latents, levels, whole.actions) - plain).abs().flatten(2).amax(2)
        assert changed.min() > 1e-6
    actions = whole.actions.clone()
    actions[:, -1] = 1 - actions[:, -1]
    assert (model(whole.latents, levels, actions) - plain)[:, 0].abs().max() > 1e-6


@torch.no_grad()
def test_a_causal_student_starts_from_its_weights(config: DiffusionTransformerConfig) -> None:
    """The same parameters; where one block is the whole clip, the same network."""
    teacher, whole, levels = network(config), clip(4), torch.rand(B, 4)
    student = replace(config, attention="causal", block=4).build(ACTIONS, SHAPE).eval()
    student.load_state_dict(teacher.state_dict())
    torch.testing.assert_close(
        student(whole.latents, levels, whole.actions), teacher(whole.latents, levels, whole.actions)
    )


@torch.no_grad()
def test_whole_clips_are_drawn(config: DiffusionTransformerConfig) -> None:
    model, whole = network(config), clip(FRAMES)
    sampler = ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=2), clip=2)
    view = sampler.view(model)
    actions = whole.actions[:, 2:6].split(2, 1)
    film = torch.cat(list(rollout(view, sampler.build(), view.prefill(part(whole, 3)), actions, seeded(0, B))), 1)
    assert film.shape == (B, 4, *SHAPE)
    first = JointSamplerConfig(steps=2).build()(model, part(whole, 3), actions[0], seeded(0, B))
    assert torch.equal(film[:, :2], first)


def test_play_is_refused_with_the_remedy(config: DiffusionTransformerConfig) -> None:
    model, whole = network(config), clip(3)
    view = FlowSamplerConfig().view(model)
    for start in (lambda: view.prefill(whole), lambda: view.initial(whole.latents[:, :1]), lambda: model.blank(B)):
        with pytest.raises(ValueError, match=r"its frames see the future.*attention='causal' from its weights"):
            start()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 3}, "block is 3, which attention='bidirectional' does not read.*use block=1"),
        ({"sink": 1, "block": 1}, "sink is 1, which attention='bidirectional' does not read.*use sink=0"),
        ({"block": 1, "positions": "learned"}, "vectors for a window, and clips may be longer; turn to rotary"),
    ],
)
def test_what_it_does_not_read_is_refused(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BLOCKS, attention="bidirectional", **change)
