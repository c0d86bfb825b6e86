"""A latent-action model: which of n codes, beside the past, tells the next frame best? It needs no recorded actions.

An encoder sees the past and the next frame and puts what is new into one code; a decoder has the past and that code
alone. What the past does not tell is, in a game, mostly what the player does, so that the codes become actions. They
are as good as the player is the largest surprise: what else comes out of nowhere takes codes too.

Source: Bruce et al. 2024, arXiv:2402.15391, section 2.1; here of convolutions, for small pictures.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.nn.frame_trunk import FrameTrunk, FrameTrunkConfig, stacked_frames, with_differences
from hallucade.nn.unet import NORM_GROUPS, UNetBackbone
from hallucade.tokenizers.bottlenecks.base import BottleneckConfig, Passed
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig

FEWEST, MOST = 2, 36  # codes: each is played by a key, a digit or a letter
COUNT_DECAY = 0.99  # of the running counts of codes


@dataclass(frozen=True, kw_only=True)
class LatentActionsConfig(Config):
    """What it sees, how many codes there are, and its sizes.

    Raises:
        ValueError: no past, codes that cannot be played, or sizes that make no network.
    """

    past: int = 3  # frames that the decoder is given: the last is on screen while the action is held
    seen: int = 1  # of them that the encoder sees: with more a code may mean one thing after another, and not the same
    bottleneck: BottleneckConfig = field(
        default_factory=lambda: VQConfig(codes=8, width=4, commitment=0.25, decay=0.95, patience=20)
    )
    encoder: FrameTrunkConfig = field(
        default_factory=lambda: FrameTrunkConfig(widths=(32, 64), features=64, pooled=True)
    )
    patch: int = 2  # pixels folded into channels at the decoder's input, per side
    widths: tuple[int, ...] = (32, 64)  # channels of the decoder at each resolution
    condition: int = 64  # width of what the decoder is told of the code

    def __post_init__(self) -> None:
        if self.past < 1:
            raise ValueError(f"past is {self.past} frames; use 1 or more, 2 or more to see what moves by itself")
        if not 1 <= self.seen <= self.past:
            raise ValueError(f"seen is {self.seen} frames of a past of {self.past}; use 1 to {self.past}")
        if not self.widths or any(w < 1 or w % NORM_GROUPS for w in self.widths):
            raise ValueError(f"widths are {self.widths}; use one or more multiples of {NORM_GROUPS}")
        if self.patch < 1 or self.condition < 1:
            raise ValueError(f"patch is {self.patch} and condition {self.condition}; use 1 or more")

    @property
    def window(self) -> int:
        """Frames that one code is read off."""
        return self.past + 1

    def build(self, frame_size: tuple[int, int]) -> "LatentActions":
        """Build it with fresh weights.

        Raises:
            ValueError: frames that do not divide, or a bottleneck without codes or with too many.
        """
        return LatentActions(self, frame_size)


class LatentActions(nn.Module):
    """Encoder, bottleneck and decoder; its codes are numbered by how often they came in training, from 0 for most."""

    adamw = ("embed",)
    counts: Tensor

    def __init__(self, config: LatentActionsConfig, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.frame_size = config, frame_size
        _check_size(config, frame_size)
        self.bottleneck = config.bottleneck.build()
        self.codes = _playable(self.bottleneck.codes)
        self.encoder = FrameTrunk(config.encoder, config.seen + 1, frame_size)
        self.narrow = nn.Linear(config.encoder.features, self.bottleneck.width)
        self.spread = nn.BatchNorm1d(self.bottleneck.width, affine=False)
        self.embed = nn.Linear(self.bottleneck.width, config.condition)
        self.decoder = UNetBackbone(
            channels_in=3 * config.past,
            channels_out=3,
            patch=config.patch,
            widths=config.widths,
            blocks=(1,) * len(config.widths),
            condition=config.condition,
            attention=False,
        )
        self.register_buffer("counts", torch.zeros(self.codes))

    def forward(
        self,
        windows: UInt8[Tensor, "n t h w 3"],
        shifts: Int64[Tensor, "n 2"] | None = None,
        noise: Float[Tensor, "n d"] | None = None,
    ) -> tuple[Float[Tensor, "n 3 h w"], Passed]:
        """Pass windows of past and next frame through, for training; return the next frame as it is predicted.

        Args:
            windows: of past and next frame.
            shifts: pixels down and right by which the encoder sees each window moved, and the decoder does not.
            noise: added to what the encoder says, which then goes past the bottleneck.
        """
        encoded = self._encoded(windows if shifts is None else shifted(windows, shifts))
        passed = self.bottleneck(encoded) if noise is None else Passed(encoded + noise[..., None, None])
        if self.training and passed.codes is not None:
            seen = torch.bincount(passed.codes.flatten(), minlength=self.codes).float() / len(windows)
            self.counts.lerp_(seen, 1 - COUNT_DECAY)
        return self._decoded(windows[:, :-1], passed.features), passed

    def windows(self, frames: UInt8[Tensor, "b t h w 3"]) -> UInt8[Tensor, "n window h w 3"]:
        """Return every window of clips, clip by clip: n = b (t - past)."""
        return frames.unfold(1, self.config.window, 1).movedim(-1, 2).flatten(0, 1)

    @torch.no_grad()
    def actions(self, frames: UInt8[Tensor, "t h w 3"], batch: int = 256) -> Int64[Tensor, "n"]:
        """Return the latent action that is held on each frame of an episode but the last, n = t - 1.

        Before the first frame the first one is taken to have stood still.
        """
        device, past = self.counts.device, self.config.past
        padded = torch.cat([frames[:1].expand(past - 1, -1, -1, -1), frames])[None]
        found = list[Tensor]()
        for start in range(0, len(frames) - 1, batch):
            part = padded[:, start : start + batch + past].to(device)
            found.append(self.codes_of(self.windows(part)))
        return torch.cat(found).cpu()

    @torch.no_grad()
    def codes_of(self, windows: UInt8[Tensor, "n t h w 3"]) -> Int64[Tensor, "n"]:
        """Return the latent actions of windows, from 0 for the one that came most often in training."""
        codes = self.bottleneck.latents(self._encoded(windows)).flatten()
        return self.counts.argsort(descending=True, stable=True).argsort()[codes]

    @torch.no_grad()
    def predicted(self, windows: UInt8[Tensor, "n t h w 3"], actions: Int64[Tensor, "n"]) -> Float[Tensor, "n 3 h w"]:
        """Return the next frame that latent actions lead to, as pixels from -1 to 1, from windows' past frames."""
        own = self.counts.argsort(descending=True, stable=True)[actions]
        return self._decoded(windows[:, : self.config.past], self.bottleneck.features(own[:, None, None]))

    def _encoded(self, windows: UInt8[Tensor, "n t h w 3"]) -> Float[Tensor, "n d 1 1"]:
        seen = windows[:, -1 - self.config.seen :]
        features = self.encoder(stacked_frames(seen, self.config.seen - 1))
        return self.spread(self.narrow(nn.functional.silu(features)))[..., None, None]

    def _decoded(
        self, past: UInt8[Tensor, "n past h w 3"], features: Float[Tensor, "n d 1 1"]
    ) -> Float[Tensor, "n 3 h w"]:
        pixels = past.movedim(-1, 2).float() / 127.5 - 1  # n past 3 h w
        seen = with_differences(pixels, self.config.past - 1)
        return pixels[:, -1] + self.decoder(seen, self.embed(features.flatten(1))).float()


