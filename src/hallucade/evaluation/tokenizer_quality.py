"""How much of held-out pictures a tokenizer gives back, how it uses its codes, and JPEG at the same bits beside it."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hallucade.config import Config
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.jpeg_budget import jpeg_at
from hallucade.evaluation.metrics.lpips import Backbone, Lpips
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.metrics.ssim import ssim
from hallucade.evaluation.result import Evaluation, Progress, Still, silent
from hallucade.tokenizers.base import Tokenizer

SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class TokenizerCheckConfig(Config):
    """How many held-out pictures, and by whose eyes.

    Raises:
        ValueError: no picture.
    """

    pictures: int = 512  # spread over the validation episodes
    lpips: Backbone | None = None  # a backbone whose weights are at hand, see docs/metrics.md
    lpips_weights: str | None = None  # file of the backbone; None looks in torch.hub's cache

    def __post_init__(self) -> None:
        if self.pictures < 1:
            raise ValueError(f"pictures is {self.pictures}; use 1 or more")


@dataclass
class CodeUse:
    """How often each code was seen."""

    hits: Int64[Tensor, "codes"]
    cells: int = 0
    pictures: int = 0

    def add(self, codes: Int64[Tensor, "n *latent"]) -> None:
        """Count the codes of some pictures."""
        self.hits += torch.bincount(codes.flatten().cpu(), minlength=len(self.hits))
        self.cells, self.pictures = self.cells + codes.numel(), self.pictures + len(codes)

    def metrics(self) -> dict[str, float]:
        """Return usage, the share of codes that occurs; perplexity, the exponential of their entropy; and bits."""
        shares = self.hits[self.hits > 0] / self.cells
        cells = self.cells / self.pictures
        return {
            "tokenizer/usage": float((self.hits > 0).float().mean()),
            "tokenizer/perplexity": float((-(shares * shares.log()).sum()).exp()),
            "tokenizer/cells": cells,
            "tokenizer/bits": cells * math.log2(len(self.hits)),
        }


@dataclass
class _Likeness:
    """Sums of what pictures score."""

    lpips: Lpips | None
    sums: dict[str, float] = field(default_factory=dict[str, float])
    count: int = 0

    def add(self, shown: UInt8[Tensor, "n h w 3"], truth: UInt8[Tensor, "n h w 3"]) -> None:
        scores = {"psnr": psnr(shown, truth)}
        if min(truth.shape[1:3]) >= 11:
            scores["ssim"] = ssim(shown, truth)
        if self.lpips is not None:
            scores["lpips"] = self.lpips(shown, truth)
        for name, values in scores.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(values.double().sum())
        self.count += len(truth)

    def means(self, prefix: str) -> dict[str, float]:
        return {f"{prefix}/{name}": value / self.count for name, value in self.sums.items()}


@torch.no_grad()
def evaluate_tokenizer(
    tokenizer: Tokenizer,
    store: EpisodeStore,
    config: TokenizerCheckConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Judge a tokenizer by a store's validation episodes.

    Returns:
        ``tokenizer/psnr``, ``/ssim`` and, with weights, ``/lpips`` of what it gives back (often called rPSNR and so
        on); of codes ``/usage``, ``/perplexity``, ``/cells`` a picture and ``/bits`` a picture before any entropy
        coding, with ``jpeg/psnr`` and so on at these bits, and ``jpeg/bits`` that JPEG took.

    Raises:
        ValueError: the store has no validation episode, its frames do not suit, or weights are missing.
    """
    config = config or TokenizerCheckConfig()
    tokenizer.latent_shape(*store.frame_size)
    lpips = None if config.lpips is None else Lpips.load(config.lpips, config.lpips_weights)
    device = next((weight.device for weight in tokenizer.parameters()), torch.device("cpu"))
    pictures = held_out_pictures(store, config.pictures)
    ours, use = _Likeness(lpips), None if tokenizer.codes is None else CodeUse(torch.zeros(tokenizer.codes).long())
    rows = list[np.ndarray]()
    for part in torch.split(pictures, 32):
        latents = tokenizer.encode(part[:, None].to(device))
        shown = tokenizer.decode(latents)[:, 0].cpu()
        if use is not None:
            use.add(latents[:, 0])
        ours.add(shown, part)
        if not rows:
            rows = [np.concatenate(list(each[:SHOWN].numpy()), 1) for each in (part, shown)]
        progress("reconstructing", ours.count / len(pictures))
    metrics = ours.means("tokenizer")
    if use is not None:
        metrics |= use.metrics()
        coded, bits = jpeg_at(pictures, metrics["tokenizer/bits"])
        jpeg = _Likeness(lpips)
        jpeg.add(coded, pictures)
        metrics |= jpeg.means("jpeg") | {"jpeg/bits": bits}
        rows.append(np.concatenate(list(coded[:SHOWN].numpy()), 1))
    caption = "held-out pictures, what the tokenizer makes of them" + ("" if use is None else ", and JPEG at its bits")
    return Evaluation(
        metrics,
        stills=(Still("Held-out pictures", np.concatenate(rows), caption, section="What comes back"),),
        protocol={"pictures": str(len(pictures)), "store": str(store.path), "fingerprint": store.fingerprint},
    )


def held_out_pictures(store: EpisodeStore, count: int) -> UInt8[Tensor, "n h w 3"]:
    """Return up to `count` frames, spread evenly over the validation episodes.

    Raises:
        ValueError: there is no such episode.
    """
    lengths = {index: store.episodes[index].frames for index in store.indices("validation")}
    total = sum(lengths.values())
    if not total:
        raise ValueError(f"{store.path} has no validation episode to judge by; record or import more")
    places = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    starts = dict(zip(lengths, np.cumsum([0, *lengths.values()])[:-1].tolist(), strict=True))
    found = list[np.ndarray]()
    for index, length in lengths.items():
        mine = places[(places >= starts[index]) & (places < starts[index] + length)] - starts[index]
        if len(mine):
            found.append(np.asarray(store.read(index, 0, length).frames)[mine])
    return torch.from_numpy(np.concatenate(found))
