"""What the dreams of one run score, clip by clip."""

from collections.abc import Iterator

import numpy as np
import torch

from hallucade.evaluation.action_scores import ActionCounts, count_actions
from hallucade.evaluation.compare.figures import Figure, Resampling
from hallucade.evaluation.controllability import ActionReader
from hallucade.evaluation.dream_series import UNIQUE, DreamSeries
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.metrics.ssim import WINDOW, ssim

LONG_HORIZONS = (10, 100, 300, 1000)


def picture_scores(
    dreams: np.ndarray, truth: np.ndarray, horizons: tuple[int, ...], resampling: Resampling
) -> Iterator[tuple[str, Figure | None]]:
    """Yield PSNR and, of pictures that are large enough, SSIM of dreams `b n h w 3` at each horizon."""
    for horizon in horizons:
        pair = [torch.from_numpy(np.ascontiguousarray(each[:, horizon - 1])) for each in (dreams, truth)]
        yield f"psnr@{horizon}", resampling.mean(psnr(*pair).double().numpy())
        if min(dreams.shape[2:4]) >= WINDOW:
            yield f"ssim@{horizon}", resampling.mean(ssim(*pair).double().numpy())


def long_scores(dream: DreamSeries, real: DreamSeries, resampling: Resampling) -> Iterator[tuple[str, Figure | None]]:
    """Yield how much of real play is left in long dreams: sharpness, codes, and how many of them are alive.

    Ratios are those of means over games; those of real play are over all its frames.
    """
    frames, alive = dream.series["energy"].shape[1], dream.alive(real)
    for horizon in sorted({h for h in LONG_HORIZONS if h <= frames} | {frames}):
        for name, statistic in (("sharpness_ratio", "energy"), ("unique_codes_ratio", UNIQUE)):
            if statistic in dream.series and statistic in real.series:
                parts = dream.around(statistic, horizon)
                yield f"{name}@{horizon}", resampling.ratio(parts, real.series[statistic].mean(1))
        yield f"survival@{horizon}", resampling.mean(alive[:, horizon - 1].astype(np.float64))


def action_counts(reader: ActionReader, lead: np.ndarray, frames: np.ndarray, rows: np.ndarray) -> ActionCounts:
    """Read actions off frames `b n h w 3` that follow those of `lead`, and compare with the rows that led to them."""
    before = reader.network.config.before
    whole = np.ascontiguousarray(np.concatenate([lead[:, lead.shape[1] - 1 - before :], frames], 1))
    read = reader.network.read(torch.from_numpy(whole)).cpu().numpy()
    return count_actions(reader.network, rows[:, : read.shape[1]], read)
