"""The Pong court: its geometry, and how it is drawn with sub-pixel coverage.

The court is 24 x 24 units whatever the size of the picture, x grows to the right and y downward. A pixel is
``background + sum_k coverage_k * (colour_k - background)`` over the ball and the two paddles, rounded. Three objects,
three linearly independent colours: the coverage, and so every position, can be read back from the pixels.
"""

import math

import numpy as np
from jaxtyping import Float64, UInt8

COURT = 24.0  # units, both sides
BALL_HALF = 1.0  # half the side of the square ball
PADDLE_HEIGHT = 5.0
PADDLE_WIDTH = 1.0
OPPONENT_X = (1.0, 2.0)  # the left paddle
PLAYER_X = (22.0, 23.0)  # the right paddle

BACKGROUND = (6, 24, 24)
COLOURS = {"ball": (240, 240, 240), "player": (0, 220, 220), "opponent": (235, 120, 20)}

CACHE_BYTES = 2**20  # pictures drawn at a time, so that they stay in the processor's cache


def coverage(
    low: Float64[np.ndarray, "n"], high: Float64[np.ndarray, "n"], pixels: Float64[np.ndarray, "#n k"]
) -> Float64[np.ndarray, "n k"]:
    """Return how much of each pixel [i, i + 1] lies within [low, high], all in pixels."""
    covered = np.minimum(high[:, None], pixels + 1)
    covered -= np.maximum(low[:, None], pixels)
    return np.maximum(covered, 0, out=covered)


class Canvas:
    """Draws n courts of `size` x `size` pixels by touching only what is not background."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size / COURT  # pixels a unit
        self._background = np.full((size, size, 3), BACKGROUND, np.uint8)
        self._pixels = np.arange(size, dtype=np.float64)[None]
        self._patch = np.arange(math.ceil(2 * BALL_HALF * self.scale) + 1)
        self._opponent = _Paddle(OPPONENT_X, "opponent", self.scale, self._pixels)
        self._player = _Paddle(PLAYER_X, "player", self.scale, self._pixels)

    def draw(
        self,
        opponent_y: Float64[np.ndarray, "n"],
        player_y: Float64[np.ndarray, "n"],
        ball_x: Float64[np.ndarray, "n"],
        ball_y: Float64[np.ndarray, "n"],
        out: UInt8[np.ndarray, "n h w 3"],
    ) -> None:
        """Draw into `out`; positions are centres in court units."""
        games = max(1, CACHE_BYTES // self._background.nbytes)
        for start in range(0, len(out), games):
            part = slice(start, start + games)
            opponent, player = self._rows(opponent_y[part]), self._rows(player_y[part])
            out[part] = self._background
            self._opponent.draw(opponent, out[part])
            self._player.draw(player, out[part])
            self._draw_ball(opponent, player, ball_x[part], ball_y[part], out[part])

    def _rows(self, y: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n h"]:
        half = PADDLE_HEIGHT / 2
        return coverage((y - half) * self.scale, (y + half) * self.scale, self._pixels)

    def _draw_ball(
        self,
        opponent: Float64[np.ndarray, "n h"],
        player: Float64[np.ndarray, "n h"],
        x: Float64[np.ndarray, "n"],
        y: Float64[np.ndarray, "n"],
        out: UInt8[np.ndarray, "n h w 3"],
    ) -> None:
        """Draw the patch around the ball; where it overlaps a paddle, the ball covers first."""
        rows, in_rows = self._span(y)
        columns, in_columns = self._span(x)
        ball = in_rows[:, :, None] * in_columns[:, None, :]
        game = np.arange(len(x))[:, None]
        pixels = np.array(BACKGROUND) + ball[..., None] * _contrast("ball")
        for paddle, covered in ((self._opponent, opponent), (self._player, player)):
            near = np.flatnonzero((columns[:, -1] >= paddle.first) & (columns[:, 0] < paddle.last))
            behind = covered[game[near], rows[near]][:, :, None] * paddle.columns[columns[near]][:, None, :]
            pixels[near] += np.minimum(behind, 1 - ball[near])[..., None] * paddle.contrast
        out[game[:, :, None], rows[:, :, None], columns[:, None, :]] = _rounded(pixels)

    def _span(self, centre: Float64[np.ndarray, "n"]) -> tuple[np.ndarray, Float64[np.ndarray, "n k"]]:
        """Return the pixels along one axis that the ball may touch, and their coverage."""
        low, high = (centre - BALL_HALF) * self.scale, (centre + BALL_HALF) * self.scale
        first = np.clip(np.floor(low).astype(np.int64), 0, self.size - len(self._patch))
        pixels = first[:, None] + self._patch
        return pixels, coverage(low, high, pixels.astype(np.float64))


class _Paddle:
    """The fixed columns of one paddle."""

    def __init__(self, x: tuple[float, float], name: str, scale: float, pixels: np.ndarray) -> None:
        self.columns = coverage(np.array([x[0] * scale]), np.array([x[1] * scale]), pixels)[0]
        self.first, self.last = math.floor(x[0] * scale), math.ceil(x[1] * scale)
        self.contrast = _contrast(name)
        self._paint = self.columns[self.first : self.last, None] * self.contrast

    def draw(self, rows: Float64[np.ndarray, "n h"], out: UInt8[np.ndarray, "n h w 3"]) -> None:
        out[:, :, self.first : self.last] = _rounded(np.array(BACKGROUND) + rows[:, :, None, None] * self._paint)


def _contrast(name: str) -> np.ndarray:
    return np.subtract(COLOURS[name], BACKGROUND, dtype=np.float64)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return (pixels + 0.5).astype(np.uint8)
