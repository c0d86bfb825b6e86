"""A convolutional U-Net over stacked past frames: local motion from a direct path, and a memory of fixed size.

The shape is DIAMOND's (Alonso et al. 2024, arXiv:2405.12399): past frames and the noisy next frame enter as channels of
one picture; noise levels and actions enter through adaptive group norms. The state is a ring of frames and actions.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.diffusion.schedules import NoiseScheduleConfig, RectifiedFlowConfig, expand
from hallucade.diffusion.targets import Target, check_target, input_scale, predict_x0
from hallucade.models.base import DiffusionModel, LatentClip, WorldModelConfig, first_forced, twin
from hallucade.nn.level_features import LevelFeatures
from hallucade.nn.unet import NORM_GROUPS, UNetBackbone
from hallucade.nn.warp import warped
from hallucade.shapes import Action

LEVEL_FREQUENCIES = 16
EXTRA = 3  # numbers a pixel of a network that warps: motion x and y, and the share that is moved
UNIT = 0.25  # of half a picture: how far a motion of 1 goes


@dataclass(frozen=True, kw_only=True)
class UNetConfig(WorldModelConfig):
    """Sizes of the U-Net; the defaults suit 24x24 frames and two CPU cores."""

    context: int = 8  # past latents in the state
    patch: int = 2  # pixels folded into channels at the input, per side
    widths: tuple[int, ...] = (64, 96)  # channels at each resolution, halved from one to the next
    blocks: tuple[int, ...] = (1, 2)  # residual blocks at each resolution
    condition_width: int = 128
    attention: bool = False  # self-attention at the lowest resolution
    target: Target = "x"
    from_last: bool = False  # for target x: the output is added to the last past frame, so what rests costs nothing
    warps: bool = False  # for target x: pixels are fetched from the last past frame, and what is new is added
    schedule: NoiseScheduleConfig = field(default_factory=RectifiedFlowConfig)  # of training and of sampling
    context_level: float = 0.0  # noise level that the model is told for frames it dreamed itself
    tells_step: bool = False  # the network is told how far a sampler's step goes, see `models.step_size`

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths {self.widths} and blocks {self.blocks} differ in length; give one of each a level"
            )
        if not self.widths or any(w < 1 or w % NORM_GROUPS for w in self.widths):
            raise ValueError(f"widths are {self.widths}; group norms need one or more multiples of {NORM_GROUPS}")
        if self.patch < 1 or min(self.blocks) < 0 or self.condition_width < 1:
            raise ValueError(
                f"patch is {self.patch}, blocks are {self.blocks} and condition_width is {self.condition_width}; "
                "use a patch and a condition of 1 or more, and no negative number of blocks"
            )
        if self.context < 1:
            raise ValueError(f"context is {self.context}; the U-Net needs at least one past frame")
        if not 0 <= self.context_level < 1:
            raise ValueError(f"context_level is {self.context_level}; it lies in [0, 1)")
        check_target(self.target, self.schedule)
        if (self.from_last or self.warps) and self.target != "x":
            name, makes = ("from_last", "adds a change to") if self.from_last else ("warps", "moves the pixels of")
            raise ValueError(f"{name} {makes} a frame, and target is {self.target!r}; use target x")
        if self.from_last and self.warps:
            raise ValueError("from_last adds to the last frame and warps moves it; choose one")

    @property
    def resizes(self) -> bool:
        return True

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        """Return how many pixels the first level has."""
        return super().tokens(latent_shape) // self.patch**2

    def check_shape(self, latent_shape: tuple[int, ...]) -> None:
        """Refuse latents that do not divide.

        Raises:
            ValueError: names the size and what would do.
        """
        height, width = latent_shape[-2:]
        shrink = self.patch * 2 ** (len(self.widths) - 1)
        if height % shrink or width % shrink:
            raise ValueError(
                f"frames of {height}x{width} do not divide by patch {self.patch} and {len(self.widths) - 1} "
                f"halvings; use sizes that are multiples of {shrink}, or fewer widths"
            )

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> "UNet":
        return UNet(self, actions.features, latent_shape)


@dataclass
class FrameRing:
    """The last c latents and the actions that led to them; slot `cursor` is the oldest."""

    latents: Float[Tensor, "b c *latent"]
    actions: Float[Tensor, "b c a"]
    cursor: int = 0

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Return latents and actions, oldest first."""
        if self.cursor == 0:
            return self.latents, self.actions
        return self.latents.roll(-self.cursor, 1), self.actions.roll(-self.cursor, 1)

    def append(self, latent: Tensor, action: Tensor) -> "FrameRing":
        """Replace the oldest slot, in place under inference and functionally under autograd."""
        if torch.is_grad_enabled():
            latents, actions = self.ordered()
            return FrameRing(torch.cat([latents[:, 1:], latent], 1), torch.cat([actions[:, 1:], action], 1))
        self.latents[:, self.cursor] = latent[:, 0]
        self.actions[:, self.cursor] = action[:, 0]
        self.cursor = (self.cursor + 1) % self.latents.shape[1]
        return self


