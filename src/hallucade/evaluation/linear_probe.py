"""What an encoder knows of a game: the simulator's state, read off its features by a linear map.

Ridge regression is fitted on training episodes and judged on held-out ones. A linear map learns next to nothing by
itself, so that what it reads was there: how well it reads is how well the features tell the state apart. Beside it
stand an encoder of the same size with fresh weights, and one that was trained on the state itself.

Source: Alain and Bengio 2016, arXiv:1610.01644; of such probes in games Anand et al. 2019, arXiv:1906.08226.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64, Int64

from hallucade.config import Config
from hallucade.evaluation.intervals import percentile_interval, resampled_sums
from hallucade.evaluation.state_clips import STEADY, StateClips
from hallucade.models.video_encoder import VideoEncoder, pooled_features

FITTED = 0.8  # share of the training episodes that penalties are tried on; the others choose among them
BATCH = 64  # clips that an encoder reads at once


@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig(Config):
    """What is read, off how much play.

    Raises:
        ValueError: numbers out of range.
    """

    columns: tuple[str, ...] = ()  # state variables; by default all that change within episodes
    clips: int = 4000  # of training episodes
    held_out: int = 2000  # of validation episodes
    frames: int = 8  # of a clip; the state is that of its last one
    penalties: tuple[float, ...] = (1e-4, 1e-2, 1.0, 1e2)  # of standardised features, a clip
    resamples: int = 1000  # of held-out episodes, for the intervals
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("clips", 10), ("held_out", 2), ("frames", 1), ("resamples", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} or more")
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError(f"penalties is {self.penalties}; give positive numbers, as in 0.01 1 100")


@dataclass(frozen=True)
class ProbeScore:
    """How well one state variable is read on held-out clips; each figure with its interval over episodes."""

    r2: float  # share of its variance that is explained: 1 all, 0 no better than its mean
    r2_interval: tuple[float, float] | None
    error: float  # mean absolute, in the variable's own units
    error_interval: tuple[float, float] | None
    spread: float  # its deviation: what not looking at all would cost, about


def probe(
    encoder: VideoEncoder, train: StateClips, held_out: StateClips, columns: Sequence[str], config: LinearProbeConfig
) -> dict[str, ProbeScore]:
    """Return how well a linear map of the features of clips' last frames reads each column."""
    fitted, judged = (
        pooled_features(encoder, torch.from_numpy(part.frames), BATCH)[:, -1].double().numpy()
        for part in (train, held_out)
    )
    penalty = best_penalty(fitted, train, config.penalties)
    read = ridge(fitted, train.states, penalty)(judged)
    rng = np.random.default_rng(config.seed)
    return {
        name: score(read[:, i], held_out.states[:, i], held_out.episodes, config.resamples, rng)
        for i, name in enumerate(columns)
    }


@dataclass(frozen=True)
class LinearMap:
    """Reads states off features."""

    centre: Float64[np.ndarray, "d"]
    scale: Float64[np.ndarray, "d"]
    weights: Float64[np.ndarray, "d c"]
    offset: Float64[np.ndarray, "c"]

    def __call__(self, features: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n c"]:
        """Return what the map reads."""
        return (features - self.centre) / self.scale @ self.weights + self.offset


def ridge(features: Float64[np.ndarray, "n d"], states: Float64[np.ndarray, "n c"], penalty: float) -> LinearMap:
    """Fit by least squares, with `penalty` times the number of rows on the squared weights of standardised features."""
    centre, offset = features.mean(0), states.mean(0)
    scale = np.maximum(features.std(0), 1e-8)
    x = (features - centre) / scale
    gram = x.T @ x + penalty * len(x) * np.eye(x.shape[1])
    weights = cast("np.ndarray", np.linalg.solve(gram, x.T @ (states - offset)))
    return LinearMap(centre, scale, weights, offset)


def best_penalty(features: Float64[np.ndarray, "n d"], train: StateClips, penalties: Sequence[float]) -> float:
    """Return the penalty that reads best the training episodes that it was not fitted on."""
    episodes = np.unique(train.episodes)
    if len(penalties) == 1 or len(episodes) < 2:
        return penalties[0]
    fitted = np.isin(train.episodes, episodes[: max(1, int(FITTED * len(episodes)))])
    others = train.states[~fitted]

    def unexplained(penalty: float) -> float:
        read = ridge(features[fitted], train.states[fitted], penalty)(features[~fitted])
        return float((((read - others) ** 2).mean(0) / np.maximum(others.var(0), STEADY)).mean())

    return min(penalties, key=unexplained)


def score(
    read: Float64[np.ndarray, "n"],
    true: Float64[np.ndarray, "n"],
    episodes: Int64[np.ndarray, "n"],
    resamples: int,
    rng: np.random.Generator,
) -> ProbeScore:
    """Compare what is read with what is true; intervals draw whole episodes, whose clips are not independent."""
    off = read - true
    rows = np.stack([np.ones_like(true), true - true.mean(), (true - true.mean()) ** 2, off**2, np.abs(off)], 1)
    sums = np.stack([rows[episodes == episode].sum(0) for episode in np.unique(episodes)])
    whole = _figures(sums.sum(0, keepdims=True))
    drawn = _figures(resampled_sums(sums, resamples, rng))
    return ProbeScore(
        float(whole[0, 0]),
        percentile_interval(drawn[:, 0]),
        float(whole[0, 1]),
        percentile_interval(drawn[:, 1]),
        float(true.std()),
    )


def _figures(sums: Float64[np.ndarray, "r 5"]) -> Float64[np.ndarray, "r 2"]:
    """Return explained share of the variance and mean error, from numbers, sums and squares of each draw."""
    count, total, squares, missed, error = sums.T
    variance = squares - total**2 / count
    return np.stack([1 - missed / np.where(variance > 0, variance, np.nan), error / count], 1)
