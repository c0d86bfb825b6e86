"""Bots that know Pong's rules: one that always gets there, one that often does not."""

import numpy as np
from jaxtyping import Float32, Float64, UInt64

from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.pong import BALL_VX, BALL_X, BALL_Y, CENTRE, PLAYER_CONTACT_X, PLAYER_Y, PongConfig, arrival_y

SPEED = PongConfig().player_speed
MAX_AIM = 2.2  # court units off the paddle's centre, leaving a margin to the 3.5 that still touch
SLIDE_FRAMES = 6.0  # before the contact


class GoodPongBot:
    """Goes where the ball will arrive, and hits it off every part of the paddle, at rest and moving both ways."""

    def __init__(self, streams: UInt64[np.ndarray, "n"]) -> None:
        self._streams = streams
        self._turns = np.zeros(len(streams), np.int64)  # how often the ball changed direction: one aim a turn
        self._coming = np.zeros(len(streams), np.bool_)

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        coming = state[:, BALL_VX] > 0
        self._turns += coming != self._coming
        self._coming = coming
        aim = MAX_AIM * (2 * uniform(random_bits(self._streams, self._turns)) - 1)
        slide = np.floor(3 * uniform(random_bits(self._streams, self._turns, 1))) - 1
        frames = (PLAYER_CONTACT_X - state[:, BALL_X]) / np.where(coming, state[:, BALL_VX], 1)
        # A target that moves with the paddle's own speed has the paddle moving at the contact, for spin.
        run_up = slide * SPEED * np.clip(frames, 0, SLIDE_FRAMES)
        target = np.where(coming, arrival_y(state) + aim - run_up, CENTRE + aim)
        return _toward(target, state[:, PLAYER_Y], SPEED / 2)


class WeakPongBot:
    """Runs after the ball when it is already near, and not quite to the right place."""

    def __init__(self, streams: UInt64[np.ndarray, "n"], error: float = 5.0, notices_at: float = CENTRE) -> None:
        self._streams, self._error, self._notices_at = streams, error, notices_at
        self._frame = 0

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        share = uniform(random_bits(self._streams, self._frame // 16))  # another mistake every half second
        self._frame += 1
        target = state[:, BALL_Y] + self._error * (2 * share - 1)
        awake = (state[:, BALL_VX] > 0) & (state[:, BALL_X] > self._notices_at)
        return _toward(target, state[:, PLAYER_Y], 1.5) * awake[:, None].astype(np.float32)


def _toward(
    target: Float64[np.ndarray, "n"], paddle_y: Float64[np.ndarray, "n"], tolerance: float
) -> Float32[np.ndarray, "n c"]:
    """Return up (1), down (2), or stay (0) within `tolerance`."""
    distance = target - paddle_y
    return np.where(np.abs(distance) <= tolerance, 0, np.where(distance < 0, 1, 2))[:, None].astype(np.float32)
