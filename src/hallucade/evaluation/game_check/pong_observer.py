"""The perfect observer: what could be foretold from the prompt's pixels by one who knows the true physics.

It tracks the same real frames that a dream starts from, fits the ball's flight to them by simulating the true game
under the known actions, and plays on. Where it errs, the frames did not hold the answer.
"""

import numpy as np
from jaxtyping import Float64

from hallucade.evaluation.game_check.pong_tracker import PongTrack, track
from hallucade.evaluation.game_check.pong_truth import PongTruth, simulate
from hallucade.games.pong import (
    BALL_VX,
    BALL_VY,
    BALL_X,
    BALL_Y,
    BOTTOM,
    OPPONENT_Y,
    PLAYER_Y,
    STATE_NAMES,
    TOP,
    PongConfig,
)

FIT_STEPS = 12
NUDGE = 1e-3  # court units, for numerical slopes; smaller than the tracker's own error
UNKNOWN = (BALL_X, BALL_Y, BALL_VY)  # vx follows from the constant speed


def foretell(truth: PongTruth) -> Float64[np.ndarray, "b horizon s"]:
    """Return the states that the perfect observer expects after each prompt, under the true actions."""
    last = observe(truth)
    return simulate(truth.rules, last, truth.future_actions)


def observe(truth: PongTruth) -> Float64[np.ndarray, "b s"]:
    """Estimate the state at the last frame of each prompt from its frames and actions alone."""
    seen = track(truth.frames(0, truth.prompt_frames))
    actions = truth.actions[:, : truth.prompt_frames - 1]
    if truth.prompt_frames == 1:  # a single picture shows no velocity: the best guess is a ball at rest
        return _start(seen, truth.rules, np.zeros(truth.count), np.zeros(truth.count))
    first = _best_guess(seen, actions, truth.rules)
    first = _refined(first, seen, actions, truth.rules)
    return simulate(truth.rules, first, actions)[:, -1]


def _start(seen: PongTrack, rules: PongConfig, vx: np.ndarray, vy: np.ndarray) -> Float64[np.ndarray, "b s"]:
    """Return states at the prompt's first frame: positions as tracked, the given velocities."""
    states = np.zeros((len(vx), len(STATE_NAMES)))
    states[:, OPPONENT_Y], states[:, PLAYER_Y] = seen.opponent_y[:, 0], seen.player_y[:, 0]
    states[:, BALL_X], states[:, BALL_Y] = seen.ball_x[:, 0], seen.ball_y[:, 0]
    states[:, BALL_VX], states[:, BALL_VY] = vx, vy
    return states


def _best_guess(seen: PongTrack, actions: np.ndarray, rules: PongConfig) -> Float64[np.ndarray, "b s"]:
    """Try the velocity between every two frames, and its mirror images before a bounce; keep what explains the prompt.

    A prompt may hold a bounce anywhere; some pair of frames lies in the flight before or after it.
    """
    steps = np.stack([np.diff(seen.ball_x, axis=1), np.diff(seen.ball_y, axis=1)]).astype(np.float64)
    best, least = np.zeros((len(actions), len(STATE_NAMES))), np.full(len(actions), np.inf)
    for pair in range(steps.shape[2]):
        for mirror_x, mirror_y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            guess = _start(seen, rules, mirror_x * steps[0, :, pair], mirror_y * steps[1, :, pair])
            _keep_speed(guess, rules)
            error = np.square(_residual(guess, seen, actions, rules)).sum(1)
            better = error < least
            best[better], least[better] = guess[better], error[better]
    return best


def _refined(
    states: Float64[np.ndarray, "b s"], seen: PongTrack, actions: np.ndarray, rules: PongConfig
) -> Float64[np.ndarray, "b s"]:
    """Improve the ball's first position and direction by damped Gauss-Newton; steps that do not help are dropped."""
    damping = np.full(len(states), 1e-3)
    residual = _residual(states, seen, actions, rules)
    for _ in range(FIT_STEPS):
        slopes = np.stack(
            [(_residual(_nudged(states, k, rules), seen, actions, rules) - residual) / NUDGE for k in UNKNOWN], 2
        )
        normal = np.swapaxes(slopes, 1, 2) @ slopes + damping[:, None, None] * np.eye(len(UNKNOWN))
        change = -np.linalg.solve(normal, np.swapaxes(slopes, 1, 2) @ residual[..., None])[..., 0]
        proposed = states.copy()
        proposed[:, UNKNOWN] += change
        _keep_speed(proposed, rules)
        proposed_residual = _residual(proposed, seen, actions, rules)
        better = np.square(proposed_residual).sum(1) < np.square(residual).sum(1)
        states, residual = (
            np.where(better[:, None], proposed, states),
            np.where(better[:, None], proposed_residual, residual),
        )
        damping = np.where(better, damping / 5, damping * 5)
    return states


def _nudged(states: Float64[np.ndarray, "b s"], variable: int, rules: PongConfig) -> Float64[np.ndarray, "b s"]:
    nudged = states.copy()
    nudged[:, variable] += NUDGE
    _keep_speed(nudged, rules)
    return nudged


def _keep_speed(states: Float64[np.ndarray, "b s"], rules: PongConfig) -> None:
    """Put the ball back into the court and to its constant speed, its side kept."""
    limit = 0.99 * rules.ball_speed
    states[:, [BALL_X, BALL_Y]] = np.clip(states[:, [BALL_X, BALL_Y]], TOP, BOTTOM)
    states[:, BALL_VY] = np.clip(states[:, BALL_VY], -limit, limit)
    speed_x = np.sqrt(rules.ball_speed**2 - states[:, BALL_VY] ** 2)
    states[:, BALL_VX] = np.where(states[:, BALL_VX] < 0, -speed_x, speed_x)


def _residual(
    states: Float64[np.ndarray, "b s"], seen: PongTrack, actions: np.ndarray, rules: PongConfig
) -> Float64[np.ndarray, "b r"]:
    """Return how far the simulated ball is from the tracked one, over all frames of the prompt."""
    path = np.concatenate([states[:, None], simulate(rules, states, actions)], 1)
    return np.concatenate([path[..., BALL_X] - seen.ball_x, path[..., BALL_Y] - seen.ball_y], 1)
