"""The laws of Pong, checked on what the pictures show, frame after frame.

Tolerances leave room for the tracker, not for the dream: on real frames every rate is zero, or stands in the report.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from hallucade.evaluation.game_check.pong_tracker import PongTrack
from hallucade.games.pong import BOTTOM, CENTRE, OPPONENT_CONTACT_X, PLAYER_CONTACT_X, TOP, PongConfig

SLACK = 0.25  # court units (a frame): a third of the ball's step
SERVE_ZONE = 1.5  # court units around the middle in which a ball may appear after a point

RULES = {
    "one_ball": "exactly one ball",
    "paddles": "both paddles, whole",
    "ball_inside": "the ball within the walls",
    "ball_speed": "the ball's speed constant between contacts",
    "ball_straight": "the ball's path straight between contacts",
    "paddle_speed": "no paddle faster than its speed",
}


@dataclass(frozen=True)
class Violations:
    """Which rule each frame breaks; a law of motion that cannot be read for want of a ball is not broken."""

    broken: dict[str, Bool[np.ndarray, "b t"]]

    @property
    def any(self) -> Bool[np.ndarray, "b t"]:
        """Frames that break some rule."""
        return np.logical_or.reduce(list(self.broken.values()))

    def per_1000(self) -> dict[str, float]:
        """Return violations per 1,000 frames by rule, and of any rule."""
        rates = {name: 1000 * float(broken.mean()) for name, broken in self.broken.items()}
        return {**rates, "any": 1000 * float(self.any.mean())}

    def frames_to_first(self) -> float:
        """Return the median number of frames before the first violation: all of them, if half break no rule."""
        clean = ~np.logical_or.accumulate(self.any, axis=1)
        return float(np.median(clean.sum(1)))


def violations(seen: PongTrack, rules: PongConfig, lead: int) -> Violations:
    """Check every frame but the first `lead` (at least 2), which only start the motion: the real end of a prompt."""
    assert lead >= 2, f"lead is {lead}; the straight path needs two frames before the first that is judged"
    speed_wrong, bent = _flight(seen, rules)
    broken = {
        "one_ball": ~seen.one_ball,
        "paddles": ~(seen.player_there & seen.opponent_there),
        "ball_inside": _outside(seen.ball_x) | _outside(seen.ball_y),
        "ball_speed": speed_wrong,
        "ball_straight": bent,
        "paddle_speed": _too_fast(seen.player_y, rules.player_speed) | _too_fast(seen.opponent_y, rules.opponent_speed),
    }
    return Violations({name: frames[:, lead:] for name, frames in broken.items()})


def _flight(seen: PongTrack, rules: PongConfig) -> tuple[Bool[np.ndarray, "b t"], Bool[np.ndarray, "b t"]]:
    """Return where the ball moved at a wrong speed, and where it turned in the open."""
    x, y = seen.ball_x, seen.ball_y
    step_x, step_y = _steps(x), _steps(y)
    length = np.hypot(step_x, step_y)
    open_court = _in_the_open(x, y, rules.ball_speed) & _in_the_open(_before(x), _before(y), rules.ball_speed)
    too_far = (length > rules.ball_speed + SLACK) & ~_served(seen, rules)
    too_slow = (length < rules.ball_speed - SLACK) & open_court
    turn = np.hypot(_steps(step_x), _steps(step_y))
    flying = open_court & _in_the_open(_before(_before(x)), _before(_before(y)), rules.ball_speed)
    # NaN where there is no ball: comparisons are false, and the count of balls reports it.
    return too_far | too_slow, (turn > 2 * SLACK) & flying & ~too_far & ~_previous(too_far)


def _outside(position: np.ndarray) -> Bool[np.ndarray, "b t"]:
    return (position < TOP - SLACK) | (position > BOTTOM + SLACK)


def _in_the_open(x: np.ndarray, y: np.ndarray, reach: float) -> Bool[np.ndarray, "b t"]:
    """Mark a ball that cannot touch a wall or a paddle within one step."""
    between = (x > OPPONENT_CONTACT_X + reach) & (x < PLAYER_CONTACT_X - reach)
    return between & (y > TOP + reach) & (y < BOTTOM - reach)


def _served(seen: PongTrack, rules: PongConfig) -> Bool[np.ndarray, "b t"]:
    """Mark a ball that appears in the middle after one that was about to leave the court."""
    before = _before(seen.ball_x)
    leaving = (before < TOP + rules.ball_speed + SLACK) | (before > BOTTOM - rules.ball_speed - SLACK)
    return leaving & (np.hypot(seen.ball_x - CENTRE, seen.ball_y - CENTRE) <= SERVE_ZONE)


def _too_fast(y: np.ndarray, limit: float) -> Bool[np.ndarray, "b t"]:
    return np.abs(_steps(y)) > limit + SLACK


def _steps(values: Shaped[np.ndarray, "b t"]) -> Shaped[np.ndarray, "b t"]:
    return values - _before(values)


def _before(values: Shaped[np.ndarray, "b t"]) -> Shaped[np.ndarray, "b t"]:
    """Return each frame's predecessor; NaN before the first."""
    return np.concatenate([np.full_like(values[:, :1], np.nan), values[:, :-1]], 1)


def _previous(marks: Bool[np.ndarray, "b t"]) -> Bool[np.ndarray, "b t"]:
    return np.concatenate([np.zeros_like(marks[:, :1]), marks[:, :-1]], 1)
