"""LPIPS: how different two pictures look, by the features of a network that was trained to classify.

Source: Zhang et al. 2018, arXiv:1801.03924, version 0.1 of the authors' linear heads, which torchmetrics carries.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hallucade.evaluation.metrics.weights_file import find_weights, fingerprint, fit, read_tensors

Backbone = Literal["alex", "vgg"]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of channels from -1 to 1
EPSILON = 1e-10
CACHED = {"alex": ("alexnet-owt-7be5be79.pth",), "vgg": ("vgg16-397923af.pth",)}
LEAST = {"alex": 31, "vgg": 16}  # pixels a side: less, and a pool has nothing left
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
LAYERS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # that are compared, all of them ReLUs
PICTURES = 32  # pairs at a time


class Lpips(nn.Module):
    """Weighted distance of two pictures' features, 0 for identical ones; about 0.7 is as far as it goes."""

    def __init__(self, backbone: Backbone, about: str = "") -> None:
        super().__init__()
        self.backbone, self.about = backbone, about
        self.features = alexnet() if backbone == "alex" else vgg16()
        self.heads = nn.ParameterList([torch.rand(c) for c in CHANNELS[backbone]])

    @classmethod
    def load(cls, backbone: Backbone, weights: str | None = None, heads: str | None = None) -> "Lpips":
        """Read the weights.

        Args:
            backbone: AlexNet, as most published figures, or VGG-16.
            weights: file of the backbone; None looks in torch.hub's cache.
            heads: file of the linear heads; None takes those that torchmetrics carries.

        Raises:
            ValueError: a file is missing or another network's; the message says where to get it.
        """
        cached = CACHED[backbone]
        file = find_weights(
            weights, cached, f"LPIPS's {backbone} backbone", f"torchvision's: download.pytorch.org/models/{cached[0]}"
        )
        with as_file(files("torchmetrics") / "functional/image/lpips_models" / f"{backbone}.pth") as carried:
            head_file = Path(heads) if heads is not None else carried
            network = cls(backbone, f"{file.name}, SHA-256 {fingerprint(file)}; heads SHA-256 {fingerprint(head_file)}")
            fit(network, _public(network, read_tensors(file), read_tensors(head_file)), file, r"classifier\..*")
        return network

    @torch.inference_mode()
    def forward(self, frames: UInt8[Tensor, "n h w 3"], truth: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n"]:
        """Return the distance of each picture from its truth, on the CPU.

        Raises:
            ValueError: pictures too small for the network.
        """
        self.check_size(*frames.shape[1:3])
        pairs = zip(torch.split(frames, PICTURES), torch.split(truth, PICTURES), strict=True)
        return torch.cat([self.of_pixels(self._pixels(a), self._pixels(b)).cpu() for a, b in pairs])

    def of_pixels(self, a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n"]:
        """Return the distance of channels from -1 to 1, with gradients: for training."""
        total = torch.zeros(len(a), device=a.device)
        for head, x, y in zip(self.heads, self._layers(a), self._layers(b), strict=True):
            total = total + torch.einsum("nchw,c->nhw", (_unit(x) - _unit(y)).square(), head).mean((1, 2))
        return total

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where pictures are too small for the network."""
        if min(height, width) < LEAST[self.backbone]:
            needs = " and with ".join(f"{name} {side}" for name, side in LEAST.items())
            raise ValueError(f"pictures are {height}x{width} pixels; LPIPS needs sides of, with {needs} or more")

    def _pixels(self, pictures: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
        return pictures.to(self.heads[0].device).movedim(-1, 1).float() / 127.5 - 1

    def _layers(self, pixels: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """Return the five layers of features that are compared, `n c y x` each."""
        shift, scale = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (SHIFT, SCALE))
        x, found = (pixels - shift) / scale, list[Tensor]()
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in LAYERS[self.backbone]:
                found.append(x)
        return found


def alexnet() -> nn.Sequential:
    """Return AlexNet's convolutions up to the last that LPIPS reads, with torchvision's names."""
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU()]
    layers += [nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def vgg16() -> nn.Sequential:
    """Return VGG-16's convolutions up to the last that LPIPS reads, with torchvision's names."""
    layers, width = list[nn.Module](), 3
    for repeats, channels in zip((2, 2, 3, 3, 3), CHANNELS["vgg"], strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(repeats):
            layers += [nn.Conv2d(width, channels, 3, 1, 1), nn.ReLU()]
            width = channels
    return nn.Sequential(*layers)


def _public(network: Lpips, backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return both files' tensors with heads under our names; what does not fit keeps its own."""
    ours = {f"lin{i}.model.1.weight": f"heads.{i}" for i in range(len(network.heads))}
    named = {ours.get(n, n): v.flatten() if n in ours and v.shape[0] == 1 else v for n, v in heads.items()}
    return {**backbone, **named}


def _unit(x: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
    """Scale the features of every place to length 1."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + EPSILON)
