"""What every tokenizer offers: frames to latents and back, whole clips or a live stream."""

from abc import ABC, abstractmethod
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.shapes import Latents


class TokenizerError(ValueError):
    """A tokenizer that is given cannot be used; the message says which, why and what to do."""


class StreamDecoder:
    """Decode a live stream of latent blocks; stateless here, video tokenizers keep their temporal context."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer

    def __call__(self, latents: Latents) -> UInt8[Tensor, "b frames h w 3"]:
        """Decode the next block: k latents give k * stride frames."""
        return self._tokenizer.decode(latents)


class Tokenizer(nn.Module, ABC):
    """Frames to latents and back."""

    stride: int = 1  # frames per latent
    codes: int | None = None  # how many there are; None: latents are float channels
    lossless: bool = False  # decoding and encoding again changes a latent by no more than a grey level

    @abstractmethod
    def encode(self, frames: UInt8[Tensor, "b frames h w 3"]) -> Latents:
        """Encode t * stride frames into t latents."""

    @abstractmethod
    def decode(self, latents: Latents) -> UInt8[Tensor, "b frames h w 3"]:
        """Decode t latents into t * stride frames."""

    @abstractmethod
    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one latent for frames of `height` x `width` pixels."""

    def stream(self) -> StreamDecoder:
        """Return a decoder for one live session."""
        return StreamDecoder(self)


class TokenizerConfig(Config):
    """Base of tokenizer configs.

    Weights that are given and never trained stay out of checkpoints: a tokenizer that has such names them by a
    fingerprint (``pinned``), and a run folder keeps them once (``keep_in``, ``kept_in``). Others have none.
    """

    def build(self) -> Tokenizer:
        """Build the tokenizer, with fresh weights unless it is a given one."""
        raise NotImplementedError

    def pinned(self) -> "TokenizerConfig":
        """Return the config that accepts only the given weights that it finds now."""
        return self

    def kept_in(self, folder: Path) -> "TokenizerConfig":
        """Return the config that reads the given weights that ``keep_in`` copied into a folder, if it did."""
        return self

    def agrees(self, other: "TokenizerConfig") -> bool:
        """Return whether both make the same latents, as far as their fingerprints tell."""
        return self == other

    def keep_in(self, folder: Path) -> None:
        """Copy given weights into a folder, unless they are there."""
