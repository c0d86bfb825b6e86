"""I3D features of clips, for the Fréchet video distance.

The weights that published FVDs are measured with exist as one TorchScript file, converted from TensorFlow. Such a file
is a program, not a table of numbers: it is run as it is, so give only one whose origin you trust. Its hash is reported.
Source: Unterthiner et al. 2019, arXiv:1812.01717; Carreira and Zisserman 2017, arXiv:1705.07750.
"""

import warnings
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hallucade.evaluation.metrics.features import FeatureNetwork
from hallucade.evaluation.metrics.weights_file import find_weights, fingerprint

CACHED = ("i3d_torchscript.pt",)
SOURCE = "i3d_torchscript.pt of StyleGAN-V, linked from github.com/universome/fvd-comparison"
CLIPS = 4  # put through the network at a time


class I3d(FeatureNetwork):
    """The 400 logits of Kinetics, one row a clip; it stretches clips to 224x224 itself."""

    frechet, kernel, label, dims = "fvd", "kvd", "I3D (FVD)", 400
    least_frames = 10  # it halves time so often

    def __init__(self, network: nn.Module, about: str) -> None:
        super().__init__(about)
        self.network = network

    @classmethod
    def load(cls, path: str | None = None) -> "I3d":
        """Read the TorchScript file, or find it in torch.hub's cache.

        Raises:
            ValueError: it is missing, or no TorchScript; the message says where to get it.
        """
        file = find_weights(path, CACHED, "FVD's I3D", SOURCE)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # there is no other form of these weights
                network = cast("Any", torch.jit).load(file, map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{file} is no TorchScript program; FVD is measured with {SOURCE}") from error
        return cls(network, f"{file.name}, SHA-256 {fingerprint(file)}")

    @torch.inference_mode()
    def features(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 1 d"]:
        """Return one row of features a clip, on the CPU.

        Raises:
            ValueError: clips too short, or a program that is not this I3D.
        """
        if frames.shape[1] < self.least_frames:
            raise ValueError(f"clips of {frames.shape[1]} frames; FVD takes {self.least_frames} or more")
        device = next(self.network.parameters(), torch.empty(0)).device
        parts = list[Tensor]()
        for clips in torch.split(frames, CLIPS):
            videos = clips.to(device).float().permute(0, 4, 1, 2, 3)  # b 3 t h w, grey levels
            try:
                made: object = self.network(videos, rescale=True, resize=True, return_features=True)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise ValueError(f"the program is not the I3D of FVD, which is {SOURCE}: {reason}") from error
            if not isinstance(made, Tensor) or made.shape != (len(clips), self.dims):
                raise ValueError(f"the program does not return {self.dims} features a clip; FVD's I3D is {SOURCE}")
            parts.append(made.float().cpu())
        return torch.cat(parts)[:, None]
