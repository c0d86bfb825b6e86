"""Tokenizers that encode each frame by itself: some frames at a time, as channels from -1 to 1."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from hallucade.shapes import Frames
from hallucade.tokenizers.base import Tokenizer

CHUNK = 64  # frames


class PictureTokenizer(Tokenizer):
    """Base of such tokenizers.

    Args:
        chunk: frames that are encoded or decoded at once, which bounds memory.
    """

    def __init__(self, chunk: int = CHUNK) -> None:
        super().__init__()
        self.chunk = chunk

    @abstractmethod
    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Shaped[Tensor, "n *latent"]:
        """Return the latents of pictures, channels from -1 to 1."""

    @abstractmethod
    def decode_pixels(self, latents: Shaped[Tensor, "n *latent"]) -> Float[Tensor, "n 3 h w"]:
        """Return pictures as channels, nominally from -1 to 1."""

    @torch.no_grad()
    def encode(self, frames: Frames) -> Shaped[Tensor, "b t *latent"]:
        self.latent_shape(*frames.shape[2:4])
        parts = torch.split(frames.flatten(0, 1), self.chunk)
        latents = torch.cat([self.encode_pixels(as_pixels(part)) for part in parts])
        return latents.reshape(*frames.shape[:2], *latents.shape[1:])

    @torch.no_grad()
    def decode(self, latents: Shaped[Tensor, "b t *latent"]) -> Frames:
        parts = torch.split(latents.flatten(0, 1), self.chunk)
        frames = torch.cat([as_frames(self.decode_pixels(part)) for part in parts])
        return frames.reshape(*latents.shape[:2], *frames.shape[1:])


def as_pixels(frames: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Return frames as channels from -1 to 1."""
    return frames.movedim(-1, 1).float().div_(127.5).sub_(1)


def as_frames(pixels: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n h w 3"]:
    """Return pixels, nominally from -1 to 1, as the nearest grey levels."""
    levels = pixels.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).movedim(1, -1).contiguous()
