"""A transformer over frames that denoises them, each at its own noise level.

Training sees a clip in one masked pass; play sees one block of frames and a memory of those before. Here is what makes
`FrameTransformer` a world model: noise levels, actions, a picture to go on from, and that memory.

Source: Chen et al. 2024, diffusion forcing, arXiv:2407.01392.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.diffusion.schedules import NoiseScheduleConfig, RectifiedFlowConfig, expand
from hallucade.diffusion.targets import Target, check_target, input_scale, predict_x0
from hallucade.models.base import DiffusionModel, LatentClip, WorldModelConfig, first_forced
from hallucade.models.frame_transformer import TOKEN_STD, FrameCues, FrameTransformer, FrameTransformerConfig
from hallucade.nn.action_window import grouped, preceded, windows, windows_of_two
from hallucade.nn.block_cache import BlockCache
from hallucade.nn.image_condition import ImageCondition, condition_channels, image_channels
from hallucade.nn.level_embedding import LevelEmbeddingConfig
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class DiffusionTransformerConfig(FrameTransformerConfig, WorldModelConfig):
    """The network's sizes and layers, and what it is told and predicts."""

    level: LevelEmbeddingConfig = field(default_factory=LevelEmbeddingConfig)
    stride: int = 1  # frames, and so actions, a latent: the tokenizer's
    action_hidden: bool = False  # a layer and a SiLU between an action and its vector
    no_action: Literal["learned", "zero"] = "learned"  # the vector of a clip's first frame, and of dropped actions
    target: Target = "x"
    schedule: NoiseScheduleConfig = field(default_factory=RectifiedFlowConfig)  # of training and of sampling
    context_level: float = 0.0  # noise level that the model is told for frames it has seen
    image_condition: ImageCondition = "none"  # which latents carry a clip's first one in channels of their own
    tells_step: bool = False  # the network is told how far a sampler's step goes, see `models.step_size`

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def check_clips(self, frames: int) -> None:
        latents = 1 + (frames - 1) // self.stride
        if self.positions == "learned" and latents <= self.window:
            raise ValueError(
                f"positions='learned' and a window of {self.window}, but the longest clips have {latents} latent(s): "
                "play goes past the window, where vectors come again in an order that no clip shows; train on clips of "
                f"{2 * self.window}, or turn to rotary positions ('axial', 'video', 'flat')"
            )

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> "DiffusionTransformer":
        return DiffusionTransformer(self, actions.features, latent_shape, axes=len(actions.axes))


@dataclass
class TransformerMemory:
    """What a game has shown so far, as keys and values of the layers that look back."""

    frames: int  # seen since the start; the number of the next block's first one
    caches: list[BlockCache]
    recent: Float[Tensor, "b p g"]  # embedded actions of latents that later ones are still told of
    image: Float[Tensor, "b 1 c h w"] | None = None  # what a first-frame-conditioned model is conditioned on


