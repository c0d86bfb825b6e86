"""A small network that reads a simulator's state, or its rewards, off pictures: a cost for planners.

It is trained on a store's own columns. Dreams are softer than what it was trained on, so training blurs some pictures
and adds noise to all; what it says of dreams is still only as good as its errors on held-out frames.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.evaluation.planning.futures import Futures
from hallucade.training.checkpoint import Checkpoint, CheckpointError, load_tensors, read_checkpoint, write_checkpoint

REWARD = "reward"  # the column of what led to a frame
LARGEST = 32  # pixels a side to which pictures are halved, at most
REACHES = (1, 2, 4)  # pixels between what the convolutions after that compare: the last sees 15 of them a side
SHARP = 10.0  # by which maps are scaled, so that they find points from the start
POINTS, HIDDEN = 32, 128  # feature maps that find a point each; width of the layer that reads them
BATCH = 256  # frames read at a time


@dataclass(frozen=True, kw_only=True)
class StateProbeConfig(Config):
    """What is read, and by how large a network.

    Raises:
        ValueError: nothing to read, an angle that is no column, or a size below 1.
    """

    columns: tuple[str, ...]  # state variables of the store, or "reward"
    angles: tuple[str, ...] = ()  # those of them that are angles in radians, and come round again
    width: int = 16  # channels of the convolutions that halve the picture; those after them have twice as many

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns are {self.columns}; name one state variable or more, each once")
        if strange := [name for name in self.angles if name not in self.columns]:
            raise ValueError(f"angles {strange} are no columns; choose among {', '.join(self.columns)}")
        if self.width < 1:
            raise ValueError(f"width is {self.width}; use 1 or more")

    @property
    def outputs(self) -> int:
        """Numbers that the network gives: an angle is read as its cosine and sine."""
        return len(self.columns) + len(self.angles)

    def build(self, frame_size: tuple[int, int]) -> "StateProbe":
        """Build an untrained probe of pictures of this height and width."""
        return StateProbe(self, frame_size)


class StateProbe(nn.Module):
    """Finds points in pictures, and reads columns off where they are and off what the whole picture is like.

    A point is where one feature map is strongest: the mean place under its softmax, finer than a pixel. `centre` and
    `scale` are the store's. Source: Levine et al. 2016, arXiv:1504.00702, section 5.1.
    """

    centre: Tensor
    scale: Tensor
    places: Tensor

    def __init__(self, config: StateProbeConfig, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.frame_size = config, frame_size
        (height, width), layers, wide = frame_size, list[nn.Module](), 2 * config.width
        channels = 3
        while not layers or max(height, width) > LARGEST:
            layers += [nn.Conv2d(channels, config.width, 3, stride=2, padding=1), nn.SiLU()]
            height, width, channels = -(-height // 2), -(-width // 2), config.width
        for reach in REACHES:
            layers += [nn.Conv2d(channels, wide, 3, padding=reach, dilation=reach), nn.SiLU()]
            channels = wide
        self.features = nn.Sequential(*layers)
        self.points = nn.Conv2d(wide, POINTS, 1)
        self.head = nn.Sequential(nn.Linear(2 * POINTS + wide, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, config.outputs))
        self.register_buffer("centre", torch.zeros(config.outputs))
        self.register_buffer("scale", torch.ones(config.outputs))
        y, x = (torch.linspace(-1, 1, size) for size in (height, width))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
        self.register_buffer("places", grid, persistent=False)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n o"]:
        """Return standardised values of pictures in [0, 1]."""
        features = self.features(2 * pictures - 1)
        found = (SHARP * self.points(features)).flatten(2).softmax(-1) @ self.places  # n points 2
        return self.head(torch.cat([found.flatten(1), features.mean((2, 3))], 1))

    @torch.no_grad()
    def read(self, frames: UInt8[np.ndarray, "*n h w 3"]) -> Float64[np.ndarray, "*n c"]:
        """Return what the columns are, in the store's own units; angles lie in [-pi, pi].

        Raises:
            ValueError: pictures of another size than the probe was trained on.
        """
        *lead, height, width, _ = frames.shape
        self.check((height, width))
        flat = frames.reshape(-1, height, width, 3)
        read = [self(as_pictures(flat[i : i + BATCH], self.centre.device)) for i in range(0, len(flat), BATCH)]
        values = torch.cat(read) * self.scale + self.centre
        return self.decoded(values.double().cpu().numpy()).reshape(*lead, len(self.config.columns))

    def check(self, frame_size: tuple[int, int]) -> None:
        """Refuse pictures of another height and width than the probe was trained on.

        Raises:
            ValueError: names both sizes.
        """
        if frame_size != self.frame_size:
            have, want = ("x".join(map(str, size)) for size in (frame_size, self.frame_size))
            raise ValueError(f"the probe reads pictures of {want} pixels (height x width), not {have}; train another")

    def states(self, futures: Futures) -> Float64[np.ndarray, "n f c"]:
        """Read every picture of futures."""
        return self.read(futures.frames)

    def encoded(self, values: Float64[np.ndarray, "n c"]) -> Float64[np.ndarray, "n o"]:
        """Return columns as the network learns them: other columns first, then cosines, then sines of angles."""
        config = self.config
        turned = values[:, [config.columns.index(name) for name in config.angles]]
        plain = [i for i, name in enumerate(config.columns) if name not in config.angles]
        return np.concatenate([values[:, plain], np.cos(turned), np.sin(turned)], 1)

    def decoded(self, outputs: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n c"]:
        """Undo `encoded`."""
        config = self.config
        plain = [name for name in config.columns if name not in config.angles]
        cosines, sines = np.split(outputs[:, len(plain) :], 2, axis=1)
        by_name = dict(zip(plain, outputs.T, strict=False))
        by_name |= dict(zip(config.angles, np.arctan2(sines, cosines).T, strict=True))
        return np.stack([by_name[name] for name in config.columns], 1)


def as_pictures(frames: UInt8[np.ndarray, "n h w 3"], device: torch.device) -> Float32[Tensor, "n 3 h w"]:
    """Return frames as a network reads them, in [0, 1]."""
    return torch.tensor(frames, device=device).permute(0, 3, 1, 2).float() / 255


def save_probe(probe: StateProbe, folder: Path, metadata: dict[str, Any]) -> None:
    """Write a probe, and what is to be known of it, into a new folder.

    Raises:
        CheckpointError: the folder exists and is not empty, or cannot be written.
    """
    config = {"probe": probe.config.to_json(), "frame_size": list(probe.frame_size)}
    write_checkpoint(folder, Checkpoint(0, probe.state_dict(), config, metadata))


def load_probe(folder: Path, device: torch.device | str = "cpu") -> StateProbe:
    """Read a probe that `save_probe` wrote.

    Raises:
        CheckpointError: the folder is missing, damaged or no probe.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no probe at {folder}; make one with `hallucade probe`")
    checkpoint = read_checkpoint(folder, weights_only=True)
    if "probe" not in checkpoint.config:
        raise CheckpointError(f"{folder} holds no probe; give a folder that `hallucade probe` wrote")
    height, width = checkpoint.config["frame_size"]
    probe = StateProbeConfig.from_json(checkpoint.config["probe"]).build((height, width))
    load_tensors(probe, checkpoint.weights, folder)
    return probe.eval().requires_grad_(False).to(device)
