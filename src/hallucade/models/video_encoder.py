"""A video encoder: a transformer that turns frames into features, and predicts nothing by itself.

Frames are cut into tubelets, a few frames deep and a patch wide, each of which becomes a token. It reads whole clips,
or clips with places left out at all times, as masked training asks for. Its blocks are those of the world models that
are transformers, without what tells them of actions and noise.

Source: Arnab et al. 2021, arXiv:2103.15691; Tong et al. 2022, arXiv:2203.12602.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.nn.feed_forward import FeedForward, hidden_size
from hallucade.nn.norm import EPS
from hallucade.nn.patch import PatchEmbedding
from hallucade.nn.positions import EQUAL, check_head
from hallucade.nn.token_grid import Layout, TokenGrid, axes_of, chosen
from hallucade.tokenizers.pictures import as_pixels


@dataclass(frozen=True, kw_only=True)
class VideoEncoderConfig(Config):
    """Sizes and layers; the defaults suit 24x24 frames and two CPU cores.

    Raises:
        ValueError: sizes that do not fit each other, with what would.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    patch: int = 4  # pixels a side
    tubelet: int = 2  # frames a token
    layout: Layout = "full"  # attention over a whole clip, or in turns over a frame and through time
    mlp: FeedForward = "swiglu"
    mlp_ratio: float = 3.0  # hidden units for each channel

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "patch", "tubelet"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.layout == "factorised" and self.depth < 2:
            raise ValueError(f"depth is {self.depth}; the factorised layout needs a block for space and one for time")
        check_head("axial", set(axes_of(self.layout, self.depth)), self.width, self.heads, EQUAL)
        hidden_size(self.width, self.mlp_ratio)

    def slots(self, frames: int) -> int:
        """Return how many tubelets deep a clip is.

        Raises:
            ValueError: frames that fill no whole number of them, of which some would be lost unseen.
        """
        if frames < 1 or frames % self.tubelet:
            raise ValueError(
                f"clips of {frames} frames do not divide into tubelets of {self.tubelet}; choose a multiple of it, or "
                "another tubelet"
            )
        return frames // self.tubelet

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of patches of a frame.

        Raises:
            ValueError: the frame does not divide into patches.
        """
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"frames of {height}x{width} do not divide by patch {self.patch}; choose a patch that divides both"
            )
        return height // self.patch, width // self.patch

    def build(self, frame_size: tuple[int, int]) -> "VideoEncoder":
        """Build an untrained encoder of frames of this height and width."""
        return VideoEncoder(self, frame_size)


class VideoEncoder(nn.Module):
    """Turns frames into one feature vector a tubelet."""

    adamw = ("embed",)  # first layers are not orthogonalised

    def __init__(self, config: VideoEncoderConfig, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.frame_size = config, frame_size
        rows, columns = config.grid(*frame_size)
        self.embed = PatchEmbedding(3 * config.tubelet, config.width, config.patch, "linear", 1)
        self.grid = TokenGrid(
            rows,
            columns,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            layout=config.layout,
            mlp=config.mlp,
            mlp_ratio=config.mlp_ratio,
        )
        self.norm = nn.LayerNorm(config.width, EPS)

    @property
    def places(self) -> int:
        """Patches of a frame."""
        return self.grid.rows * self.grid.columns

    def forward(
        self, frames: UInt8[Tensor, "b t h w 3"], kept: Int64[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b s k c"]:
        """Return the features of tubelets: of all patches row by row, or of those at `kept` places, seeing these only.

        Raises:
            ValueError: frames of another size, or a number of them that fills no whole tubelets.
        """
        tokens = self.embed(self.stacked(frames))
        tokens = tokens if kept is None else chosen(tokens, kept)
        tokens = tokens + self.grid.vectors(tokens.shape[1], kept, tokens.device).to(tokens.dtype)
        return self.norm(self.grid(tokens, kept))

    def pooled(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s c"]:
        """Return one vector a tubelet's time: the mean over its places."""
        return self(frames).mean(2)

    def stacked(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s channels h w"]:
        """Return frames as channels from -1 to 1, those of a tubelet on top of each other.

        Raises:
            ValueError: frames of another size, or a number of them that fills no whole tubelets.
        """
        b, t, height, width, _ = frames.shape
        if (height, width) != self.frame_size:
            have, want = ("x".join(map(str, size)) for size in ((height, width), self.frame_size))
            raise ValueError(f"the encoder reads frames of {want} pixels, not {have}; give play of that size")
        slots = self.config.slots(t)
        return as_pixels(frames.flatten(0, 1)).reshape(b, slots, -1, height, width)

    def patches(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s n pixels"]:
        """Return the pixels of every tubelet, laid out (frame, channel, row, column)."""
        stacked = self.stacked(frames)
        cut = F.pixel_unshuffle(stacked.flatten(0, 1), self.config.patch)
        return cut.flatten(2).mT.reshape(*stacked.shape[:2], self.places, -1)


@torch.no_grad()
def pooled_features(encoder: VideoEncoder, frames: UInt8[Tensor, "b t h w 3"], batch: int) -> Float[Tensor, "b s c"]:
    """Return pooled features on the CPU, computed `batch` clips at a time."""
    device = next(encoder.parameters()).device
    return torch.cat([encoder.pooled(part.to(device)).float().cpu() for part in torch.split(frames, batch)])