class UNet(DiffusionModel[FrameRing]):
    """Denoises the next frame from c stacked past frames and the c actions between and after them."""

    adamw = ("condition", "null_action")  # read by the optimizer: not for Muon

    def __init__(self, config: UNetConfig, action_features: int, latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels = latent_shape[0]
        config.check_shape(latent_shape)
        self.config = config
        self.latent_shape = latent_shape
        self.schedule = config.schedule.build()
        self.context_level = config.context_level
        self.context = self.lead = config.context
        self.tells_step = config.tells_step
        self.null_action = nn.Parameter(torch.zeros(action_features))
        self.level_features = LevelFeatures(LEVEL_FREQUENCIES)
        condition = config.condition_width
        self.condition = nn.Sequential(
            nn.Linear(
                (6 if config.tells_step else 4) * LEVEL_FREQUENCIES + config.context * action_features, condition
            ),
            nn.SiLU(),
            nn.Linear(condition, condition),
        )
        self.backbone = UNetBackbone(
            channels_in=(config.context + 1) * channels,
            channels_out=channels + (EXTRA if config.warps else 0),
            patch=config.patch,
            widths=config.widths,
            blocks=config.blocks,
            condition=condition,
            attention=config.attention,
        )

    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        c = self.config.context
        t = noisy.shape[1]
        if t <= c:
            raise ValueError(f"clip of {t} frames; this model needs {c} past frames and at least one to predict")
        if dropped is not None:
            actions = torch.where(dropped[..., None], self.null_action, actions)
        starts = range(t - c)
        # b t ... -> (b p) c ...: one row a predicted frame
        windows = torch.stack([noisy[:, i : i + c + 1] for i in starts], 1).flatten(0, 1)
        pressed = torch.stack([actions[:, i : i + c] for i in starts], 1).flatten(0, 1)
        context_level = torch.stack([levels[:, i : i + c].mean(1) for i in starts], 1).flatten()
        predicted = self._predict(windows, context_level, pressed, levels[:, c:].flatten())
        return predicted.reshape(noisy.shape[0], t - c, *self.latent_shape)

    def denoise(
        self,
        state: FrameRing,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
        step: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b k *latent"]:
        latents, actions = state.ordered()
        if action is None:
            action = self.null_action.expand(noisy.shape[0], 1, -1)
        pressed = torch.cat([actions[:, 1:], action], 1)  # what led to the oldest frame is out of sight
        context_level = torch.full_like(level, self.context_level)
        return self._predict(torch.cat([latents, noisy], 1), context_level, pressed, level, step).unsqueeze(1)

    def teacher_forced(
        self,
        clip: LatentClip,
        noisy: Float[Tensor, "b p *latent"],
        levels: Float[Tensor, "b p"],
        dropped: Bool[Tensor, "b n"] | None = None,
        step: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict as the base class says, all in one batch; `step` is how far each latent's step goes."""
        c, first = self.config.context, first_forced(self, clip, noisy)
        ends = range(first, clip.latents.shape[1])
        led = torch.stack([clip.actions[:, i - c : i] for i in ends], 1)
        if dropped is not None:  # of what led to the latent itself; what led to its past is known
            last = torch.where(dropped[:, first - 1 :, None], self.null_action, led[:, :, -1])
            led = torch.cat([led[:, :, :-1], last.unsqueeze(2)], 2)
        windows = [torch.cat([clip.latents[:, i - c : i], noisy[:, [i - first]]], 1) for i in ends]
        context_level = torch.full_like(levels, self.context_level).flatten()
        far = None if step is None else step.flatten()
        x0 = self._predict(
            torch.stack(windows, 1).flatten(0, 1), context_level, led.flatten(0, 1), levels.flatten(), far
        )
        return x0.reshape(noisy.shape)

    def initial(self, latent: Float[Tensor, "b k *latent"]) -> FrameRing:
        c = self.config.context
        actions = self.null_action.detach().expand(latent.shape[0], c, -1).clone()
        return FrameRing(latent[:, :1].repeat_interleave(c, 1), actions)

    def observe(self, state: FrameRing, action: Action, latent: Float[Tensor, "b k *latent"]) -> FrameRing:
        return state.append(latent, action)

    def at(self, latent_shape: tuple[int, ...], pace: float = 1.0) -> "UNet":
        """Return the same network for latents of another size; it counts no frames, and their pace is nothing to it.

        Raises:
            ValueError: the size does not divide.
        """
        self.config.check_shape(latent_shape)
        return self if latent_shape == self.latent_shape else twin(self, latent_shape)

    def fork(self, state: FrameRing) -> FrameRing:
        return FrameRing(state.latents.clone(), state.actions.clone(), state.cursor)

    def _predict(
        self,
        frames: Float[Tensor, "m n *latent"],
        context_level: Float[Tensor, "m"],
        actions: Float[Tensor, "m c a"],
        level: Float[Tensor, "m"],
        step: Float[Tensor, "m"] | None = None,
    ) -> Float[Tensor, "m *latent"]:
        """Denoise the last of `frames`; those before it are its context."""
        target, noisy = self.config.target, frames[:, -1]
        told = [self.level_features(level), self.level_features(context_level), actions.flatten(1)]
        if self.tells_step:
            told.append(self.level_features(torch.zeros_like(level) if step is None else step))
        condition = self.condition(torch.cat(told, 1))
        if target == "edm":  # of other targets the scale is 1, and to apply it would copy all frames
            scale = input_scale(target, level, self.schedule)
            frames = torch.cat([frames[:, :-1], (expand(scale, noisy) * noisy).unsqueeze(1)], 1)
        output = self.backbone(frames.flatten(1, 2), condition).float()
        if self.config.from_last:
            output = output + frames[:, -2]
        if self.config.warps:
            output = _moved(output, frames[:, -2])
        return predict_x0(target, output, noisy, level, self.schedule)


def _moved(
    output: Float[Tensor, "m channels_and_extra h w"], last: Float[Tensor, "m channels h w"]
) -> Float[Tensor, "m channels h w"]:
    """Fetch every pixel from where the network says in the last frame, as much as it says, and add what it paints."""
    painted, motion, share = output[:, :-EXTRA], output[:, -EXTRA:-1], output[:, -1:].sigmoid()
    return painted + share * warped(last, UNIT * motion)
