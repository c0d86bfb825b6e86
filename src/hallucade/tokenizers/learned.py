"""Tokenizers that are trained here: convolutions around a bottleneck of codes or of a small Gaussian."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hallucade.tokenizers.base import TokenizerConfig
from hallucade.tokenizers.bottlenecks.base import BottleneckConfig, Passed
from hallucade.tokenizers.bottlenecks.fsq import FSQConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig, build_decoder, build_encoder
from hallucade.tokenizers.pictures import PictureTokenizer


@dataclass(frozen=True, kw_only=True)
class LearnedTokenizerConfig(TokenizerConfig):
    """The networks of a tokenizer, and what it turns features into."""

    convolutions: ConvolutionsConfig = field(default_factory=ConvolutionsConfig)
    bottleneck: BottleneckConfig = field(default_factory=FSQConfig)

    def build(self) -> "LearnedTokenizer":
        return LearnedTokenizer(self)


class LearnedTokenizer(PictureTokenizer):
    """Encodes each frame by itself.

    Latents are codes, int64 `b t h w`, or float channels `b t c h w` where the bottleneck is a Gaussian.
    """

    def __init__(self, config: LearnedTokenizerConfig) -> None:
        super().__init__()
        self.config, self._dtype = config, torch.float32
        self.bottleneck = config.bottleneck.build()
        self.codes = self.bottleneck.codes
        self.encoder = build_encoder(config.convolutions, self.bottleneck.width)
        self.decoder = build_decoder(config.convolutions, self.bottleneck.width)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the latent of a frame.

        Raises:
            ValueError: frames that cannot be halved often enough.
        """
        factor = self.config.convolutions.factor
        if height % factor or width % factor:
            raise ValueError(
                f"frames are {height}x{width} pixels and this tokenizer needs multiples of {factor}; import or record "
                "them at such a size (--size HEIGHT WIDTH), or give it fewer widths"
            )
        return self.bottleneck.latent_shape(height // factor, width // factor)

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 3 h w"], Passed]:
        """Pass pixels of -1 to 1 through, for training; also return what came through the bottleneck."""
        passed = self.bottleneck(self.encoder(pixels))
        return self.decoder(passed.features).float(), passed

    def encode_pixels(self, pixels: Float[Tensor, "n 3 h w"]) -> Shaped[Tensor, "n *latent"]:
        return self.bottleneck.latents(self.encoder(pixels.to(self._dtype)).float())

    def decode_pixels(self, latents: Shaped[Tensor, "n *latent"]) -> Float[Tensor, "n 3 h w"]:
        """Decode latents.

        Raises:
            ValueError: a code that does not exist.
        """
        self._check_codes(latents)
        return self.decoder(self.bottleneck.features(latents).to(self._dtype)).float()

    def codebook(self) -> Float[Tensor, "codes d"]:
        """Return what the decoder reads for each code.

        Raises:
            ValueError: a cell has several codes, or none.
        """
        if self.codes is None or self.bottleneck.per_cell != 1:
            has = "channels" if self.codes is None else f"{self.bottleneck.per_cell} codes"
            raise ValueError(
                f"this tokenizer makes {has} a cell, and vectors of codes are asked for; use one of one code a cell, "
                "such as tokenizer_fsq or tokenizer_vq"
            )
        codes = torch.arange(self.codes, device=next(self.decoder.parameters()).device)
        return self.bottleneck.features(codes[None, :, None])[0, :, :, 0].T

    def decode_vectors(self, vectors: Float[Tensor, "n d y x"]) -> Float[Tensor, "n 3 h w"]:
        """Decode vectors of codes, or what lies between them, with gradients: for training."""
        return self.decoder(vectors.to(self._dtype)).float()

    def in_precision(self, dtype: torch.dtype) -> "LearnedTokenizer":
        """Compute in another precision from now on; the bottleneck stays in float32."""
        self.encoder.to(dtype)
        self.decoder.to(dtype)
        self._dtype = dtype
        return self

    def _check_codes(self, latents: Tensor) -> None:
        if self.codes is None or not latents.numel():
            return
        least, most = int(latents.min()), int(latents.max())
        if least < 0 or most >= self.codes:
            raise ValueError(
                f"codes from {least} to {most}, and this tokenizer has {self.codes:,}, counted from 0; "
                "they were made by another one"
            )
