"""A game of one square that slides: left, not at all or right, as an action says or as nobody says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from hallucade.actions import ActionSpace, Button, Choice
from hallucade.data.clips import Clip
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

HEIGHT, WIDTH = 8, 12
SLIDE = ActionSpace(choices=(Choice(name="slide", options=("stay", "left", "right")),))
NOBODY = ActionSpace(buttons=(Button(name="unknown"),))  # never held: as of a video
Repaint = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of frames and options
STEP = np.array([0, -1, 1])


def slide(rng: np.random.Generator, n: int) -> tuple[UInt8[np.ndarray, "f h w 3"], Float32[np.ndarray, "n 1"]]:
    """Return n + 1 frames, and which option led to each but the first."""
    options = rng.integers(0, 3, n)
    places = (rng.integers(0, WIDTH) + np.concatenate([[0], STEP[options].cumsum()])) % WIDTH
    frames = np.full((n + 1, HEIGHT, WIDTH, 3), 40, np.uint8)
    for frame, place in zip(frames, places, strict=True):
        frame[3:5, [place, (place + 1) % WIDTH]] = (250, 200, 90)
    return frames, options[:, None].astype(np.float32)


def clip(seed: int, batch: int, frames: int, actions: ActionSpace = SLIDE) -> Clip:
    """A batch of such games."""
    rng = np.random.default_rng(seed)
    games = [slide(rng, frames - 1) for _ in range(batch)]
    rows = torch.from_numpy(np.stack([rows for _, rows in games]))
    shown: UInt8[Tensor, "b t h w 3"] = torch.from_numpy(np.stack([frames for frames, _ in games]))
    return Clip(shown, actions.encode(rows), seed)


def store(
    path: Path,
    episodes: int = 6,
    n: int = 50,
    actions: ActionSpace = SLIDE,
    fps: float = 10.0,
    repaint: Repaint | None = None,
) -> EpisodeStore:
    """A store of such games; with other actions, of which none is ever held."""
    rng = np.random.default_rng(7)
    kept = list[Episode]()
    for _ in range(episodes):
        frames, rows = slide(rng, n)
        frames = frames if repaint is None else repaint(frames, rows)
        kept.append(Episode(frames, rows if actions == SLIDE else np.zeros_like(rows)))
    named = (("frames", kept[0].frames), ("actions", kept[0].actions))
    columns = tuple(StoreColumn.like(name, column) for name, column in named)
    manifest = StoreManifest(actions=actions, columns=columns, fps=fps, validation_share=0.5)
    with StoreWriter(path, manifest) as writer:
        writer.append(kept)
    return EpisodeStore(path)
