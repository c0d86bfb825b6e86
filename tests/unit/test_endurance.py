"""What a frame costs does not depend on how many came before: operations, memory and what is seen, past frame 1,024."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hallucade.actions import ActionSpace, Choice
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.samplers.base import SamplerConfig, seeded
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
H, W, WINDOW, LATE = 2, 4, 5, 1040
SMALL = {"width": 12, "heads": 2, "depth": 2, "patch": 2, "window": WINDOW}
MODELS = {
    "factorised": DiffusionTransformerConfig(**SMALL),
    "full, sinks, learned": DiffusionTransformerConfig(**SMALL, layout="full", sink=2, learned_positions=True),
    "full, flat": DiffusionTransformerConfig(**SMALL, layout="full", positions="flat", sink=1),
}
SAMPLERS: dict[str, SamplerConfig] = {
    "cached": DDIMSamplerConfig(steps=1),
    "noised history": GuidedSamplerConfig(sampler=DDIMSamplerConfig(steps=1), history_level=0.1),
    "clips at once": ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=2, lag=1), clip=4),
}


def build(config: DiffusionTransformerConfig) -> DiffusionModel:
    model = config.build(ACTIONS, (3, H, W))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter == 1))
    return model.eval()


def pressed(frames: int, seed: int = 0) -> torch.Tensor:
    choices = torch.randint(0, 3, (1, frames), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(choices, 3).float()


def clip(frames: int) -> LatentClip:
    latents = torch.rand(1, frames, 3, H, W, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return LatentClip(latents, pressed(frames - 1))


@torch.no_grad()
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_a_late_frame_takes_as_many_operations_and_as_much_memory_as_an_early_one(sampler: SamplerConfig):
    model, draw = sampler.view(build(MODELS["full, sinks, learned"])), sampler.build()
    state, generators = model.prefill(clip(2 * WINDOW)), seeded(0, 1)
    operations, sizes = list[int](), list[int]()
    for action in pressed(12).split(model.block, 1):
        with FlopCounterMode(display=False) as counter:
            latent = draw(model, state, action, generators)
            state = model.observe(state, action, latent)
        operations.append(counter.get_total_flops())
        sizes.append(_stored(state))
    assert set(operations) == {operations[0]}
    assert set(sizes) == {sizes[0]}
    assert min(operations[0], sizes[0]) > 0


@torch.no_grad()
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
def test_a_frame_past_1024_sees_what_it_would_have_seen_early(config: DiffusionTransformerConfig):
    """The same last frames, and the same sinks, predict the same next one, however much was seen in between."""
    model, noisy, level = build(config), torch.randn(1, 1, 3, H, W), torch.full((1,), 0.5)
    whole, action = clip(LATE), pressed(1)
    reach = 2 * WINDOW  # of two layers, each of which looks back by one window
    first = LATE - WINDOW - 1
    late = model.prefill(LatentClip(whole.latents[:, :first], whole.actions[:, : first - 1]))
    for i in range(first, LATE):
        late = model.observe(late, whole.actions[:, i - 1 : i], whole.latents[:, i : i + 1])
    sinks = config.sink
    kept = [*range(sinks), *range(LATE - reach, LATE)]
    early = model.prefill(LatentClip(whole.latents[:, kept], whole.actions[:, [max(i - 1, 0) for i in kept[1:]]]))
    assert late.frames == LATE
    expected, seen = (model.denoise(state, action, noisy, level) for state in (early, late))
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
    other = model.prefill(LatentClip(whole.latents[:, : len(kept)], whole.actions[:, : len(kept) - 1]))
    assert (model.denoise(other, action, noisy, level) - expected).abs().max() > 1e-2


def _stored(value: object) -> int:
    """Return the bytes of all tensors that a memory holds."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, list | tuple):
        return sum(map(_stored, value))
    return sum(map(_stored, vars(value).values())) if hasattr(value, "__dict__") else 0
