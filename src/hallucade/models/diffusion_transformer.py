"""A causal transformer over space and time that denoises frames, each at its own noise level.

Layers alternate between the patches of one frame and one patch through time ("factorised"), or attend over both at once
("full", toy-wm's). Training sees a clip in one masked pass; play sees one frame and a cache of past keys and values.
The two admit exactly the same frames (`FrameWindow`) and agree.

Sources: Peebles and Xie 2023 (arXiv:2212.09748), Chen et al. 2024, diffusion forcing (arXiv:2407.01392).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.diffusion.schedules import NoiseScheduleConfig, RectifiedFlowConfig, expand
from hallucade.diffusion.targets import Target, check_target, input_scale, predict_x0
from hallucade.models.base import DiffusionModel, LatentClip, WorldModelConfig
from hallucade.nn.action_injection import JoinedInjectionConfig
from hallucade.nn.action_window import grouped, preceded, windows
from hallucade.nn.attention import Axis, SelfAttention, View
from hallucade.nn.block_cache import BlockCache, BlockKeys
from hallucade.nn.image_condition import ImageCondition, condition_channels, image_channels
from hallucade.nn.injection import BlockSite, InjectionConfig
from hallucade.nn.level_embedding import LevelEmbeddingConfig
from hallucade.nn.modulation import Modulation, modulate
from hallucade.nn.norm import Norm, build_norm
from hallucade.nn.patch import PatchEmbedding, PatchOutput, Stem
from hallucade.nn.positions import Positions, TokenPositions
from hallucade.nn.rope import Rotation
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
    learned_positions: bool = False  # vectors added to patches, and to frames before the first layer through time
    stem: Stem = "linear"
    stem_kernel: int = 3  # pixels, of a conv stem
    stem_norm: bool = True  # group norms in a conv stem
    registers: int = 0  # learned extra tokens a frame
    mlp_ratio: float = 3.0
    mlp_bias: bool = False
    norm: Norm = "layer"
    qk_norm: bool = True
    scaled_logits: bool = True  # divide attention logits by the root of the head size
    zero_init: bool = True  # blocks start as identity, the output as zero
    level: LevelEmbeddingConfig = field(default_factory=LevelEmbeddingConfig)
    injection: InjectionConfig = field(default_factory=JoinedInjectionConfig)  # where actions enter a block
    stride: int = 1  # frames, and so actions, a latent: the tokenizer's
    action_hidden: bool = False  # a layer and a SiLU between an action and its vector
    no_action: Literal["learned", "zero"] = "learned"  # the vector of a clip's first frame, and of dropped actions
    target: Target = "x"
    schedule: NoiseScheduleConfig = field(default_factory=RectifiedFlowConfig)  # of training and of sampling
    context_level: float = 0.0  # noise level that the model is told for frames it has seen
    image_condition: ImageCondition = "none"  # which latents carry a clip's first one in channels of their own

    def __post_init__(self) -> None:
        FrameWindow(self.window, self.sink)
        if self.depth < (2 if self.layout == "factorised" else 1):
            raise ValueError(
                f"depth is {self.depth}; the {self.layout} layout needs a block for space and one for time"
            )
        least = 2 if self.positions == "flat" else 4 if self.layout == "factorised" else 6  # a pair for every axis
        if self.width % self.heads or self.width // self.heads < least or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} over {self.heads} heads is {self.width / self.heads:g} a head; "
                f"rotary positions need an even number of {least} or more"
            )
        if not 0 <= self.context_level < 1:
            raise ValueError(f"context_level is {self.context_level}; it lies in [0, 1)")
        check_target(self.target, self.schedule)
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}; a latent stands for 1 frame or more")
        if self.action_hidden and self.injection.embeds:
            raise ValueError(
                f"action_hidden is for actions that the model embeds; {type(self.injection).__name__} embeds them "
                "itself, so leave it off"
            )
        self.injection.clock(self.width, self.heads)

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> "DiffusionTransformer":
        return DiffusionTransformer(self, actions.features, latent_shape, axes=len(actions.axes))


@dataclass(frozen=True)
class FrameCues:
    """What a network is told of every frame beside its pixels."""

    condition: Float[Tensor, "b t c"]  # the noise level
    action: Float[Tensor, "b t d"]  # the action that led there
    image: Float[Tensor, "b t extra h w"] | None  # channels of a given picture, for models that are conditioned on one


@dataclass
class TransformerMemory:
    """What a game has shown so far, as keys and values of the layers that look back."""

    frames: int  # seen since the start; the next frame's number
    caches: list[BlockCache]
    recent: Float[Tensor, "b p g"]  # embedded actions of latents that later ones are still told of
    image: Float[Tensor, "b 1 c h w"] | None = None  # what a first-frame-conditioned model is conditioned on


class DiffusionTransformer(DiffusionModel[TransformerMemory]):
    """Denoises frames from the frames before them and the actions between.

    The action that leads into a frame enters every block where `injection` says; the first frame of a clip has a vector
    that stands for no action.
    """

    def __init__(
        self, config: DiffusionTransformerConfig, action_features: int, latent_shape: tuple[int, ...], axes: int = 0
    ) -> None:
        """Build a network for encoded actions, of which the last `axes` features are those of a stick or a mouse."""
        super().__init__()
        channels, height, width = latent_shape
        if height % config.patch or width % config.patch:
            raise ValueError(
                f"frames of {height}x{width} do not divide by patch {config.patch}; choose a patch that divides both"
            )
        self.config, self.latent_shape, self.action_features = config, latent_shape, action_features
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
        seen = channels + condition_channels(config.image_condition, channels, config.stride)
        self.embed = PatchEmbedding(seen, config.width, config.patch, config.stem, config.stem_kernel, config.stem_norm)
        self.places = _learned(self.positions.tokens - config.registers, config)
        self.moments = _learned(config.window, config)
        registers = nn.Parameter(TOKEN_STD * torch.randn(config.registers, config.width))
        self.registers = registers if config.registers else None
        self.embed_level = config.level.build(config.width)
        grouped_features = config.stride * action_features
        self.embed_action = _action_embedding(config, grouped_features)
        embedded = grouped_features if config.injection.embeds else config.width
        if config.no_action == "learned":
            self.no_action = nn.Parameter(TOKEN_STD * torch.randn(embedded))
        else:
            self.register_buffer("no_action", torch.zeros(embedded), persistent=False)
        self.action_clock = config.injection.clock(config.width, config.heads)
        self.blocks = nn.ModuleList(_build_block(config, site) for site in _sites(config, action_features, axes))
        self.modulation = Modulation(config.width, 2, zero=config.zero_init)
        self.norm = build_norm(config.norm, config.width)
        self.output = PatchOutput(channels, config.width, config.patch)
        if config.zero_init:
            nn.init.zeros_(self.output.project.weight)
            nn.init.zeros_(self.output.project.bias)

    def embed_actions(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b t g"]:
        """Embed the actions that lead to each latent; as no action where the first of them is `dropped`."""
        embedded = self.embed_action(grouped(actions, self.config.stride).to(self.no_action.dtype))
        if dropped is None:
            return embedded
        return torch.where(dropped[:, :: self.config.stride, None], self.no_action.to(embedded.dtype), embedded)

    def pressed(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """Return what each of t = n / stride + 1 latents is told of the actions up to it; none leads into the first."""
        return windows(self._action_rows(actions, dropped), self.config.injection.reach)

    def _action_rows(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b m g"]:
        """Embed the actions of a clip after those that did not lead into its first latent."""
        return preceded(self.no_action.expand(1, self.config.injection.reach, -1), self.embed_actions(actions, dropped))

    def adamw_parameters(self) -> set[nn.Parameter]:
        """Parameters that Muon should leave to AdamW: everything outside the blocks."""
        return set(self.parameters()) - set(self.blocks.parameters())

    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        image: Float[Tensor, "b 1 *latent"] | None = None,
    ) -> Float[Tensor, "b t *latent"]:
        """Predict x0 of every latent, as the base class says.

        `image` is what a first-frame-conditioned model is conditioned on instead of the clip's first latent.
        """
        self._check_actions(actions, noisy.shape[1])
        output = self.clip_output(noisy, levels, self.pressed(actions, dropped), image)
        return predict_x0(self.config.target, output.float(), noisy, levels, self.schedule)

    def clip_output(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        pressed: Float[Tensor, "b t d"],
        image: Float[Tensor, "b 1 *latent"] | None = None,
    ) -> Float[Tensor, "b t *latent"]:
        """Return what the network itself predicts for a clip, its target; `pressed` has one action's vector a frame."""
        picture = self._picture(noisy[:, :1] if image is None else image, torch.arange(noisy.shape[1]) == 0)
        cues = FrameCues(self.embed_level(levels), pressed, picture)
        tokens, _ = self._clip(noisy, levels, cues)
        return self._read_out(tokens, cues)

    def denoise(
        self,
        state: TransformerMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        output = self.next_output(state, action, noisy, level)
        return predict_x0(self.config.target, output.float(), noisy, level[:, None], self.schedule)

    def next_output(
        self,
        state: TransformerMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        """Return what the network itself predicts for the next frame, its target. Never changes `state`."""
        cues = self._next_cues(level[:, None], self._next_rows(state, action), state)
        tokens, _ = self._next(state, noisy, level[:, None], cues)
        return self._read_out(tokens, cues)

    def blank(self, batch: int) -> TransformerMemory:
        """Return a memory that has seen nothing: for a first frame whose action is known, or an empty screen."""
        weight = next(self.parameters())
        latent = weight.new_zeros(batch, 1, *self.latent_shape)
        memory = self.prefill(LatentClip(latent, weight.new_zeros(batch, 0, self.action_features)))
        return replace(memory, frames=0)

    def initial(self, latent: Latent) -> TransformerMemory:
        return self.prefill(LatentClip(latent, latent.new_empty(latent.shape[0], 0, self.action_features)))

    def observe(self, state: TransformerMemory, action: Action | None, latent: Latent) -> TransformerMemory:
        levels = torch.full(latent.shape[:2], self.context_level, device=latent.device)
        rows = self._next_rows(state, action)
        _, own = self._next(state, latent, levels, self._next_cues(levels, rows, state))
        caches = [cache.write(state.frames, new) for cache, new in zip(state.caches, own, strict=True)]
        return TransformerMemory(state.frames + 1, caches, rows[:, 1:], state.image)

    def prefill(self, clip: LatentClip) -> TransformerMemory:
        self._check_actions(clip.actions, clip.latents.shape[1])
        levels = torch.full(clip.latents.shape[:2], self.context_level, device=clip.latents.device)
        rows, image = self._action_rows(clip.actions), clip.latents[:, :1]
        picture = self._picture(image, torch.arange(clip.latents.shape[1]) == 0)
        pressed = windows(rows, self.config.injection.reach)
        _, own = self._clip(clip.latents, levels, FrameCues(self.embed_level(levels), pressed, picture))
        tokens = self.positions.tokens if self.config.layout == "full" else 1
        caches = [BlockCache.of_clip(x, self.window, tokens) for x in own]
        return TransformerMemory(
            clip.latents.shape[1], caches, rows[:, clip.latents.shape[1] :], None if picture is None else image
        )

    def conditioned_on(self, state: TransformerMemory, image: Latent) -> TransformerMemory:
        """Exchange the picture that a first-frame-conditioned model is conditioned on, from the next latent on.

        What `state` has seen keeps its keys; to condition it anew, ``prefill`` a window that starts with the picture.

        Raises:
            ValueError: the model is not conditioned on a picture.
        """
        if self.config.image_condition == "none":
            raise ValueError('this model is not conditioned on a picture; train one with image_condition="first_frame"')
        return replace(state, image=image)

    def fork(self, state: TransformerMemory) -> TransformerMemory:
        return replace(state, caches=[cache.clone() for cache in state.caches])

    def _check_actions(self, actions: Float[Tensor, "b n a"], latents: int) -> None:
        stride = self.config.stride
        if actions.shape[1] != (latents - 1) * stride:
            raise ValueError(
                f"{actions.shape[1]} actions for {latents} latents of {stride} frame(s); give "
                f"{(latents - 1) * stride}, and set the model's stride to the tokenizer's"
            )

    def _picture(
        self, image: Float[Tensor, "b 1 *latent"], given: Bool[Tensor, "t"]
    ) -> Float[Tensor, "b t extra h w"] | None:
        if self.config.image_condition == "none":
            return None
        return image_channels(self.config.image_condition, image, given.to(image.device), self.config.stride)

    def _next_rows(self, state: TransformerMemory, action: Action | None) -> Float[Tensor, "b m g"]:
        """Return the embedded actions that the next latent is told of."""
        if action is None:
            return torch.cat([state.recent, self.no_action.to(state.recent.dtype).expand(len(state.recent), 1, -1)], 1)
        return preceded(state.recent, self.embed_actions(action))

    def _next_cues(
        self, levels: Float[Tensor, "b 1"], rows: Float[Tensor, "b m g"], state: TransformerMemory
    ) -> FrameCues:
        never = torch.zeros(1, dtype=torch.bool)
        picture = None if state.image is None else self._picture(state.image, never)
        return FrameCues(self.embed_level(levels), windows(rows, self.config.injection.reach), picture)

    def _clip(
        self, latents: Float[Tensor, "b t *latent"], levels: Float[Tensor, "b t"], cues: FrameCues
    ) -> tuple[Float[Tensor, "b t n c"], list[BlockKeys]]:
        """Run all frames at once; also return what the layers that look back offer to later frames."""
        frames, device, clock = latents.shape[1], latents.device, self.action_clock
        actions = None if clock is None else self._clip_view(lambda t: clock.turn(t, device), 1, frames, device)
        views: dict[Axis, View] = {
            axis: replace(self._axis_view(axis, frames, device), actions=actions) for axis in set(_axes(self.config))
        }
        return self._run(self._tokens(latents, levels, cues.image), cues, torch.arange(latents.shape[1]), views, None)

    def _next(
        self,
        state: TransformerMemory,
        latent: Float[Tensor, "b 1 *latent"],
        levels: Float[Tensor, "b 1"],
        cues: FrameCues,
    ) -> tuple[Float[Tensor, "b 1 n c"], list[BlockKeys]]:
        """Run the frame after `state`, which is only read; also return its own keys and values."""
        device, frame, clock = latent.device, torch.tensor([state.frames]), self.action_clock
        actions = None if clock is None else View(clock.turn(frame, device))
        views: dict[Axis, View] = {
            axis: View(self.positions.turn(axis, frame, device), actions=actions) for axis in set(_axes(self.config))
        }
        excess = self.window.excess(state.frames) if self.config.sink else 0
        sink_turn = self.positions.turn_by(_looking_back(self.config), excess, device) if excess else None
        action_turn = clock.turn(torch.tensor([excess]), device) if excess and clock is not None else None
        pasts = (cache.read(state.frames, sink_turn, action_turn) for cache in state.caches)
        return self._run(self._tokens(latent, levels, cues.image), cues, frame, views, pasts)

    def _run(
        self,
        tokens: Float[Tensor, "b t n c"],
        cues: FrameCues,
        frames: Int64[Tensor, "t"],
        views: Mapping[Axis, View],
        pasts: Iterator[BlockKeys] | None,
    ) -> tuple[Float[Tensor, "b t n c"], list[BlockKeys]]:
        """Run the blocks over frames of these numbers, after `pasts` if given, one for each layer that looks back."""
        own: list[BlockKeys] = []
        for block in self._blocks():
            looks_back = block.axis != "space"
            if looks_back and not own and self.moments is not None:
                tokens = tokens + self._moments(frames).to(tokens.dtype)
            past = next(pasts) if looks_back and pasts is not None else None
            tokens, new = block(tokens, cues.condition, cues.action, views[block.axis], past)
            if looks_back:
                own.append(new)
        return tokens, own

    def _moments(self, frames: Int64[Tensor, "t"]) -> Float[Tensor, "t 1 c"]:
        """Return the learned vectors of frame numbers; past the window the clock stands still."""
        assert self.moments is not None
        return self.moments[frames.clamp(max=len(self.moments) - 1)].unsqueeze(1)

    def _tokens(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        picture: Float[Tensor, "b t extra h w"] | None,
    ) -> Float[Tensor, "b t n c"]:
        seen = latents * expand(input_scale(self.config.target, levels, self.schedule), latents)
        if picture is not None:
            seen = torch.cat([seen, picture.to(seen.dtype)], 2)
        tokens = self.embed(seen.to(self.no_action.dtype))
        if self.places is not None:
            tokens = tokens + self.places.to(tokens.dtype)
        if self.registers is None:
            return tokens
        registers = self.registers.to(tokens.dtype).expand(*tokens.shape[:2], -1, -1)
        return torch.cat([tokens, registers], 2)

    def _read_out(self, tokens: Float[Tensor, "b t n c"], cues: FrameCues) -> Float[Tensor, "b t *latent"]:
        patches = tokens[:, :, : self.positions.tokens - self.config.registers]
        condition = cues.condition + cues.action if self.config.injection.in_output else cues.condition
        return self.output(modulate(self.norm(patches), *self.modulation(condition)), self.rows)

    def _axis_view(self, axis: Axis, frames: int, device: torch.device) -> View:
        if axis == "space":
            return View(self.positions.turn(axis, torch.arange(frames), device))
        tokens = self.positions.tokens if axis == "both" else 1
        return self._clip_view(lambda numbers: self.positions.turn(axis, numbers, device), tokens, frames, device)

    def _clip_view(self, turn: Callable[[Tensor], Rotation], tokens: int, frames: int, device: torch.device) -> View:
        """Return who sees whom in a clip of `frames` frames of `tokens` keys, which `turn` turns by frame numbers."""
        numbers = torch.arange(frames)
        if frames == 1:
            return View(turn(numbers))
        seen = self.window.visible(frames, device)
        mask = seen.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        if not self.config.sink or frames <= self.config.window:
            return View(turn(numbers), mask, frames=seen)
        is_sink = (numbers < self.config.sink).to(device).repeat_interleave(tokens)
        return View(turn(numbers), mask, is_sink, turn(numbers.clamp(max=self.config.window - 1)), seen)

    def _blocks(self) -> Iterable[TransformerBlock]:
        return cast("Iterable[TransformerBlock]", self.blocks)


def _axes(config: DiffusionTransformerConfig) -> list[Axis]:
    if config.layout == "full":
        return ["both"] * config.depth
    return ["time" if i % 2 else "space" for i in range(config.depth)]


def _looking_back(config: DiffusionTransformerConfig) -> Axis:
    return "both" if config.layout == "full" else "time"


def _learned(count: int, config: DiffusionTransformerConfig) -> nn.Parameter | None:
    return nn.Parameter(TOKEN_STD * torch.randn(count, config.width)) if config.learned_positions else None


def _action_embedding(config: DiffusionTransformerConfig, features: int) -> nn.Module:
    if config.injection.embeds:
        return nn.Identity()
    if not config.action_hidden:
        return nn.Linear(features, config.width, bias=False)
    return nn.Sequential(nn.Linear(features, config.width), nn.SiLU(), nn.Linear(config.width, config.width))


def _sites(config: DiffusionTransformerConfig, features: int, axes: int) -> Iterator[BlockSite]:
    """Yield what an injection is told of every block."""
    places = _axes(config)
    for i, axis in enumerate(places):
        index, count = places[:i].count(axis), places.count(axis)
        yield BlockSite(
            width=config.width,
            heads=config.heads,
            axis=axis,
            index=index,
            count=count,
            features=features,
            axes=axes,
            stride=config.stride,
        )


def _build_block(config: DiffusionTransformerConfig, site: BlockSite) -> TransformerBlock:
    return TransformerBlock(
        SelfAttention(config.width, config.heads, site.axis, qk_norm=config.qk_norm, scaled=config.scaled_logits),
        config.injection.build(site),
        config.width,
        hidden=round(config.mlp_ratio * config.width / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE,
        mlp_bias=config.mlp_bias,
        norm=config.norm,
        zero_init=config.zero_init,
    )