class DiffusionTransformer(FrameTransformer, DiffusionModel[TransformerMemory]):
    """Denoises frames from the frames before them and the actions between.

    The action that leads into a frame enters every block where `injection` says; the first frame of a clip has a vector
    that stands for no action.
    """

    def __init__(
        self, config: DiffusionTransformerConfig, action_features: int, latent_shape: tuple[int, ...], axes: int = 0
    ) -> None:
        """Build a network for encoded actions, of which the last `axes` features are those of a stick or a mouse."""
        super().__init__(
            config,
            latent_shape,
            extra=condition_channels(config.image_condition, latent_shape[0], config.stride),
            features=action_features,
            axes=axes,
            stride=config.stride,
        )
        self.config, self.latent_shape, self.action_features = config, latent_shape, action_features
        self.schedule = config.schedule.build()
        self.context_level = config.context_level
        self.block, self.context = config.block, config.window
        self.given = 0 if config.image_condition == "none" else 1
        self.causal = config.attention == "causal"
        self.embed_level = config.level.build(config.width)
        self.tells_step = config.tells_step
        self.embed_step = config.level.build(config.width) if config.tells_step else None
        grouped_features = config.stride * action_features
        self.embed_action = _action_embedding(config, grouped_features)
        embedded = grouped_features if config.injection.embeds else config.width
        if config.no_action == "learned":
            self.no_action = nn.Parameter(TOKEN_STD * torch.randn(embedded))
        else:
            self.register_buffer("no_action", torch.zeros(embedded), persistent=False)

    @property
    def grain(self) -> int:
        """One latent: those that fill no block come first, in a shorter one."""
        return 1

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

    def _heard(
        self,
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None,
        pressed: Float[Tensor, "b t d"],
    ) -> Float[Tensor, "b t d"]:
        """Return what noisy latents are told where only the actions of their own block can be `dropped`."""
        if dropped is None:
            return pressed
        before, own = self._action_rows(actions), self._action_rows(actions, dropped)
        return windows_of_two(before, own, self.window.clip(pressed.shape[1]).ends, self.config.injection.reach)

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
        self._check_actions(actions.shape[1], noisy.shape[1])
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
        cues = FrameCues(self._told(levels), pressed)
        tokens, _ = self.read_clip(self._input(noisy, levels, picture), cues)
        return self.read_out(tokens, cues)

    def denoise(
        self,
        state: TransformerMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
        step: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b k *latent"]:
        output = self.next_output(state, action, noisy, level, step)
        return predict_x0(
            self.config.target, output.float(), noisy, level[:, None].expand(noisy.shape[:2]), self.schedule
        )

    def next_output(
        self,
        state: TransformerMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
        step: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b k *latent"]:
        """Return what the network itself predicts for the next block, its target. Never changes `state`."""
        levels = level[:, None].expand(noisy.shape[:2])
        far = None if step is None else step[:, None].expand(noisy.shape[:2])
        cues = self._next_cues(levels, self._next_rows(state, action, noisy.shape[1]), far)
        tokens, _ = self.read_next(state.frames, state.caches, self._next_input(state, noisy, levels), cues)
        return self.read_out(tokens, cues)

    def teacher_forced(
        self,
        clip: LatentClip,
        noisy: Float[Tensor, "b p *latent"],
        levels: Float[Tensor, "b p"],
        dropped: Bool[Tensor, "b n"] | None = None,
        step: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict as the base class says, in two passes: one over the clean clip, one over the noisy blocks behind it.

        `step` is how far each latent's step goes, for networks that are told.
        """
        first, total = first_forced(self, clip, noisy), clip.latents.shape[1]
        self._check_memory()
        self._check_actions(clip.actions.shape[1], total)
        picture = self._picture(clip.latents[:, :1], torch.arange(total) == 0)
        told = torch.full(clip.latents.shape[:2], self.context_level, device=levels.device)
        seen = FrameCues(self._told(told), self.pressed(clip.actions))
        _, clean = self.read_clip(self._input(clip.latents, told, picture), seen)
        cues = FrameCues(self._told(levels, step), self._heard(clip.actions, dropped, seen.action)[:, first:])
        behind = self._input(noisy, levels, None if picture is None else picture[:, first:])
        output = self.read_out(self.read_forced(clean, total, behind, cues), cues)
        return predict_x0(self.config.target, output.float(), noisy, levels, self.schedule)

    def blank(self, batch: int) -> TransformerMemory:
        """Return a memory that has seen nothing: for a first frame whose action is known, or an empty screen."""
        weight = next(self.parameters())
        latent = weight.new_zeros(batch, 1, *self.latent_shape)
        return replace(self.initial(latent), frames=0)

    def initial(self, latent: Latent) -> TransformerMemory:
        """Start a memory from the first block of an episode, or a part of it; no action is known in it."""
        unknown = self.config.injection.reach - 1 + latent.shape[1]
        return self._remembered(latent, self.no_action.expand(latent.shape[0], unknown, -1))

    def observe(self, state: TransformerMemory, action: Action | None, latent: Latent) -> TransformerMemory:
        levels = torch.full(latent.shape[:2], self.context_level, device=latent.device)
        count = latent.shape[1]
        rows = self._next_rows(state, action, count)
        seen = self._next_input(state, latent, levels)
        _, own = self.read_next(state.frames, state.caches, seen, self._next_cues(levels, rows))
        caches = [cache.write(state.frames, new) for cache, new in zip(state.caches, own, strict=True)]
        return TransformerMemory(state.frames + count, caches, rows[:, count:].clone(), state.image)

    def prefill(self, clip: LatentClip) -> TransformerMemory:
        """Start a memory from a whole clip; latents that fill no block come first, in a shorter one.

        Raises:
            ValueError: the network is bidirectional.
        """
        self._check_actions(clip.actions.shape[1], clip.latents.shape[1])
        return self._remembered(clip.latents, self._action_rows(clip.actions))

    def _remembered(self, latents: Float[Tensor, "b t *latent"], rows: Float[Tensor, "b rows g"]) -> TransformerMemory:
        self._check_memory()
        frames, image = latents.shape[1], latents[:, :1]
        levels = torch.full(latents.shape[:2], self.context_level, device=latents.device)
        picture = self._picture(image, torch.arange(frames) == 0)
        _, own = self.read_clip(self._input(latents, levels, picture), self._next_cues(levels, rows))
        recent = rows[:, frames:].clone()  # a slice would keep the rows of the whole clip
        return TransformerMemory(frames, self.remember(own), recent, None if picture is None else image)

    def conditioned_on(self, state: TransformerMemory, image: Latent) -> TransformerMemory:
        """Exchange the picture that a model with ``image_condition="every_frame"`` is told, from the next latent on.

        What `state` has seen keeps its keys; to condition it anew, ``prefill`` a clip that starts with the picture.

        Raises:
            ValueError: later latents are not told of a picture.
        """
        kind = self.config.image_condition
        if kind != "every_frame":
            raise ValueError(
                f'image_condition is "{kind}", so that later latents are not told of a picture; prefill a clip that '
                'starts with it, or train with image_condition="every_frame"'
            )
        return replace(state, image=image)

    def fork(self, state: TransformerMemory) -> TransformerMemory:
        return replace(state, caches=[cache.clone() for cache in state.caches])

    def _check_memory(self) -> None:
        if self.config.attention == "bidirectional":
            raise ValueError(
                "attention is 'bidirectional': its frames see the future, so that it has no memory and dreams whole "
                "clips only, by JointSamplerConfig or ClipwiseSamplerConfig; for play, start a model with "
                "attention='causal' from its weights"
            )

    def _check_actions(self, actions: int, latents: int) -> None:
        stride, needed = self.config.stride, (latents - 1) * self.config.stride
        if actions != needed:
            raise ValueError(
                f"{actions} actions for {latents} latents of {stride} frame(s); give {needed}, and set the model's "
                "stride to the tokenizer's"
            )

    def _picture(
        self, image: Float[Tensor, "b 1 *latent"], given: Bool[Tensor, "t"]
    ) -> Float[Tensor, "b t extra h w"] | None:
        if self.config.image_condition == "none":
            return None
        return image_channels(self.config.image_condition, image, given.to(image.device), self.config.stride)

    def _next_rows(self, state: TransformerMemory, action: Action | None, count: int) -> Float[Tensor, "b rows g"]:
        """Return the embedded actions that the next latents, so many, are told of."""
        if action is None:
            none = self.no_action.to(state.recent.dtype).expand(len(state.recent), count, -1)
            return torch.cat([state.recent, none], 1)
        return preceded(state.recent, self.embed_actions(action))

    def _told(self, levels: Float[Tensor, "b t"], step: Float[Tensor, "b t"] | None = None) -> Float[Tensor, "b t c"]:
        told = self.embed_level(levels)
        if self.embed_step is None:
            return told
        return told + self.embed_step(torch.zeros_like(levels) if step is None else step)

    def _next_cues(
        self, levels: Float[Tensor, "b k"], rows: Float[Tensor, "b rows g"], step: Float[Tensor, "b k"] | None = None
    ) -> FrameCues:
        return FrameCues(self._told(levels, step), windows(rows, self.config.injection.reach))

    def _input(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        picture: Float[Tensor, "b t extra h w"] | None,
    ) -> Float[Tensor, "b t channels h w"]:
        """Return what the network reads of latents at these noise levels."""
        seen = latents * expand(input_scale(self.config.target, levels, self.schedule), latents)
        return seen if picture is None else torch.cat([seen, picture.to(seen.dtype)], 2)

    def _next_input(
        self, state: TransformerMemory, latent: Float[Tensor, "b k *latent"], levels: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b k channels h w"]:
        never = torch.zeros(latent.shape[1], dtype=torch.bool)
        return self._input(latent, levels, None if state.image is None else self._picture(state.image, never))


def _action_embedding(config: DiffusionTransformerConfig, features: int) -> nn.Module:
    if config.injection.embeds:
        return nn.Identity()
    if not config.action_hidden:
        return nn.Linear(features, config.width, bias=False)
    return nn.Sequential(nn.Linear(features, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
