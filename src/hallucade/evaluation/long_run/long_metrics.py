"""The numbers of a long run: likeness at growing horizons, and the segment that was least like real play."""

import math

from hallucade.evaluation.long_run.game_curves import GameCurves, segments, up_to
from hallucade.evaluation.long_run.pong_reader import CRISP, ONE_BALL, PADDLE
from hallucade.evaluation.long_run.readings import STATISTICS

HORIZONS = (10, 100, 300, 1000, 3000, 10_000)
COMPARED = ("psnr", "ssim", PADDLE)
FORESEEN = "foreseeable_ssim"


def long_metrics(curves: GameCurves, frames: int, segment: int, prefix: str) -> dict[str, float]:
    """Return everything measured, named ``{prefix}/ssim@1000``, ``{prefix}/ssim_error@1000`` and so on.

    What too few games are left for is absent.
    """
    horizons = sorted({h for h in HORIZONS if h <= frames} | {frames})
    found = dict[str, float]()
    for name in (*COMPARED, *(f"{who}{n}" for who in ("luck_", "copy_", "other_") for n in COMPARED), FORESEEN, CRISP):
        for horizon in horizons:
            average = curves.average(name, up_to(horizon))
            if average is not None:
                found[f"{prefix}/{name}@{horizon}"] = average.value
                if name in COMPARED:
                    found[f"{prefix}/{name}_error@{horizon}"] = average.error
    return found | _drift(curves, frames, segment, prefix) | _one_ball(curves, frames, segment, prefix)


def _drift(curves: GameCurves, frames: int, segment: int, prefix: str) -> dict[str, float]:
    """Return each statistic of single pictures over that of real play: in the last segment, and in the worst."""
    found = dict[str, float]()
    for name in STATISTICS:
        ratios = list[float]()
        for span in segments(frames, segment):
            dream, real = curves.average(name, span), curves.average(f"real_{name}", span)
            if dream is not None and real is not None and real.value > 0:
                ratios.append(dream.value / real.value)
        if ratios:
            found[f"{prefix}/{name}_ratio@{frames}"] = ratios[-1]
            found[f"{prefix}/{name}_ratio_worst"] = max(ratios, key=_distance)
    return found


def _one_ball(curves: GameCurves, frames: int, segment: int, prefix: str) -> dict[str, float]:
    if ONE_BALL not in curves:
        return {}
    parts = [average for span in segments(frames, segment) if (average := curves.average(ONE_BALL, span)) is not None]
    shares = [part.value for part in parts]
    return {f"{prefix}/one_ball_share_last": shares[-1], f"{prefix}/one_ball_share_worst": min(shares)}


def _distance(ratio: float) -> float:
    """Return how far a ratio is from 1, twice as much as far as half."""
    return abs(math.log(max(ratio, 1e-9)))
