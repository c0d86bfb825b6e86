"""What keeping keys is worth: toy-wm's network beside its own way of streaming, NanoWM beside whole clips.

toy-wm keeps raw keys and values, normalises and rotates all of them again at every step, and always asks its network
twice, with and without the action. Here keys are kept as attention reads them, and a frame without guidance asks once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import Details, Measurement
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformer
from hallucade.models.nanowm import nanowm_s2
from hallucade.models.toy_wm import toy_wm
from hallucade.nn.modulation import modulate
from hallucade.nn.transformer_block import TransformerBlock
from hallucade.samplers.base import sampling_levels
from hallucade.samplers.flow import FlowSamplerConfig

STEPS, SHIFT = 4, 3.0  # of toy-wm's sampler
FRAME, ACTIONS = (3, 24, 24), 3
NANOWM_FRAMES = 16
FRAMES = 5  # timed, taking turns; the fastest of each counts, because others use the machine too


@dataclass
class RawStream:
    """toy-wm's way: keys and values as they leave their layer, for the network with and without the action."""

    model: DiffusionTransformer
    keys: list[Tensor] = field(default_factory=list[Tensor])  # one a layer, b tokens heads d
    values: list[Tensor] = field(default_factory=list[Tensor])

    def frame(self, action: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a frame in `STEPS` steps; the last one's keys and values replace the oldest frame's."""
        model, own = self.model, list[tuple[Tensor, Tensor]]()
        x = torch.randn(1, 1, *FRAME, generator=generator)
        for now, after in pairwise(sampling_levels(STEPS, SHIFT)):
            pressed = torch.cat([model.embed_actions(action), model.no_action.expand(1, 1, -1)])
            output, own = self._forward(x.expand(2, -1, -1, -1, -1), torch.full((2, 1), now), pressed)
            with_action, without = output.chunk(2)
            x = x + (after - now) * (without + 1.0 * (with_action - without))
        tokens = model.positions.tokens
        self.keys = [torch.cat([old[:, tokens:], new], 1) for old, (new, _) in zip(self.keys, own, strict=True)]
        self.values = [torch.cat([old[:, tokens:], new], 1) for old, (_, new) in zip(self.values, own, strict=True)]
        return x

    def _forward(self, x: Tensor, levels: Tensor, pressed: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        model = self.model
        condition = model.embed_level(levels) + pressed
        registers = model.registers
        assert registers is not None
        tokens, own = torch.cat([model.embed(x), registers.expand(2, 1, -1, -1)], 2), list[tuple[Tensor, Tensor]]()
        for block, keys, values in zip(model.blocks, self.keys, self.values, strict=True):
            assert isinstance(block, TransformerBlock)
            shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.modulation(condition)
            attended, new = _attend_raw(block, modulate(block.attention_norm(tokens), shift, scale), keys, values)
            tokens = tokens + gate * attended
            tokens = tokens + mlp_gate * block.mlp(modulate(block.mlp_norm(tokens), mlp_shift, mlp_scale))
            own.append(new)
        modulated = modulate(model.norm(tokens[:, :, :-1]), *model.modulation(condition))
        return model.output(modulated, model.rows), own


def _attend_raw(
    block: TransformerBlock, x: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Attend over raw keys: all of them are normalised and rotated, as if the oldest stood at position 0."""
    layer = block.attention
    q, k, v = layer.qkv(x[:, 0]).unflatten(-1, (3, layer.heads, -1)).unbind(2)  # b n heads d
    all_keys, all_values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
    length = all_keys.shape[1]
    q = _rotated(layer.query_norm(q), length - q.shape[1]).transpose(1, 2)
    turned = _rotated(layer.key_norm(all_keys), 0).transpose(1, 2)
    attended = (q @ turned.transpose(-1, -2)).softmax(-1) @ all_values.transpose(1, 2)
    return layer.out(attended.transpose(1, 2).flatten(2)).unsqueeze(1), (k, v)


def _rotated(x: Tensor, start: int) -> Tensor:
    """Rotate neighbouring pairs of a head, as toy-wm does, from position `start`; tables are looked up."""
    cos, sin = (table[start : start + x.shape[1]] for table in _tables(x.shape[-1]))
    turned = torch.empty_like(x)
    turned[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    turned[..., 1::2] = x[..., 1::2] * cos + x[..., 0::2] * sin
    return turned


_TABLES: dict[int, tuple[Tensor, Tensor]] = {}


def _tables(head: int, length: int = 2000, base: float = 5000.0) -> tuple[Tensor, Tensor]:
    if head not in _TABLES:
        angles = torch.arange(length)[:, None] * base ** (-torch.arange(0, head, 2) / head)
        _TABLES[head] = (angles.cos()[:, None], angles.sin()[:, None])
    return _TABLES[head]


def raw_stream(model: DiffusionTransformer) -> Callable[[], object]:
    """Return what draws the next frame toy-wm's way, with a full window."""
    past = (model.window.slots * model.positions.tokens, model.config.heads, model.config.width // model.config.heads)
    draws = [[torch.randn(2, *past) for _ in model.blocks] for _ in ("keys", "values")]
    stream, action, generator = RawStream(model, *draws), torch.rand(1, 1, ACTIONS), torch.Generator()
    return lambda: stream.frame(action, generator)


def cached_stream(model: DiffusionTransformer) -> Callable[[], object]:
    """Return what draws the next frame from a memory with a full window."""
    frames = model.window.size
    state = model.prefill(LatentClip(torch.rand(1, frames, *FRAME), torch.rand(1, frames - 1, ACTIONS)))
    sampler, action = FlowSamplerConfig(steps=STEPS, shift=SHIFT).build(), torch.rand(1, 1, ACTIONS)

    def step() -> None:
        nonlocal state
        state = model.observe(state, action, sampler(model, state, action, [torch.Generator()]))

    return step


def fastest(streams: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return seconds a frame of each."""
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(FRAMES):
        for name, step in streams.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(each[1:]) for name, each in seconds.items()}


def gigaflops(step: Callable[[], object]) -> float:
    """Count multiplications and additions of matrix products and convolutions, in billions."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused kernel is not counted
        step()
    return counter.get_total_flops() / 1e9


def measure_toy_wm() -> None:
    """Print frames a second of both ways, and in bfloat16."""
    model = DiffusionTransformer(toy_wm(), ACTIONS, FRAME).eval()
    half = DiffusionTransformer(toy_wm(), ACTIONS, FRAME).eval().bfloat16()
    streams = {
        "toy-wm's way": raw_stream(model),
        "cached": cached_stream(model),
        "cached, bfloat16": cached_stream(half),
    }
    seconds = fastest(streams)
    for name, step in streams.items():
        details = {
            "way": name,
            "gflop_per_frame": gigaflops(step),
            "times_toy_wms_way": seconds["toy-wm's way"] / seconds[name],
            "threads": torch.get_num_threads(),
        }
        Measurement("toy_wm_frames_per_s", 1 / seconds[name], "frames/s", details).print()


def measure_nanowm() -> None:
    """Print what one more frame costs: a step of a clip of sixteen, or a step beside a memory of fifteen."""
    model = DiffusionTransformer(nanowm_s2(NANOWM_FRAMES), 7, (4, 32, 32)).eval()
    clip = LatentClip(torch.rand(1, NANOWM_FRAMES, 4, 32, 32), torch.rand(1, NANOWM_FRAMES - 1, 7))
    levels = torch.full((1, NANOWM_FRAMES), 0.5)
    past = model.prefill(LatentClip(clip.latents[:, :-1], clip.actions[:, :-1]))
    whole = gigaflops(lambda: model(clip.latents, levels, clip.actions))
    cached = gigaflops(lambda: model.denoise(past, clip.actions[:, -1:], clip.latents[:, -1:], levels[:, -1]))
    details: Details = {"whole_clip": whole, "fewer": whole / cached, "frames": NANOWM_FRAMES}
    Measurement("nanowm_s2_gflop_per_step", cached, "GFLOP", details).print()


def main() -> None:
    with torch.no_grad():
        measure_nanowm()
        measure_toy_wm()


if __name__ == "__main__":
    main()
