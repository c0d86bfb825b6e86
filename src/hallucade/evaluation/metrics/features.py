"""What Fréchet and kernel distances compare: features of pictures or clips, by networks that others trained."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

PICTURES = 64  # put through a network at a time


class FeatureNetwork(nn.Module, ABC):
    """A fixed network that turns frames into features; the names of the metrics on it are its own."""

    frechet: ClassVar[str]  # the name of the Fréchet distance on these features
    kernel: ClassVar[str]  # that of the kernel distance
    label: ClassVar[str]  # in words
    dims: int
    least_frames: int = 1

    def __init__(self, about: str) -> None:
        super().__init__()
        self.about = about  # which weights, and what is done to pictures first

    @abstractmethod
    def features(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s d"]:
        """Return s features of each clip: one a frame, or one for the clip."""


class PictureNetwork(FeatureNetwork):
    """A network that looks at one picture at a time: clips have as many features as frames."""

    @abstractmethod
    def picture_features(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return the features of pictures whose channels are grey levels, 0 to 255."""

    @torch.inference_mode()
    def features(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b t d"]:
        """Return the features of every frame, on the CPU."""
        device = next(self.parameters()).device
        pictures = frames.flatten(0, 1).movedim(-1, 1)
        parts = [self.picture_features(part.to(device).float()).cpu() for part in torch.split(pictures, PICTURES)]
        features = torch.cat(parts)
        return features.reshape(*frames.shape[:2], features.shape[1])
