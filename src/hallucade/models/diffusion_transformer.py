"""A transformer over frames that denoises them, each at its own noise level.

Training sees a clip in one masked pass; play sees one block of frames and a memory of those before. Here is what makes
`ActedTransformer` a diffusion model: noise levels, and a picture to go on from.

Source: Chen et al. 2024, diffusion forcing, arXiv:2407.01392.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.diffusion.schedules import NoiseScheduleConfig, RectifiedFlowConfig, expand
from hallucade.diffusion.targets import Target, check_target, input_scale, predict_x0
from hallucade.models.acted_transformer import ActedTransformer, ActedTransformerConfig, TransformerMemory
from hallucade.models.base import DiffusionModel, LatentClip, first_forced
from hallucade.models.frame_transformer import FrameCues
from hallucade.nn.action_window import windows
from hallucade.nn.image_condition import ImageCondition, condition_channels, image_channels
from hallucade.nn.level_embedding import LevelEmbeddingConfig
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class DiffusionTransformerConfig(ActedTransformerConfig):
    """The network's sizes and layers, and what it is told and predicts."""

    level: LevelEmbeddingConfig = field(default_factory=LevelEmbeddingConfig)
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

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> "DiffusionTransformer":
        return DiffusionTransformer(self, actions.features, latent_shape, axes=len(actions.axes))


class DiffusionTransformer(ActedTransformer, DiffusionModel[TransformerMemory]):
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
        self.config, self.latent_shape = config, latent_shape
        self.schedule = config.schedule.build()
        self.context_level = config.context_level
        self.block, self.context = config.block, config.window
        self.given = 0 if config.image_condition == "none" else 1
        self.causal = config.attention == "causal"
        self.embed_level = config.level.build(config.width)
        self.tells_step = config.tells_step
        self.embed_step = config.level.build(config.width) if config.tells_step else None
        self.build_actions(config, action_features)

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
        self.check_actions(actions.shape[1], noisy.shape[1])
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
        cues = self._next_cues(levels, self.next_rows(state, action, noisy.shape[1]), far)
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
        self.check_memory()
        self.check_actions(clip.actions.shape[1], total)
        picture = self._picture(clip.latents[:, :1], torch.arange(total) == 0)
        told = torch.full(clip.latents.shape[:2], self.context_level, device=levels.device)
        seen = FrameCues(self._told(told), self.pressed(clip.actions))
        _, clean = self.read_clip(self._input(clip.latents, told, picture), seen)
        cues = FrameCues(self._told(levels, step), self.heard(clip.actions, dropped, seen.action)[:, first:])
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
        rows = self.next_rows(state, action, latent.shape[1])
        return self.gone_on(state, self._next_input(state, latent, levels), self._told(levels), rows)

    def prefill(self, clip: LatentClip) -> TransformerMemory:
        """Start a memory from a whole clip; latents that fill no block come first, in a shorter one.

        Raises:
            ValueError: the network is bidirectional.
        """
        self.check_actions(clip.actions.shape[1], clip.latents.shape[1])
        return self._remembered(clip.latents, self.action_rows(clip.actions))

    def _remembered(self, latents: Float[Tensor, "b t *latent"], rows: Float[Tensor, "b rows g"]) -> TransformerMemory:
        self.check_memory()
        frames, image = latents.shape[1], latents[:, :1]
        levels = torch.full(latents.shape[:2], self.context_level, device=latents.device)
        picture = self._picture(image, torch.arange(frames) == 0)
        memory = self.begun(self._input(latents, levels, picture), self._told(levels), rows)
        return memory if picture is None else replace(memory, image=image)

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

    def _picture(
        self, image: Float[Tensor, "b 1 *latent"], given: Bool[Tensor, "t"]
    ) -> Float[Tensor, "b t extra h w"] | None:
        if self.config.image_condition == "none":
            return None
        return image_channels(self.config.image_condition, image, given.to(image.device), self.config.stride)

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
