"""Tokenizers that were trained before, frozen: by `hallucade train`, or by others and read through diffusers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.tokenizers.autoencoder_folder import AutoencoderFolder, find_autoencoder
from hallucade.tokenizers.base import Tokenizer, TokenizerConfig
from hallucade.tokenizers.learned_folder import ABOUT, LearnedFolder
from hallucade.tokenizers.pictures import PictureTokenizer

KEPT = "tokenizer"  # folder of a run, an export or a latent cache with the autoencoder that it needs
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizerConfig(TokenizerConfig):
    """A tokenizer from a run or a folder, or an autoencoder from the hub.

    Raises:
        ValueError: a chunk without frames.
    """

    path: str  # a run or folder; an autoencoder's folder; or on the hub owner/name, owner/name/folder, with @revision
    fingerprint: str | None = None  # of config and weights; filled in where it has to stay the same
    precision: Precision = "fp32"  # that it computes in; latents are float32 always
    chunk: int = 4  # frames that are encoded or decoded at once, which bounds memory

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk} frames; use 1 or more")

    def build(self) -> Tokenizer:
        """Load the tokenizer.

        Raises:
            TokenizerError: it cannot be found or used, or is not the one of the fingerprint.
        """
        folder, dtype = self._find(), DTYPES[self.precision]
        if isinstance(folder, AutoencoderFolder):
            return given(PretrainedAutoencoder(folder, dtype, self.chunk))
        learned = folder.load().in_precision(dtype)
        learned.chunk = self.chunk
        return given(learned)

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
        """Return the shape of one latent, without reading the weights; see `Tokenizer.latent_shape`."""
        return find_tokenizer(self.path).latent_shape(height, width)

    @property
    def codes(self) -> int | None:
        """How many codes there are; None: latents are float channels."""
        found = find_tokenizer(self.path)
        return found.codes if isinstance(found, LearnedFolder) else None

    def _find(self) -> AutoencoderFolder | LearnedFolder:
        found = find_tokenizer(self.path)
        if self.fingerprint is not None:
            found.check(self.fingerprint)
        return found


def find_tokenizer(name: str) -> AutoencoderFolder | LearnedFolder:
    """Open the folder of a tokenizer that was trained here, or its run's, or an autoencoder's; see `find_autoencoder`.

    Raises:
        TokenizerError: there is none.
    """
    for folder in (Path(name), Path(name) / KEPT):
        if (folder / ABOUT).is_file():
            return LearnedFolder(folder)
    return find_autoencoder(name)


class PretrainedAutoencoder(PictureTokenizer):
    """An autoencoder of diffusers, whose latents are scaled.

    Latents are the mean of what a variational autoencoder says, shifted and scaled as its config asks.

    Args:
        folder: the autoencoder.
        dtype: that it computes in.
        chunk: frames at once.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, folder: AutoencoderFolder, dtype: torch.dtype, chunk: int) -> None:
        super().__init__(chunk)
        self.autoencoder: Any = folder.load(dtype)
        self._folder, self._dtype = folder, dtype
        for name, values in (("shift", folder.facts.shift), ("scale", folder.facts.scale)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self._folder.latent_shape(height, width)

    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c lh lw"]:
        with torch.autocast(pixels.device.type, enabled=False):  # a trainer's precision is not the autoencoder's
            raw = self._folder.kind.latents(self.autoencoder.encode(pixels.to(self._dtype)))
        return (raw.float() - self.shift) * self.scale

    def decode_pixels(self, latents: Float[Tensor, "n c lh lw"]) -> Float[Tensor, "n 3 h w"]:
        raw = latents.float() / self.scale + self.shift
        with torch.autocast(latents.device.type, enabled=False):
            return self.autoencoder.decode(raw.to(self._dtype)).sample.float()


def given(tokenizer: Tokenizer) -> Tokenizer:
    """Freeze a tokenizer whose weights lie elsewhere, and leave it out of every ``state_dict``."""
    where = [""]  # how its names begin in the one that is being loaded

    def enter(_: nn.Module, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        where[0] = prefix

    def leave(_: nn.Module, incompatible: Any) -> None:
        missing = incompatible.missing_keys
        missing[:] = [name for name in missing if not name.startswith(where[0])]

    tokenizer.register_state_dict_post_hook(_leave_out)
    tokenizer.register_load_state_dict_pre_hook(enter)
    tokenizer.register_load_state_dict_post_hook(leave)
    return tokenizer.requires_grad_(False).eval()


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        del state[name]
