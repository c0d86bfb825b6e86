"""A causal transformer over space and time that denoises frames, each at its own noise level.

Layers alternate between the patches of one frame and one patch through time ("factorised"), or attend over both at once
("full", toy-wm's). Training sees a clip in one masked pass; play sees one frame and a cache of past keys and values.
The two admit exactly the same frames (`FrameWindow`) and agree.

Sources: Peebles and Xie 2023 (arXiv:2212.09748), Chen et al. 2024, diffusion forcing (arXiv:2407.01392).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.diffusion.schedules import NoiseScheduleConfig, RectifiedFlowConfig, expand
from hallucade.diffusion.targets import Target, check_target, input_scale, predict_x0
from hallucade.models.base import DiffusionModel, LatentClip, WorldModelConfig
from hallucade.nn.attention import Axis, KeysValues, SelfAttention, View
from hallucade.nn.kv_cache import KVCache
from hallucade.nn.modulation import LevelEmbedding, Modulation, modulate
from hallucade.nn.norm import Norm, build_norm
from hallucade.nn.patch import PatchEmbedding, PatchOutput, Stem
from hallucade.nn.positions import Positions, TokenPositions
from hallucade.nn.transformer_block import TransformerBlock
from hallucade.nn.window import FrameWindow
from hallucade.shapes import Action, Latent

HIDDEN_MULTIPLE = 8  # matrix kernels like round sizes
TOKEN_STD = 0.02  # of learned vectors that stand among tokens


@dataclass(frozen=True, kw_only=True)
class DiffusionTransformerConfig(WorldModelConfig):
    """Sizes and choices of the transformer; the defaults suit 24x24 frames and two CPU cores."""

    width: int = 128
    depth: int = 4  # blocks; in the factorised layout every second one looks through time
    heads: int = 4
    patch: int = 4  # pixels per side
    window: int = 32  # frames attended, the current one included
    sink: int = 0  # frames at the start of a game that stay attended, part of the window
    layout: Literal["factorised", "full"] = "factorised"
    positions: Positions = "axial"
    rope_base: float = 10_000.0
    stem: Stem = "linear"
    stem_kernel: int = 3  # pixels, of a conv stem
    registers: int = 0  # learned extra tokens a frame
    mlp_ratio: float = 3.0
    mlp_bias: bool = False
    norm: Norm = "layer"
    qk_norm: bool = True
    scaled_logits: bool = True  # divide attention logits by the root of the head size
    zero_init: bool = True  # blocks start as identity, the output as zero
    target: Target = "x"
    schedule: NoiseScheduleConfig = field(default_factory=RectifiedFlowConfig)  # of training and of sampling
    context_level: float = 0.0  # noise level that the model is told for frames it has seen

    def __post_init__(self) -> None:
        FrameWindow(self.window, self.sink)
        if self.depth < (2 if self.layout == "factorised" else 1):
            raise ValueError(
                f"depth is {self.depth}; the {self.layout} layout needs a block for space and one for time"
            )
        if self.width % self.heads or self.width // self.heads < 6 or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} over {self.heads} heads is {self.width / self.heads:g} a head; "
                "rotary positions need an even number of 6 or more"
            )
        if not 0 <= self.context_level < 1:
            raise ValueError(f"context_level is {self.context_level}; it lies in [0, 1)")
        check_target(self.target, self.schedule)

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> "DiffusionTransformer":
        return DiffusionTransformer(self, actions.features, latent_shape)


def toy_wm() -> DiffusionTransformerConfig:
    """Return toy-wm's network: 19,509,243 parameters for 24x24 colour frames and three actions.

    It differs in what it is told: levels are continuous (toy-wm rounds them down to 1/999), a clip's first frame has no
    action, and the memory keeps the frame that was shown (toy-wm keeps the last, half-denoised, input).
    """
    return DiffusionTransformerConfig(
        width=320,
        depth=8,
        heads=20,
        patch=3,
        window=30,
        layout="full",
        positions="flat",
        rope_base=5000.0,
        stem="conv",
        stem_kernel=5,
        registers=1,
        mlp_ratio=4.0,
        mlp_bias=True,
        norm="rms",
        scaled_logits=False,
        zero_init=False,
        target="flow",
    )


@dataclass
class TransformerMemory:
    """What a game has shown so far, as keys and values of the layers that look back."""

    frames: int  # seen since the start; the next frame's number
    caches: list[KVCache]


class DiffusionTransformer(DiffusionModel[TransformerMemory]):
    """Denoises frames from the frames before them and the actions between.

    The action that leads into a frame joins that frame's noise level in its adaptive layer norms; the first frame of a
    clip has the learned "no action".
    """

    def __init__(self, config: DiffusionTransformerConfig, action_features: int, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = latent_shape
        if height % config.patch or width % config.patch:
            raise ValueError(
                f"frames of {height}x{width} do not divide by patch {config.patch}; choose a patch that divides both"
            )
        self.config, self.latent_shape = config, latent_shape
        self.schedule = config.schedule.build()
        self.context_level = config.context_level
        self.window = FrameWindow(config.window, config.sink)
        self.context = config.window
        self.rows = height // config.patch
        self.positions = TokenPositions(
            config.positions,
            self.rows,
            width // config.patch,
            config.registers,
            config.width // config.heads,
            config.rope_base,
        )
        self.embed = PatchEmbedding(channels, config.width, config.patch, config.stem, config.stem_kernel)
        registers = nn.Parameter(TOKEN_STD * torch.randn(config.registers, config.width))
        self.registers = registers if config.registers else None
        self.embed_level = LevelEmbedding(config.width)
        self.embed_action = nn.Linear(action_features, config.width, bias=False)
        self.no_action = nn.Parameter(TOKEN_STD * torch.randn(config.width))
        self.blocks = nn.ModuleList(_build_block(config, axis) for axis in _axes(config))
        self.modulation = Modulation(config.width, 2, zero=config.zero_init)
        self.norm = build_norm(config.norm, config.width)
        self.output = PatchOutput(channels, config.width, config.patch)
        if config.zero_init:
            nn.init.zeros_(self.output.project.weight)
            nn.init.zeros_(self.output.project.bias)

    def adamw_parameters(self) -> set[nn.Parameter]:
        """Parameters that Muon should leave to AdamW: everything outside the blocks."""
        return set(self.parameters()) - set(self.blocks.parameters())

    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b t *latent"]:
        condition = self._condition(levels, self._pressed(actions, dropped))
        tokens, _ = self._clip(noisy, levels, condition)
        return self._predict(tokens, condition, noisy, levels)

    def denoise(
        self,
        state: TransformerMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        levels = level[:, None]
        condition = self._condition(levels, self._leading(action))
        tokens, _ = self._next(state, noisy, levels, condition)
        return self._predict(tokens, condition, noisy, levels)

    def initial(self, latent: Latent) -> TransformerMemory:
        actions = latent.new_empty(latent.shape[0], 0, self.embed_action.in_features)
        return self.prefill(LatentClip(latent, actions))

    def observe(self, state: TransformerMemory, action: Action, latent: Latent) -> TransformerMemory:
        levels = torch.full(latent.shape[:2], self.context_level, device=latent.device)
        condition = self._condition(levels, self._leading(action))
        _, own = self._next(state, latent, levels, condition)
        caches = [cache.write(state.frames, new) for cache, new in zip(state.caches, own, strict=True)]
        return TransformerMemory(state.frames + 1, caches)

    def prefill(self, clip: LatentClip) -> TransformerMemory:
        levels = torch.full(clip.latents.shape[:2], self.context_level, device=clip.latents.device)
        condition = self._condition(levels, self._pressed(clip.actions, None))
        _, own = self._clip(clip.latents, levels, condition)
        tokens = self.positions.tokens if self.config.layout == "full" else 1
        return TransformerMemory(clip.latents.shape[1], [KVCache.of_clip(x, self.window, tokens) for x in own])

    def fork(self, state: TransformerMemory) -> TransformerMemory:
        return TransformerMemory(state.frames, [cache.clone() for cache in state.caches])

    def _pressed(self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b t c"]:
        """Embed the action that leads into each of t = n + 1 frames."""
        embedded = self.embed_action(actions)
        if dropped is not None:
            embedded = torch.where(dropped[..., None], self.no_action.to(embedded.dtype), embedded)
        first = self.no_action.to(embedded.dtype).expand(embedded.shape[0], 1, -1)
        return torch.cat([first, embedded], 1)

    def _leading(self, action: Action | None) -> Float[Tensor, "*b c"]:
        return self.no_action if action is None else self.embed_action(action)

    def _condition(self, levels: Float[Tensor, "b t"], pressed: Float[Tensor, "*b c"]) -> Float[Tensor, "b t c"]:
        return self.embed_level(levels) + pressed

    def _clip(
        self, latents: Float[Tensor, "b t *latent"], levels: Float[Tensor, "b t"], condition: Float[Tensor, "b t c"]
    ) -> tuple[Float[Tensor, "b t n c"], list[KeysValues]]:
        """Run all frames at once; also return the keys and values of the layers that look back."""
        views = {axis: self._clip_view(axis, latents.shape[1], latents.device) for axis in set(_axes(self.config))}
        tokens = self._tokens(latents, levels)
        own: list[KeysValues] = []
        for block in self._blocks():
            tokens, new = block(tokens, condition, views[block.axis])
            if block.axis != "space":
                own.append(new)
        return tokens, own

    def _next(
        self,
        state: TransformerMemory,
        latent: Float[Tensor, "b 1 *latent"],
        levels: Float[Tensor, "b 1"],
        condition: Float[Tensor, "b 1 c"],
    ) -> tuple[Float[Tensor, "b 1 n c"], list[KeysValues]]:
        """Run the frame after `state`, which is only read; also return its own keys and values."""
        device, frame = latent.device, torch.tensor([state.frames])
        axes = set(_axes(self.config))
        views = {axis: View(self.positions.turn(axis, frame, device)) for axis in axes}
        excess = self.window.excess(state.frames) if self.config.sink else 0
        sink_turn = self.positions.turn_by(_looking_back(self.config), excess, device) if excess else None
        tokens, caches = self._tokens(latent, levels), iter(state.caches)
        own: list[KeysValues] = []
        for block in self._blocks():
            past = None if block.axis == "space" else next(caches).read(state.frames, sink_turn)
            tokens, new = block(tokens, condition, views[block.axis], past)
            if past is not None:
                own.append(new)
        return tokens, own

    def _tokens(self, latents: Float[Tensor, "b t *latent"], levels: Float[Tensor, "b t"]) -> Float[Tensor, "b t n c"]:
        scale = input_scale(self.config.target, levels, self.schedule)
        tokens = self.embed(latents * expand(scale, latents))
        if self.registers is None:
            return tokens
        registers = self.registers.to(tokens.dtype).expand(*tokens.shape[:2], -1, -1)
        return torch.cat([tokens, registers], 2)

    def _predict(
        self,
        tokens: Float[Tensor, "b t n c"],
        condition: Float[Tensor, "b t c"],
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
    ) -> Float[Tensor, "b t *latent"]:
        patches = tokens[:, :, : self.positions.tokens - self.config.registers]
        output = self.output(modulate(self.norm(patches), *self.modulation(condition)), self.rows)
        return predict_x0(self.config.target, output.float(), noisy, levels, self.schedule)

    def _clip_view(self, axis: Axis, frames: int, device: torch.device) -> View:
        numbers = torch.arange(frames)
        turn = self.positions.turn(axis, numbers, device)
        if axis == "space" or frames == 1:
            return View(turn)
        tokens = self.positions.tokens if axis == "both" else 1
        mask = self.window.visible(frames, device).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        if not self.config.sink or frames <= self.config.window:
            return View(turn, mask)
        is_sink = (numbers < self.config.sink).to(device).repeat_interleave(tokens)
        return View(turn, mask, is_sink, self.positions.turn(axis, numbers.clamp(max=self.config.window - 1), device))

    def _blocks(self) -> Iterable[TransformerBlock]:
        return cast("Iterable[TransformerBlock]", self.blocks)


def _axes(config: DiffusionTransformerConfig) -> list[Axis]:
    if config.layout == "full":
        return ["both"] * config.depth
    return ["time" if i % 2 else "space" for i in range(config.depth)]


def _looking_back(config: DiffusionTransformerConfig) -> Axis:
    return "both" if config.layout == "full" else "time"


def _build_block(config: DiffusionTransformerConfig, axis: Axis) -> TransformerBlock:
    return TransformerBlock(
        SelfAttention(config.width, config.heads, axis, qk_norm=config.qk_norm, scaled=config.scaled_logits),
        config.width,
        hidden=round(config.mlp_ratio * config.width / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE,
        mlp_bias=config.mlp_bias,
        norm=config.norm,
        zero_init=config.zero_init,
    )
