"""Does the player's paddle obey: the right way, as far, at once?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from hallucade.evaluation.game_check.dreaming import Counted, dream_batches
from hallucade.evaluation.game_check.pong_tracker import track
from hallucade.evaluation.game_check.pong_truth import PongTruth, simulate
from hallucade.games.pong import PLAYER_Y
from hallucade.rollout import World

STAY, UP, DOWN = 0, 1, 2  # rows of Pong's action space
FREE = 0.99  # share of the full distance that the true paddle must cover, so that no wall stops it
MOVED = 0.25  # share of the true distance from which a dreamed paddle has moved at all
LAGS = range(-2, 9)  # frames
HEARD = 0.5  # correlation below which the paddle answers nothing, so that a lag means nothing
HOLD = (3, 9)  # frames for which an action of the switching sequence is held, drawn


@dataclass(frozen=True)
class PaddleResponse:
    """Paddle positions relative to the last real frame, in court units, downward positive."""

    held: Float64[np.ndarray, "2 g k"]  # dreamed under up and under down
    held_truth: Float64[np.ndarray, "2 g k"]
    still: Float64[np.ndarray, "g k"]  # dreamed under stay
    switching: Float64[np.ndarray, "g n"]
    switching_truth: Float64[np.ndarray, "g n"]

    def metrics(self) -> dict[str, float]:
        """Return direction (share), gain, drift under stay (court units), lag (frames) and its correlation."""
        dreamed, true = _second_half(self.held), _second_half(self.held_truth)
        full = np.abs(self.held_truth[..., -1])
        free = full >= FREE * full.max()  # no wall stops the true paddle
        metrics = {"pong/response_drift_px": float(np.abs(self.still[:, -1]).mean())}
        if full.max() > 0:
            dreamed, true = dreamed[free], true[free]
            metrics["pong/response_direction"] = float((dreamed * np.sign(true) >= MOVED * np.abs(true)).mean())
            metrics["pong/response_gain"] = float((dreamed * true).sum() / np.square(true).sum())
        correlation = self.correlation()
        best = int(np.argmax(correlation))
        metrics["pong/response_correlation"] = float(correlation[best])
        if correlation[best] >= HEARD:
            metrics["pong/response_lag"] = float(LAGS[best])
        return metrics

    def correlation(self) -> Float64[np.ndarray, "lags"]:
        """Correlate dreamed and true paddle velocity at every lag in `LAGS`, over all games."""
        dreamed, true = np.diff(self.switching, axis=1), np.diff(self.switching_truth, axis=1)
        return np.array([_correlation(*_shifted(dreamed, true, lag)) for lag in LAGS], np.float64)


def paddle_response(
    world: World, truth: PongTruth, hold: int, switching: int, batch: int, seed: int, counted: Counted
) -> PaddleResponse:
    """Hold up, down and stay for `hold` frames from each prompt, then switch at random for `switching` frames."""
    actions = [np.full((truth.count, hold, 1), held, np.float32) for held in (UP, DOWN, STAY)]
    held = np.stack([_dreamed(world, truth, rows, batch, seed, counted) for rows in actions])
    held_truth = np.stack([_true(truth, rows) for rows in actions[:2]])
    rows = _switching_actions(truth.count, switching, np.random.default_rng(seed))
    return PaddleResponse(
        held[:2], held_truth, held[2], _dreamed(world, truth, rows, batch, seed, counted), _true(truth, rows)
    )


def _dreamed(
    world: World, truth: PongTruth, actions: Float32[np.ndarray, "g n 1"], batch: int, seed: int, counted: Counted
) -> Float64[np.ndarray, "g n"]:
    parts = [
        track(frames).player_y for _, frames in dream_batches(world, truth.prompts(), actions, batch, seed, counted)
    ]
    moved = np.concatenate(parts) - truth.last[:, None, PLAYER_Y]
    return np.nan_to_num(moved, nan=0.0).astype(np.float64)  # a paddle that is not there went nowhere


def _true(truth: PongTruth, actions: Float32[np.ndarray, "g n 1"]) -> Float64[np.ndarray, "g n"]:
    return simulate(truth.rules, truth.last, actions)[..., PLAYER_Y] - truth.last[:, None, PLAYER_Y]


def _second_half(path: Float64[np.ndarray, "... k"]) -> Float64[np.ndarray, "..."]:
    """Return the way in the second half of a hold: a late start is the lag's business and not the gain's."""
    return path[..., -1] - path[..., path.shape[-1] // 2 - 1]


def _switching_actions(games: int, frames: int, rng: np.random.Generator) -> Float32[np.ndarray, "g n 1"]:
    rows = np.empty((games, frames, 1), np.float32)
    for game in range(games):
        holds = rng.integers(*HOLD, frames)
        rows[game, :, 0] = np.repeat(rng.integers(0, 3, frames), holds)[:frames]
    return rows


def _shifted(dreamed: np.ndarray, true: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    n = true.shape[1] - abs(lag)
    return (dreamed[:, lag:], true[:, :n]) if lag >= 0 else (dreamed[:, :n], true[:, -lag:])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    norm = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0
