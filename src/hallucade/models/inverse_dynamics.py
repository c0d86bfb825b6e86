"""Reads off frames which action was held: before and after it, for it is what a player did, and not what comes next.

It is no world model. It judges them (`hallucade.evaluation.controllability`): if an action can be read off a dream as
well as off real play, the dream obeyed.

Source: Baker et al. 2022, arXiv:2206.11795, section 3; as a judge of world models Guo et al. 2025, arXiv:2504.08388.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.nn.frame_trunk import FrameTrunk, FrameTrunkConfig, stacked_frames
from hallucade.nn.mu_law import MuLawConfig


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig(Config):
    """What it sees of each action, and how it tells it.

    Raises:
        ValueError: a negative number of frames, or an axis that reaches nowhere.
    """

    before: int = 3  # frames before the one on which the action is held
    after: int = 2  # frames after the one that it leads to
    trunk: FrameTrunkConfig = field(default_factory=FrameTrunkConfig)
    bins: MuLawConfig = field(default_factory=MuLawConfig)  # of every axis, from rest to its reach on both sides
    reach: float = 1.0  # of the outermost bins, as a share of the axis's farther end

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)} frames; use 0 or more")
        if not 0 < self.reach <= 1:
            raise ValueError(f"reach is {self.reach}; it is a share of an axis's range, above 0 and up to 1")

    @property
    def window(self) -> int:
        """Frames that one action is read off."""
        return self.before + 2 + self.after

    def build(self, actions: ActionSpace, frame_size: tuple[int, int]) -> "InverseDynamics":
        """Build it with fresh weights, for play of this kind and size."""
        return InverseDynamics(self, actions, frame_size)


@dataclass(frozen=True)
class ControlTargets:
    """What raw action rows are, as the network tells it."""

    buttons: Float[Tensor, "n buttons"]  # 0 or 1
    choices: Int64[Tensor, "n choices"]  # the option
    bins: Int64[Tensor, "n axes"]


@dataclass(frozen=True)
class ControlLogits:
    """What the network thinks of each control."""

    buttons: Float[Tensor, "n buttons"]
    choices: tuple[Float[Tensor, "n _"], ...]  # one a choice, of its options
    bins: Float[Tensor, "n axes bins"]


class InverseDynamics(nn.Module):
    """From a window of frames to the action between the two in its middle."""

    adamw = ("head",)
    centres: Tensor

    def __init__(self, config: InverseDynamicsConfig, actions: ActionSpace, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.actions, self.frame_size = config, actions, frame_size
        options = [len(choice.options) for choice in actions.choices]
        self._widths = [len(actions.buttons), *options, len(actions.axes) * config.bins.bins]
        self.trunk = FrameTrunk(config.trunk, config.window, frame_size)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(config.trunk.features, sum(self._widths)))
        self.register_buffer("centres", config.bins.centres(), persistent=False)

    def forward(self, stacked: Float[Tensor, "n c h w"]) -> ControlLogits:
        """Return what it thinks of ``stacked`` windows."""
        buttons, *choices, bins = self.head(self.trunk(stacked)).float().split(self._widths, 1)
        return ControlLogits(
            buttons, tuple(choices), bins.unflatten(1, (len(self.actions.axes), self.config.bins.bins))
        )

    def stacked(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "n c h w"]:
        """Return every window of clips, clip by clip, as ``forward`` reads it: n = b (t - window + 1)."""
        windows = frames.unfold(1, self.config.window, 1).movedim(-1, 2)  # b m window h w 3
        return stacked_frames(windows.flatten(0, 1), self.config.before)

    def told(self, actions: Float[Tensor, "b m a"]) -> Float32[Tensor, "n c"]:
        """Return the raw rows that ``stacked`` windows of the same clips have in their middle, from their features."""
        last = actions.shape[1] - self.config.after
        return self.actions.decode(actions[:, self.config.before : last].flatten(0, 1))

    def targets(self, rows: Float32[Tensor, "n c"]) -> ControlTargets:
        """Return what raw rows are, as the network tells it."""
        buttons, choices, _ = self._columns()
        axes = rows[:, buttons + choices :]
        options = rows[:, buttons : buttons + choices].long()
        return ControlTargets(rows[:, :buttons], options, self.config.bins.bin_of(self._scaled(axes)))

    def rows(self, logits: ControlLogits) -> Float32[Tensor, "n c"]:
        """Return raw rows: what is likelier of buttons and choices, the mean of an axis over its bins."""
        rest, reach = self._scales(logits.buttons.device)
        axes = rest + reach * (logits.bins.softmax(-1) @ self.centres)
        options = [choice.argmax(1, keepdim=True).float() for choice in logits.choices]
        return torch.cat([(logits.buttons > 0).float(), *options, axes], 1)

    @torch.no_grad()
    def read(self, frames: UInt8[Tensor, "b t h w 3"], batch: int = 256) -> Float32[Tensor, "b m c"]:
        """Return the raw rows of the actions of clips that have enough frames around: m = t - window + 1.

        The first is held on frame `before`; axes are as near to the truth as the mean of their bins.

        Raises:
            ValueError: frames of another size, or clips too short.
        """
        self.check_frames(frames.shape[1], (frames.shape[2], frames.shape[3]))
        device, size = self.centres.device, max(1, batch // (frames.shape[1] - self.config.window + 1))
        starts = range(0, len(frames), size)
        parts = [self.rows(self(self.stacked(frames[i : i + size].to(device)))) for i in starts]
        return torch.cat(parts).reshape(len(frames), -1, self.actions.size)

    def check_frames(self, frames: int, size: tuple[int, int]) -> None:
        """Refuse clips that it cannot read.

        Raises:
            ValueError: names their size or length, and what it needs.
        """
        if size != self.frame_size:
            have, want = ("x".join(map(str, each)) for each in (size, self.frame_size))
            raise ValueError(
                f"the frames are {have} pixels, and this inverse dynamics model reads {want}; train one on a store of "
                "that size"
            )
        if frames < self.config.window:
            raise ValueError(
                f"clips have {frames} frames, and this inverse dynamics model reads an action off {self.config.window} "
                f"({self.config.before} before, {self.config.after} after it); use longer ones"
            )

    def _columns(self) -> list[int]:
        return [len(self.actions.buttons), len(self.actions.choices), len(self.actions.axes)]

    def _scales(self, device: torch.device) -> tuple[Float32[Tensor, "axes"], Float32[Tensor, "axes"]]:
        """Return where each axis rests, and how far its bins reach from there."""
        axes = self.actions.axes
        rest = torch.tensor([axis.idle for axis in axes], device=device)
        reach = [max(axis.high - axis.idle, axis.idle - axis.low) * self.config.reach for axis in axes]
        return rest, torch.tensor(reach, device=device)

    def _scaled(self, axes: Float32[Tensor, "n axes"]) -> Float32[Tensor, "n axes"]:
        rest, reach = self._scales(axes.device)
        return (axes - rest) / reach