def shifted(frames: UInt8[Tensor, "n t h w 3"], shifts: Int64[Tensor, "n 2"]) -> UInt8[Tensor, "n t h w 3"]:
    """Move each window by its pixels down and right; what comes in repeats the edge."""
    height, width = frames.shape[2:4]
    rows = (torch.arange(height, device=frames.device) - shifts[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=frames.device) - shifts[:, 1:]).clamp(0, width - 1)
    number = torch.arange(len(frames), device=frames.device)
    moved = frames.movedim(1, -1)[number[:, None, None], rows[:, :, None], columns[:, None]]  # n h w 3 t
    return moved.movedim(-1, 1)


def _check_size(config: LatentActionsConfig, frame_size: tuple[int, int]) -> None:
    factor = config.patch * 2 ** (len(config.widths) - 1)
    if frame_size[0] % factor or frame_size[1] % factor:
        size = "x".join(map(str, frame_size))
        raise ValueError(
            f"frames are {size} pixels, and this decoder needs multiples of {factor}; give it fewer widths"
        )


def _playable(codes: int | None) -> int:
    """Return how many codes there are.

    Raises:
        ValueError: more than there are keys, or none at all.
    """
    if codes is None or not FEWEST <= codes <= MOST:
        raise ValueError(f"the bottleneck has {codes} codes; latent actions are {FEWEST} to {MOST}, a key each")
    return codes
