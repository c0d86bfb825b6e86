"""What the contracts run over: add a model or a sampler by adding a line."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.diffusion.schedules import CosineNoiseConfig, LinearNoiseConfig
from hallucade.models.base import DiffusionModel, LatentClip, WorldModelConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.nn.action_injection import (
    AdaLNInjectionConfig,
    CrossAttentionInjectionConfig,
    KeyboardMouseInjectionConfig,
)
from hallucade.nn.level_embedding import LevelEmbeddingConfig
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer

ACTIONS = ActionSpace(buttons=(Button(name="fire"),), choices=(Choice(name="move", options=("stay", "up", "down")),))
MOUSE = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="yaw", low=-3, high=3, kind="delta"),))
HEIGHT, WIDTH = 8, 12
LONG = 13  # frames, about three times the longest window below

small = {"width": 24, "heads": 2, "window": 5}
tiny: dict[str, Any] = {"context": 2, "widths": (8,), "blocks": (1,), "condition_width": 16}
MODELS: dict[str, WorldModelConfig] = {
    "transformer": DiffusionTransformerConfig(**small, depth=2),
    "transformer, sinks": DiffusionTransformerConfig(**small, sink=2, registers=2, context_level=0.1, target="v"),
    "transformer, full": DiffusionTransformerConfig(**small, sink=1, depth=2, layout="full", registers=1),
    "transformer, toy-wm": DiffusionTransformerConfig(
        **small,
        sink=1,
        depth=2,
        layout="full",
        positions="flat",
        stem="conv",
        registers=1,
        norm="rms",
        mlp_bias=True,
        scaled_logits=False,
        zero_init=False,
        target="flow",
    ),
    "transformer, nanowm": DiffusionTransformerConfig(
        **small,
        learned_positions=True,
        mlp_ratio=4.0,
        level=LevelEmbeddingConfig(features=16, hidden=True, clock="timestep"),
        injection=AdaLNInjectionConfig(),
        action_hidden=True,
        target="v",
        schedule=CosineNoiseConfig(zero_terminal_snr=True),
    ),
    "transformer, cross-attention": DiffusionTransformerConfig(
        **small, sink=1, depth=2, layout="full", injection=CrossAttentionInjectionConfig()
    ),
    "transformer, keyboard and first frame": DiffusionTransformerConfig(
        **small,
        depth=2,
        layout="full",
        injection=KeyboardMouseInjectionConfig(width=16, key_features=6),
        image_condition="first_frame",
    ),
    "transformer, blocks": DiffusionTransformerConfig(
        width=24, heads=2, depth=2, window=6, block=3, injection=AdaLNInjectionConfig(), learned_positions=True
    ),
    "transformer, blocks and sinks": DiffusionTransformerConfig(
        width=24,
        heads=2,
        depth=2,
        layout="full",
        window=6,
        sink=1,
        block=3,
        registers=1,
        injection=KeyboardMouseInjectionConfig(width=16, key_features=6),
        image_condition="every_frame",
        checkpointing=True,
    ),
    "u-net": UNetConfig(context=3, widths=(8, 16), blocks=(1, 1), condition_width=24),
    "u-net, eps": UNetConfig(**tiny, target="eps", schedule=LinearNoiseConfig()),
    "u-net, v": UNetConfig(**tiny, target="v", schedule=CosineNoiseConfig(zero_terminal_snr=True)),
    "u-net, edm": UNetConfig(
        context=4, widths=(8, 8), blocks=(1, 1), condition_width=24, attention=True, target="edm", context_level=0.1
    ),
}
SAMPLERS: dict[str, SamplerConfig] = {
    "one step": FlowSamplerConfig(),
    "euler": FlowSamplerConfig(steps=2, shift=2.0),
    "heun, guided": FlowSamplerConfig(steps=2, order=2, guidance=1.5),
    "ddim": DDIMSamplerConfig(steps=3, eta=0.7),
    "few steps": FewStepSamplerConfig(steps=2, shift=3.0),
    "ddim, guided": GuidedSamplerConfig(
        sampler=DDIMSamplerConfig(steps=2), history_level=0.05, action=1.5, history=2.0, weaker_history_level=0.9
    ),
}


def build(
    config: WorldModelConfig, latent_shape: tuple[int, ...] = (3, HEIGHT, WIDTH), actions: ActionSpace = ACTIONS
) -> DiffusionModel[Any]:
    """Build a model whose every parameter matters: zero-initialised layers would let any contract pass."""
    generator = torch.Generator().manual_seed(5)
    model = config.build(actions, latent_shape)
    assert isinstance(model, DiffusionModel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator) + (parameter == 1))
    return model.eval()


def clip(frames: int, batch: int = 2, seed: int = 3, actions: ActionSpace = ACTIONS, stride: int = 1) -> LatentClip:
    """Draw a clip of latents in [-1, 1] and the actions that join them, `stride` a latent."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.rand(batch, frames, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1
    options = [2] * len(actions.buttons) + [len(c.options) for c in actions.choices] + [1] * len(actions.axes)
    rows = torch.rand(batch, (frames - 1) * stride, actions.size, generator=generator) * torch.tensor(options)
    keys = actions.size - len(actions.axes)
    return LatentClip(latents, actions.encode(torch.cat([rows[..., :keys].floor(), rows[..., keys:]], -1)))


def world(model: DiffusionModel[Any], sampler: SamplerConfig) -> World:
    """Return a world of random weights that dreams pixels."""
    drawn = sampler.view(model)
    return World(PixelTokenizer(), drawn, sampler.build(), ACTIONS, frame_size=(HEIGHT, WIDTH), fps=30.0)


def prompts(count: int, frames: int = 4) -> list[Prompt]:
    """Draw prompts of noise."""
    rng = np.random.default_rng(11)
    return [
        Prompt(rng.integers(0, 256, (frames, HEIGHT, WIDTH, 3), np.uint8), action_rows(1, frames - 1, i)[0])
        for i in range(count)
    ]


def action_rows(batch: int, steps: int, seed: int = 0) -> np.ndarray:
    """Draw raw action rows `b n c`."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, [2, 3], (batch, steps, 2)).astype(np.float32)


def tensors(state: Any) -> Iterator[Tensor]:
    """Yield every tensor that a state holds."""
    if isinstance(state, Tensor):
        yield state
    elif is_dataclass(state):
        yield from (t for field in fields(state) for t in tensors(getattr(state, field.name)))
    elif isinstance(state, list | tuple):
        yield from (t for item in state for t in tensors(item))
