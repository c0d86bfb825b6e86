"""How far a dream is from the truth: errors of state over the horizon, beside two yardsticks.

One yardstick knows nothing (the last real frame, forever), the other everything that the prompt shows (the perfect
observer). Errors are in court units of 24, one pixel of a 24-pixel picture.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from hallucade.evaluation.game_check.pong_tracker import PongTrack
from hallucade.evaluation.game_check.pong_truth import PongTruth
from hallucade.games.pong import BALL_X, BALL_Y, OPPONENT_Y, PLAYER_Y
from hallucade.games.pong_court import BALL_HALF, COURT

LOST_BALL = COURT * math.sqrt(2)  # the error of a ball that is not there: the court's diagonal
LOST_PADDLE = COURT
ONE_BALL = 2 * BALL_HALF  # the tolerance of the valid horizon
ENOUGH = 0.05  # share of the games that a statistic at a horizon needs, at least `FEWEST`
FEWEST = 4


@dataclass(frozen=True)
class PongErrors:
    """Distances from the truth; the ball is the dream's largest, and one that is missing is `LOST_BALL` away."""

    player: Float64[np.ndarray, "b t"]
    opponent: Float64[np.ndarray, "b t"]
    ball: Float64[np.ndarray, "b t"]
    foreseeable: Bool[np.ndarray, "b t"]  # before the first serve of the truth: where opponent and ball count


def errors_of_track(seen: PongTrack, truth: PongTruth) -> PongErrors:
    """Compare what a dream shows with the truth, over as many frames as were tracked."""
    return _errors(seen.player_y, seen.opponent_y, seen.ball_x, seen.ball_y, truth)


def errors_of_states(states: Float64[np.ndarray, "b t s"], truth: PongTruth) -> PongErrors:
    """Compare predicted states with the truth."""
    return _errors(states[..., PLAYER_Y], states[..., OPPONENT_Y], states[..., BALL_X], states[..., BALL_Y], truth)


def errors_of_copy(truth: PongTruth) -> PongErrors:
    """Compare the last frame of the prompt, repeated, with the truth."""
    return errors_of_states(np.broadcast_to(truth.last[:, None], truth.future.shape), truth)


def error_metrics(errors: PongErrors, horizons: tuple[int, ...], who: str = "") -> dict[str, float]:
    """Return ``pong/{who}paddle_error_px@h`` and its kin, and the valid horizon.

    Keys without enough games left at a horizon are absent.
    """
    metrics = dict[str, float]()
    for h in horizons:
        metrics[f"pong/{who}paddle_error_px@{h}"] = float(errors.player[:, h - 1].mean())
        metrics[f"pong/{who}paddle_error_max_px@{h}"] = float(errors.player[:, h - 1].max())
        counts = errors.foreseeable[:, h - 1]
        if counts.sum() < enough(len(counts)):
            continue
        metrics[f"pong/{who}opponent_error_px@{h}"] = float(errors.opponent[counts, h - 1].mean())
        metrics[f"pong/{who}opponent_error_max_px@{h}"] = float(errors.opponent[counts, h - 1].max())
        metrics[f"pong/{who}ball_error_px@{h}"] = float(np.median(errors.ball[counts, h - 1]))
        metrics[f"pong/{who}ball_error_p90_px@{h}"] = float(np.quantile(errors.ball[counts, h - 1], 0.9))
    longest = max(horizons)
    worst = errors.player[:, :longest].mean(0).max()
    return {**metrics, f"pong/{who}paddle_error_worst_px@{longest}": float(worst)}


def valid_horizon(errors: PongErrors) -> int:
    """Return the largest h with 90 % of the balls within one ball of the truth at every horizon up to h."""
    p90 = ball_quantile(errors, 0.9)
    beyond = np.flatnonzero(~(p90 <= ONE_BALL))
    return int(beyond[0]) if len(beyond) else len(p90)


def ball_quantile(errors: PongErrors, share: float) -> Float64[np.ndarray, "t"]:
    """Return a quantile of the ball error at every horizon, cut where too few games have not served."""
    counts = errors.foreseeable.sum(0) >= enough(len(errors.ball))
    length = len(counts) if counts.all() else int(np.argmin(counts))
    foreseeable, ball = errors.foreseeable, errors.ball
    return np.array([np.quantile(ball[foreseeable[:, t], t], share) for t in range(length)], np.float64)


def enough(games: int) -> int:
    """Return how many games a statistic needs."""
    return max(FEWEST, math.ceil(ENOUGH * games))


def _errors(
    player_y: np.ndarray, opponent_y: np.ndarray, ball_x: np.ndarray, ball_y: np.ndarray, truth: PongTruth
) -> PongErrors:
    true = truth.future[:, : player_y.shape[1]]
    ball = np.hypot(ball_x - true[..., BALL_X], ball_y - true[..., BALL_Y])
    return PongErrors(
        _capped(np.abs(player_y - true[..., PLAYER_Y]), LOST_PADDLE),
        _capped(np.abs(opponent_y - true[..., OPPONENT_Y]), LOST_PADDLE),
        _capped(ball, LOST_BALL),
        truth.before_serve[:, : player_y.shape[1]],
    )


def _capped(error: np.ndarray, lost: float) -> Float64[np.ndarray, "b t"]:
    return np.minimum(np.where(np.isnan(error), lost, error), lost).astype(np.float64)
