"""Autoencoders that others trained, frozen, through diffusers: AutoencoderKL, AutoencoderDC and AutoencoderTiny."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hallucade.shapes import Frames
from hallucade.tokenizers.autoencoder_folder import AutoencoderFolder, find_autoencoder
from hallucade.tokenizers.base import Tokenizer, TokenizerConfig

KEPT = "tokenizer"  # folder of a run, an export or a latent cache with the autoencoder that it needs
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizerConfig(TokenizerConfig):
    """A pretrained autoencoder, from a folder or the hub.

    Raises:
        ValueError: a chunk without frames.
    """

    path: str  # folder with config.json and safetensors; or on the hub owner/name, owner/name/folder, with @revision
    fingerprint: str | None = None  # of config and weights; filled in where it has to stay the same
    precision: Precision = "fp32"  # that it computes in; latents are float32 always
    chunk: int = 4  # frames that are encoded or decoded at once, which bounds memory

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk} frames; use 1 or more")

    def build(self) -> "PretrainedTokenizer":
        """Load the autoencoder.

        Raises:
            AutoencoderError: it cannot be found or used, or is not the one of the fingerprint.
        """
        return PretrainedTokenizer(self._find(), self.precision, self.chunk)

    def pinned(self) -> "PretrainedTokenizerConfig":
        return replace(self, fingerprint=self._find().fingerprint)

    def kept_in(self, folder: Path) -> "PretrainedTokenizerConfig":
        return replace(self, path=str(folder / KEPT)) if (folder / KEPT).is_dir() else self

    def agrees(self, other: TokenizerConfig) -> bool:
        if not isinstance(other, PretrainedTokenizerConfig) or self.precision != other.precision:
            return False
        known = self.fingerprint is not None and other.fingerprint is not None
        return self.fingerprint == other.fingerprint if known else self.path == other.path

    def keep_in(self, folder: Path) -> None:
        if not (folder / KEPT).is_dir():
            self._find().copy_to(folder / KEPT)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one latent, without reading the weights; see `PretrainedTokenizer.latent_shape`."""
        return find_autoencoder(self.path).latent_shape(height, width)

    def _find(self) -> AutoencoderFolder:
        found = find_autoencoder(self.path)
        if self.fingerprint is not None:
            found.check(self.fingerprint)
        return found


class PretrainedTokenizer(Tokenizer):
    """Encode each frame by itself into scaled latents; the weights are frozen and in no ``state_dict``.

    Latents are the mean of what a variational autoencoder says, shifted and scaled as its config asks.

    Args:
        folder: the autoencoder.
        precision: that it computes in.
        chunk: frames at once.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, folder: AutoencoderFolder, precision: Precision, chunk: int) -> None:
        super().__init__()
        self.autoencoder: Any = folder.load(DTYPES[precision])
        self.fingerprint = folder.fingerprint
        self._folder, self._dtype, self._chunk = folder, DTYPES[precision], chunk
        for name, values in (("shift", folder.facts.shift), ("scale", folder.facts.scale)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_post_hook(_expect_none)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self._folder.latent_shape(height, width)

    @torch.no_grad()
    def encode(self, frames: Frames) -> Float[Tensor, "b t c lh lw"]:
        self.latent_shape(*frames.shape[2:4])
        parts = torch.split(frames.flatten(0, 1), self._chunk)
        latents = torch.cat([self._encode(part) for part in parts])
        return latents.reshape(*frames.shape[:2], *latents.shape[1:])

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b t c lh lw"]) -> Frames:
        parts = torch.split(latents.flatten(0, 1), self._chunk)
        frames = torch.cat([self._decode(part) for part in parts])
        return frames.reshape(*latents.shape[:2], *frames.shape[1:])

    def _encode(self, frames: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n c lh lw"]:
        pixels = frames.movedim(-1, 1).float().div_(127.5).sub_(1)
        with torch.autocast(frames.device.type, enabled=False):  # a trainer's precision is not the autoencoder's
            raw = self._folder.kind.latents(self.autoencoder.encode(pixels.to(self._dtype)))
        return (raw.float() - self.shift) * self.scale

    def _decode(self, latents: Float[Tensor, "n c lh lw"]) -> UInt8[Tensor, "n h w 3"]:
        raw = latents.float() / self.scale + self.shift
        with torch.autocast(latents.device.type, enabled=False):
            pixels = self.autoencoder.decode(raw.to(self._dtype)).sample
        levels = pixels.float().add(1).mul_(127.5).round_().clamp_(0, 255)
        return levels.to(torch.uint8).movedim(1, -1).contiguous()


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}autoencoder.")]:
        del state[name]


def _expect_none(_: nn.Module, incompatible: Any) -> None:
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if ".autoencoder." not in f".{name}"]
