"""Masked video: from a few patches, seen through time, say what all the others show.

Patches are hidden at all times alike (tubes), because what a patch shows now is mostly what it showed before. The
encoder reads visible places only, and so costs a tenth; a narrow decoder fills in the rest and is thrown away. Pixels
are graded against their own patch's mean and deviation, so that shape counts and not brightness.

Source: Tong et al. 2022, arXiv:2203.12602; the normalised targets He et al. 2021, arXiv:2111.06377.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder
from hallucade.nn.token_grid import chosen
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.objectives.masked_decoder import MaskedDecoder, random_order
from hallucade.shapes import Scalar

LEAST_DEVIATION = 1e-3  # by which an even patch is divided; colours span -1 to 1


@dataclass(frozen=True, kw_only=True)
class MaskedVideoConfig(EncoderObjectiveConfig):
    """How much is hidden, and the decoder.

    Raises:
        ValueError: a share that hides nothing or all, or sizes that make no decoder.
    """

    mask_ratio: float = 0.9  # share of the places that is hidden, at all times alike
    decoder_width: int = 64
    decoder_depth: int = 2
    normalised: bool = True  # each patch by its own mean and deviation

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio is {self.mask_ratio}; it lies between 0 and 1, as in 0.9")
        if self.decoder_width < 1 or self.decoder_depth < 1:
            raise ValueError(
                f"decoder_width is {self.decoder_width}, decoder_depth {self.decoder_depth}; use 1 or more"
            )

    def hidden_places(self, places: int) -> int:
        """Return how many of a frame's places are hidden: one at least, and not all."""
        return min(max(round(self.mask_ratio * places), 1), places - 1)

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "MaskedVideo":
        return MaskedVideo(self, encoder)


class MaskedVideo(EncoderObjective):
    """``{"masked": loss}``: mean squared error over the pixels of hidden patches alone."""

    def __init__(self, config: MaskedVideoConfig, encoder: VideoEncoder) -> None:
        super().__init__()
        if encoder.places < 2:
            raise ValueError("a frame is a single patch, of which nothing could be hidden; use a smaller patch")
        self.config = config
        self.decoder = MaskedDecoder(
            encoder,
            width=config.decoder_width,
            depth=config.decoder_depth,
            outputs=3 * encoder.config.tubelet * encoder.config.patch**2,
        )

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        count = self.config.hidden_places(encoder.places)
        order = random_order(len(clip.frames), encoder.places, generator).to(clip.frames.device)
        hidden, kept = order[:, :count], order[:, count:]
        shown = self.decoder(encoder(clip.frames, kept), kept, hidden)
        target = chosen(encoder.patches(clip.frames), hidden)
        if self.config.normalised:
            target = normalised_patches(target)
        return {"masked": (shown.float() - target).square().mean()}


def normalised_patches(patches: Float[Tensor, "b s n pixels"]) -> Float[Tensor, "b s n pixels"]:
    """Return each patch less its mean, over its deviation."""
    centred = patches - patches.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True).sqrt() + LEAST_DEVIATION)
