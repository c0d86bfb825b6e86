import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hallucade.actions import ActionSpace, Choice
from hallucade.data.clips import Clip
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcing, SelfForcingConfig
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.samplers.base import seeded
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
SHAPE = (3, 8, 12)
B, T = 2, 6
TRANSFORMER = DiffusionTransformerConfig(width=16, depth=2, heads=2, window=4)
UNET = UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16)


def network(config, seed: int = 0):
    torch.manual_seed(seed)
    model = config.build(ACTIONS, SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape) + (parameter == 1))
    return model


def method(config=None, model=TRANSFORMER, sampler=None, seed: int = 0) -> SelfForcing:
    networks = {name: network(model, i) for i, name in enumerate(("model", "teacher", "critic"))}
    config = config or SelfForcingConfig(prompt=2, student_every=2)
    sampler = sampler or FewStepSamplerConfig(steps=3)
    return config.build(PixelTokenizerConfig().build(), networks, sampler.build(), seed)


def batch(frames: int = T, seed: int = 5) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (B, frames, *SHAPE[1:], 3), generator=generator, dtype=torch.uint8)
    rows = torch.randint(0, 3, (B, frames - 1, 1), generator=generator)
    return Clip(pixels, ACTIONS.encode(rows.float()), seed)


def losses(taught: SelfForcing, clip: Clip, step: int) -> dict[str, Tensor]:
    return dict(taught.losses(clip, step))


@pytest.fixture(params=[TRANSFORMER, replace(TRANSFORMER, layout="full", sink=1), UNET], ids=["axial", "full", "u-net"])
def model(request):
    return request.param


def test_the_critic_learns_at_every_step_and_the_student_at_some(model) -> None:
    taught = method(model=model)
    assert [list(losses(taught, batch(), step)) for step in range(3)] == [
        ["model", "critic"],
        ["critic"],
        ["model", "critic"],
    ]


def test_each_loss_reaches_its_own_role_and_no_frozen_one(model) -> None:
    taught = method(model=model)
    turns = taught.losses(batch(), 0)
    role, loss = next(turns)
    assert role == "model"
    loss.backward()
    reached = {name for name in ("model", "teacher", "critic") if _touched(getattr(taught, name))}
    assert reached == {"model"}
    taught.zero_grad()
    role, loss = next(turns)
    loss.backward()
    assert {name for name in ("model", "teacher", "critic") if _touched(getattr(taught, name))} == {"critic"}


def _touched(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_a_block_has_one_graded_prediction_and_what_is_remembered_has_none(model) -> None:
    taught = method(SelfForcingConfig(prompt=2, student_every=1, same_exit=False), model=model)
    calls: list[bool] = []
    memories: list[bool] = []
    denoise, observe = taught.model.denoise, taught.model.observe
    taught.model.denoise = lambda *given: (calls.append(torch.is_grad_enabled()), denoise(*given))[1]
    taught.model.observe = lambda *given: (memories.append(torch.is_grad_enabled()), observe(*given))[1]
    next(taught.losses(batch(), 4))
    exits = taught._exits(T - 2, 4)
    assert calls == [graded for exit_ in exits for graded in [False] * exit_ + [True]]
    assert len(set(exits)) > 1, "all blocks end at one step: the test shows less than it could"
    assert memories.count(False) == len(memories) >= T - 2


def test_the_gradient_is_that_of_a_graph_built_by_hand(model) -> None:
    """One step a block: x0 of block i from the seed's noise, after the student's own blocks, held fixed."""
    taught = method(SelfForcingConfig(prompt=2, student_every=1), model=model, sampler=FewStepSamplerConfig(steps=1))
    clip = batch()
    (_, loss), *_ = taught.losses(clip, 0)
    loss.backward()
    theirs = {name: p.grad for name, p in taught.model.named_parameters()}
    ours, latents = _by_hand(copy.deepcopy(taught.model), taught, clip)
    for name, gradient in ours.items():
        assert torch.allclose(theirs[name], gradient, atol=1e-6), name
    assert latents.shape[1] == T


def _by_hand(student, taught: SelfForcing, clip: Clip) -> tuple[dict[str, Tensor], Tensor]:
    from hallucade.methods.distribution_matching import Scored, distribution_matching_loss

    generator = torch.Generator().manual_seed(clip.seed)
    seed = int(torch.randint(2**40, (), generator=generator))
    real = taught.tokenizer.encode(clip.frames)
    shown, drawn, generators = real[:, :2], [], seeded(seed, B)
    for i in range(2, T):
        noise = torch.stack([torch.randn((1, *SHAPE), generator=g) for g in generators])
        with torch.no_grad():
            state = student.prefill(LatentClip(shown, clip.actions[:, : i - 1]))
        block = student.denoise(student.fork(state), clip.actions[:, i - 1 : i], noise, torch.ones(B))
        drawn.append(block)
        shown = torch.cat([shown, block.detach()], 1)
    latents = torch.cat([real[:, :2], *drawn], 1)
    scored = Scored(latents, clip.actions, (torch.arange(T) >= 2).expand(B, -1))
    student.zero_grad()
    distribution_matching_loss(taught.teacher, taught.critic, scored, taught.config.matching, generator).backward()
    return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}, latents


