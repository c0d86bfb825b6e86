"""How dreams look to other networks: LPIPS, FID, FVD, and Fréchet distances that need no download."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hallucade.config import Config
from hallucade.evaluation.intervals import exact_mean
from hallucade.evaluation.metrics.encoder_features import EncoderFeatures
from hallucade.evaluation.metrics.features import FeatureNetwork
from hallucade.evaluation.metrics.frechet import frechet_distance
from hallucade.evaluation.metrics.i3d import I3d
from hallucade.evaluation.metrics.inception import FidInception
from hallucade.evaluation.metrics.kernel_distance import paired_distance
from hallucade.evaluation.metrics.lite0 import REMEDY, Lite0, lite0_installed
from hallucade.evaluation.metrics.lpips import Lpips
from hallucade.evaluation.metrics.moments import Moments, merged
from hallucade.evaluation.ranks import from_every_rank

CACHE = "cache"  # instead of a path: the file is looked for where torch.hub keeps its own
LEAST_CLIPS = 3  # with fewer there is no error to give


@dataclass(frozen=True, kw_only=True)
class PerceptualConfig(Config):
    """Which networks look, and where their weights are; see docs/metrics.md.

    Raises:
        ValueError: weights of a metric that is off, or no frames.
    """

    lite0: Literal["auto", "on", "off"] = "auto"  # Fréchet distance on EfficientNet-lite0; auto: if it is installed
    lpips: Literal["off", "alex", "vgg"] = "off"  # the backbone
    lpips_weights: str | None = None  # file of the backbone; by default in torch.hub's cache
    lpips_heads: str | None = None  # file of the linear heads; by default those of torchmetrics
    fid: str | None = None  # file of FID's Inception weights, or "cache" for torch.hub's
    fvd: str | None = None  # TorchScript file of I3D, or "cache"; it is a program: give one that you trust
    encoder: str | None = None  # a run that pre-trained an encoder on such play, see docs/pretraining.md
    until: tuple[int, ...] = (16,)  # the frames 1 to each of these are one set

    def __post_init__(self) -> None:
        if self.lpips == "off" and (self.lpips_weights or self.lpips_heads):
            raise ValueError("there are weights of LPIPS, but lpips is 'off'; set it to 'alex' or 'vgg'")
        if not self.until or min(self.until) < 1:
            raise ValueError(f"until is {self.until}; give one or more, from 1 up")

    def build(self, size: tuple[int, int], horizons: tuple[int, ...], device: torch.device) -> "PerceptualScores":
        """Load what is asked for.

        Raises:
            ValueError: weights are missing, another network's, or not made for such clips; the message says where to
                get them.
        """
        lpips = None if self.lpips == "off" else Lpips.load(self.lpips, self.lpips_weights, self.lpips_heads).to(device)
        if lpips is not None:
            lpips.check_size(*size)
        networks, notes = list[FeatureNetwork](), list[str]()
        until = sorted({min(last, max(horizons)) for last in self.until})
        if self.lite0 == "on" or (self.lite0 == "auto" and lite0_installed()):
            networks.append(Lite0.load(*size))
        elif self.lite0 == "auto":
            notes.append(f"no Fréchet distance: {REMEDY}")
        if self.fid is not None:
            networks.append(FidInception.load(None if self.fid == CACHE else self.fid))
        if self.fvd is not None:
            networks.append(I3d.load(None if self.fvd == CACHE else self.fvd))
        if self.encoder is not None:
            encoder = EncoderFeatures.load(self.encoder, *size)
            for last in until:
                encoder.check_frames(last)
            networks.append(encoder)
        for network in networks:
            if until[0] < network.least_frames:
                raise ValueError(
                    f"{network.frechet} of {until[0]} frames; it takes {network.least_frames} or more: "
                    "raise the horizons, and until"
                )
        sets = [ComparedSets(network.to(device), last) for network in networks for last in until]
        return PerceptualScores(lpips, horizons, sets, notes)


class ComparedSets:
    """The features of dreams, of the truth beside them, and of other real clips, over the frames 1 to `until`."""

    def __init__(self, network: FeatureNetwork, until: int) -> None:
        self.network, self.until = network, until
        self._dreams, self._truths = list[Tensor](), list[Tensor]()
        self._others = list[Moments]()

    def add(self, dreams: UInt8[Tensor, "b t h w 3"], truths: UInt8[Tensor, "b t h w 3"]) -> None:
        """Add dreams beside the truth of the same prompts and actions."""
        self._dreams.append(self._features(dreams))
        self._truths.append(self._features(truths))

    def add_other(self, real: UInt8[Tensor, "b t h w 3"]) -> None:
        """Add real clips that the truth is compared with, as a floor."""
        self._others.append(Moments.of(self._features(real).flatten(0, 1)))

    def across_ranks(self) -> "ComparedSets":
        """Return the features of all ranks' clips, on every rank; a dream and its truth belong on the same rank."""
        together = ComparedSets(self.network, self.until)
        for dreams, truths, others in from_every_rank((self._dreams, self._truths, self._others)):
            together._dreams += dreams
            together._truths += truths
            together._others += others
        return together

    def metrics(self) -> dict[str, float]:
        """Return the distances and the number of samples behind them, by name."""
        dreams, truths = torch.cat(self._dreams), torch.cat(self._truths)
        frechet, kernel, at = self.network.frechet, self.network.kernel, f"@{self.until}"
        if len(dreams) < LEAST_CLIPS:
            return {}
        a, b = (merged(Moments.of(part.flatten(0, 1)) for part in parts) for parts in (self._dreams, self._truths))
        found = {frechet + at: frechet_distance(a, b), f"{frechet}_samples{at}": float(a.count)}
        if self._others:
            found[f"{frechet}_floor{at}"] = frechet_distance(b, merged(self._others))
        distance = paired_distance(dreams, truths)
        return found | {kernel + at: distance.value, f"{kernel}_error{at}": distance.error}

    @property
    def protocol(self) -> str:
        """What was compared, in words."""
        clips, rows, dims = *(self._count()), self.network.dims
        what = f"frames 1 to {self.until} of {clips} dreams, and of their truth: {rows} samples of {dims} features each"
        return f"{what}; {self.network.about}"

    def notes(self) -> Iterator[str]:
        """Say what the values must not be taken for."""
        clips, rows = self._count()
        name = f"{self.network.frechet}@{self.until}"
        if clips < LEAST_CLIPS:
            yield f"no {name}: {clips} clips; it takes {LEAST_CLIPS} or more"
        elif rows <= self.network.dims:
            yield (
                f"{name} is only relative: {rows} samples of {self.network.dims} features leave the covariance without "
                f"full rank. Compare it with values of as many samples, or dream {self._clips_of_full_rank()} clips "
                f"or more; {self.network.kernel} is made for so few."
            )
        if not self._others:
            yield f"{name} has no floor: too few other real clips; record more validation play, or dream fewer clips"

    def _count(self) -> tuple[int, int]:
        """Return the numbers of clips and of samples."""
        return sum(map(len, self._dreams)), sum(part.shape[0] * part.shape[1] for part in self._dreams)

    def _clips_of_full_rank(self) -> int:
        clips, rows = self._count()
        return self.network.dims // (rows // clips) + 1

    def _features(self, frames: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b s d"]:
        return self.network.features(frames[:, : self.until])


class PerceptualScores:
    """Gathers what the networks see, batch by batch."""

    def __init__(
        self, lpips: Lpips | None, horizons: tuple[int, ...], sets: list[ComparedSets], notes: list[str]
    ) -> None:
        self.horizons, self.sets = horizons, sets
        self._lpips, self._notes = lpips, notes
        self._distances: dict[int, list[Tensor]] = {horizon: [] for horizon in horizons}

    @property
    def wants_others(self) -> bool:
        """Whether other real clips are of use."""
        return bool(self.sets)

    def add(self, dreams: UInt8[np.ndarray, "b t h w 3"], truths: UInt8[np.ndarray, "b t h w 3"]) -> None:
        """Add dreams beside the truth of the same prompts and actions, from the first dreamed frame on."""
        dreamed, true = torch.from_numpy(dreams), torch.from_numpy(truths)
        for compared in self.sets:
            compared.add(dreamed, true)
        if self._lpips is not None:
            for horizon in self.horizons:
                self._distances[horizon].append(self._lpips(dreamed[:, horizon - 1], true[:, horizon - 1]))

    def add_other(self, real: UInt8[np.ndarray, "b t h w 3"]) -> None:
        """Add real clips of no dream's prompt."""
        for compared in self.sets:
            compared.add_other(torch.from_numpy(real))

    def across_ranks(self) -> "PerceptualScores":
        """Return what the networks of all ranks saw, on every rank."""
        sets = [compared.across_ranks() for compared in self.sets]
        together = PerceptualScores(self._lpips, self.horizons, sets, self._notes)
        for distances in from_every_rank(self._distances):
            for horizon, parts in distances.items():
                together._distances[horizon] += parts
        return together

    def metrics(self, prefix: str) -> dict[str, float]:
        """Return everything measured, named ``{prefix}frechet_lite0@16``."""
        found = {f"lpips@{h}": exact_mean(torch.cat(parts).numpy()) for h, parts in self._distances.items() if parts}
        for compared in self.sets:
            found |= compared.metrics()
        return {prefix + name: value for name, value in found.items()}

    def protocol(self) -> dict[str, str]:
        """Return by which weights and on what, by metric."""
        found = {f"{c.network.label}, to frame {c.until}": c.protocol for c in self.sets}
        return found if self._lpips is None else {"LPIPS": self._lpips.about, **found}

    def notes(self) -> list[str]:
        """Return what a reader must know to read the values."""
        return self._notes + [note for compared in self.sets for note in compared.notes()]
