"""Statistics of an episode's columns as LeRobot keeps them, to normalise what a policy sees."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from hallucade.shapes import FrameArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLES = 100  # frames of an episode whose pixels are looked at, evenly spread
Stats = dict[str, np.ndarray]  # min, max, mean, std, count, and one a quantile


def number_stats(values: Shaped[np.ndarray, "n w"]) -> Stats:
    """Describe n rows of w numbers: everything but `count` has w entries."""
    numbers = values.astype(np.float64)
    quantiles = np.quantile(numbers, list(QUANTILES.values()), axis=0)
    return {
        "min": numbers.min(0),
        "max": numbers.max(0),
        "mean": numbers.mean(0),
        "std": numbers.std(0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def picture_stats(frames: FrameArray) -> Stats:
    """Describe the colours of an episode in [0, 1]: everything but `count` has shape 3 1 1."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(SAMPLES, len(frames))).round().astype(int))
    pixels = number_stats(frames[chosen].reshape(-1, 3))
    colours = {name: (values / 255).reshape(3, 1, 1) for name, values in pixels.items() if name != "count"}
    return {**colours, "count": np.array([len(chosen)])}


def joined_stats(parts: Sequence[Stats]) -> Stats:
    """Join the statistics of episodes; quantiles are averaged by count, as LeRobot itself does."""
    counts = np.array([part["count"][0] for part in parts], np.float64)
    weights = counts / counts.sum()

    def mean(name: str) -> np.ndarray:
        return np.tensordot(weights, np.stack([part[name] for part in parts]), 1)

    centre = mean("mean")
    spread = np.stack([part["std"] ** 2 + (part["mean"] - centre) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": centre,
        "std": np.sqrt(np.tensordot(weights, spread, 1)),
        "count": np.array([int(counts.sum())]),
        **{name: mean(name) for name in QUANTILES},
    }