def test_the_critic_sees_the_student_s_own_clip_or_a_fresh_one() -> None:
    for fresh, plays in ((False, 1), (True, 2)):
        taught = method(SelfForcingConfig(prompt=2, student_every=1, critic_fresh_rollout=fresh))
        counted: list[int] = []
        play = taught._play
        taught._play = lambda *given, play=play, counted=counted: (counted.append(1), play(*given))[1]
        losses(taught, batch(), 0)
        assert len(counted) == plays


def test_the_same_batch_and_step_give_the_same_losses() -> None:
    first, second = (losses(method(), batch(), 0) for _ in range(2))
    assert first == second
    assert losses(method(), batch(seed=6), 0) != first
    assert (
        losses(method(seed=1, config=SelfForcingConfig(prompt=2, student_every=1)), batch(), 1).keys() == first.keys()
    )


def test_exits_do_not_depend_on_the_batch() -> None:
    taught = method()
    drawn = [taught._exits(3, step) for step in range(60)]
    assert {exit_ for exits in drawn for exit_ in exits} == {0, 1, 2}
    assert all(len(set(exits)) == 1 for exits in drawn)
    last = method(SelfForcingConfig(prompt=2, last_step_only=True))
    assert {exit_ for step in range(20) for exit_ in last._exits(3, step)} == {2}


def test_gradients_survive_autocast() -> None:
    taught = method(SelfForcingConfig(prompt=2, student_every=1))
    with torch.autocast("cpu", torch.bfloat16):
        _, loss = next(taught.losses(batch(), 0))
    loss.backward()
    silent = [name for name, p in taught.model.named_parameters() if p.ndim > 1 and p.grad is None]
    assert not silent


def test_blocks_before_the_first_graded_one_are_given() -> None:
    taught = method(SelfForcingConfig(prompt=2, student_every=1, first_graded=3))
    seen: list[Tensor] = []
    forward = taught.critic.forward
    taught.critic.forward = lambda noisy, levels, *given: (seen.append(levels), forward(noisy, levels, *given))[1]
    losses(taught, batch(), 0)
    assert (seen[0][:, :5] == 0).all()
    assert (seen[0][:, 5:] > 0).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SelfForcingConfig(prompt=0), "prompt is 0"),
        (lambda: SelfForcingConfig(student_every=0), "student_every is 0"),
        (lambda: SelfForcingConfig(first_graded=-1), "first_graded is -1"),
        (lambda: method(SelfForcingConfig(prompt=1), model=UNET), "prompt is 1 latents; the networks look back over 2"),
        (lambda: method(sampler=FlowSamplerConfig()), "distil for a FewStepSamplerConfig"),
        (lambda: losses(method(), batch(frames=2), 0), "clips of 2 latents hold no block of 1"),
    ],
)
def test_what_cannot_work_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_a_teacher_of_another_latent_space_is_refused() -> None:
    networks = {name: network(TRANSFORMER) for name in ("model", "critic")}
    networks["teacher"] = TRANSFORMER.build(ACTIONS, (4, 8, 12))
    with pytest.raises(ValueError, match="the teacher dreams latents of 4x8x12 and the model of 3x8x12"):
        SelfForcingConfig().build(PixelTokenizerConfig().build(), networks, FewStepSamplerConfig().build(), 0)


def test_configs_travel_as_json() -> None:
    config = SelfForcingConfig(matching=DistributionMatchingConfig(guidance=2.0), student_every=3)
    assert SelfForcingConfig.from_json(config.to_json()) == config
