"""Features of a pre-trained encoder, for Fréchet and kernel distances: it knows the game, and needs no download."""

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hallucade.evaluation.metrics.features import FeatureNetwork
from hallucade.models.encoder_folder import EncoderFolder
from hallucade.models.video_encoder import VideoEncoder, pooled_features

CLIPS = 16  # put through the encoder at a time


class EncoderFeatures(FeatureNetwork):
    """The pooled features of a pre-trained encoder: one vector a tubelet, which sees the whole clip."""

    frechet, kernel, label = "frechet_encoder", "mmd_encoder", "pre-trained encoder (not FVD)"

    def __init__(self, encoder: VideoEncoder, about: str) -> None:
        super().__init__(about)
        self.encoder = encoder.eval().requires_grad_(False)
        self.dims = encoder.config.width
        self.least_frames = encoder.config.tubelet

    @classmethod
    def load(cls, run: str, height: int, width: int) -> "EncoderFeatures":
        """Load the encoder of a run.

        Raises:
            EncoderError: there is none, or it is damaged.
            ValueError: it reads frames of another size.
        """
        folder = EncoderFolder.open(Path(run))
        if folder.facts.frame_size != (height, width):
            have, want = ("x".join(map(str, size)) for size in (folder.facts.frame_size, (height, width)))
            raise ValueError(f"the encoder of {run} reads frames of {have} pixels, not {want}; train one on such play")
        return cls(folder.load(), f"encoder {folder.facts.fingerprint} of {folder.facts.recipe}, mean over places")

    def check_frames(self, frames: int) -> None:
        """Refuse clips of which some frames would be left out.

        Raises:
            ValueError: names a number of frames that would do.
        """
        self.encoder.config.slots(frames)

    @torch.inference_mode()
    def features(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s d"]:
        """Return the features of every tubelet, on the CPU."""
        return pooled_features(self.encoder, frames, CLIPS)
