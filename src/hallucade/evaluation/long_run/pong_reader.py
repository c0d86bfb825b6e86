"""What the tracker reads off a long dream of Pong: the ball's number, and the paddle that the keys alone decide."""

import numpy as np
from jaxtyping import Float64

from hallucade.evaluation.game_check.fidelity import LOST_PADDLE
from hallucade.evaluation.game_check.pong_tracker import track
from hallucade.evaluation.long_run.readings import Chunk, Values
from hallucade.games.pong import PLAYER_Y

ONE_BALL, PADDLE, COPIED_PADDLE, CRISP = "one_ball", "paddle_error_px", "copy_paddle_error_px", "ball_sharpness"


class PongReader:
    """Whether there is exactly one ball, how crisp it is, and how far the player's paddle is off.

    The true game goes on under the same keys, so its paddle is right for ever; its ball is not, once a serve was drawn.
    """

    names: tuple[str, ...] = (ONE_BALL, PADDLE, COPIED_PADDLE, CRISP)

    def __init__(self, states: Float64[np.ndarray, "g n s"], last: Float64[np.ndarray, "g s"]) -> None:
        self._true = states[..., PLAYER_Y]
        self._last = last[:, None, PLAYER_Y]

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        seen = track(dream)
        true = self._true[:, first : first + dream.shape[1]]
        error = np.nan_to_num(np.abs(seen.player_y - true), nan=LOST_PADDLE)
        return {
            ONE_BALL: seen.one_ball.astype(np.float32),
            PADDLE: error,
            COPIED_PADDLE: np.abs(self._last - true),
            CRISP: seen.ball_sharpness,
        }
