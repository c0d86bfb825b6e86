"""The Pong court: its geometry, and how it is drawn with sub-pixel coverage.

The court is 24 x 24 units whatever the size of the picture, x grows to the right and y downward. A pixel is
``background + sum_k coverage_k * (colour_k - background)`` over the ball and the two paddles, rounded. Three objects,
three linearly independent colours: the coverage, and so every position, can be read back from the pixels.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64, UInt8

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
    low: Float64[np.ndarray, "#n"], high: Float64[np.ndarray, "#n"], pixels: Int64[np.ndarray, "#n k"]
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
        self._patch = np.arange(math.ceil(2 * BALL_HALF * self.scale) + 1)
        self._opponent = _Paddle(OPPONENT_X, "opponent", size)
        self._player = _Paddle(PLAYER_X, "player", size)

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
            out[part] = self._background
            self._opponent.draw(opponent_y[part], out[part])
            self._player.draw(player_y[part], out[part])
            self._draw_ball(opponent_y[part], player_y[part], ball_x[part], ball_y[part], out[part])

    def _draw_ball(
        self,
        opponent_y: Float64[np.ndarray, "n"],
        player_y: Float64[np.ndarray, "n"],
        x: Float64[np.ndarray, "n"],
        y: Float64[np.ndarray, "n"],
        out: UInt8[np.ndarray, "n h w 3"],
    ) -> None:
        """Draw the patch around the ball; it hides what is behind it of a paddle."""
        rows, in_rows = self._span(y)
        columns, in_columns = self._span(x)
        ball = in_rows[:, :, None] * in_columns[:, None, :]
        pixels = BACKGROUND + ball[..., None] * _contrast("ball")
        for paddle, paddle_y in ((self._opponent, opponent_y), (self._player, player_y)):
            near = np.flatnonzero((columns[:, -1] >= paddle.first) & (columns[:, 0] < paddle.last))
            visible = paddle.beside(x[near], y[near], paddle_y[near], rows[near], columns[near])
            pixels[near] += visible[..., None] * paddle.contrast
        game = np.arange(len(x))[:, None, None]
        out[game, rows[:, :, None], columns[:, None, :]] = _rounded(pixels)

    def _span(self, centre: Float64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "n k"], Float64[np.ndarray, "n k"]]:
        """Return the pixels along one axis that the ball may touch, and their coverage."""
        low, high = (centre - BALL_HALF) * self.scale, (centre + BALL_HALF) * self.scale
        first = np.clip(np.floor(low).astype(np.int64), 0, self.size - len(self._patch))
        pixels = first[:, None] + self._patch
        return pixels, coverage(low, high, pixels)


class _Paddle:
    """One paddle: its columns are fixed."""

    def __init__(self, x: tuple[float, float], name: str, size: int) -> None:
        self.scale = size / COURT
        self.x = np.array([x[0]]), np.array([x[1]])
        self.first, self.last = math.floor(x[0] * self.scale), math.ceil(x[1] * self.scale)
        self.contrast = _contrast(name)
        self._pixels = np.arange(size)[None]
        columns = coverage(*self._scaled(*self.x), self._pixels[:, self.first : self.last])[0]
        self._paint = columns[:, None] * self.contrast

    def draw(self, y: Float64[np.ndarray, "n"], out: UInt8[np.ndarray, "n h w 3"]) -> None:
        rows = coverage(*self._scaled(*_extent(y)), self._pixels)
        out[:, :, self.first : self.last] = _rounded(BACKGROUND + rows[:, :, None, None] * self._paint)

    def beside(
        self,
        ball_x: Float64[np.ndarray, "m"],
        ball_y: Float64[np.ndarray, "m"],
        y: Float64[np.ndarray, "m"],
        rows: Int64[np.ndarray, "m k"],
        columns: Int64[np.ndarray, "m k"],
    ) -> Float64[np.ndarray, "m k k"]:
        """Return the paddle's coverage of a patch, less what is behind the ball: the overlap is a rectangle too."""
        top, bottom = _extent(y)
        whole = self._rectangle(*self.x, top, bottom, rows, columns)
        left, right = np.maximum(self.x[0], ball_x - BALL_HALF), np.minimum(self.x[1], ball_x + BALL_HALF)
        top, bottom = np.maximum(top, ball_y - BALL_HALF), np.minimum(bottom, ball_y + BALL_HALF)
        return whole - self._rectangle(left, right, top, bottom, rows, columns)

    def _rectangle(
        self,
        left: Float64[np.ndarray, "#m"],
        right: Float64[np.ndarray, "#m"],
        top: Float64[np.ndarray, "m"],
        bottom: Float64[np.ndarray, "m"],
        rows: Int64[np.ndarray, "m k"],
        columns: Int64[np.ndarray, "m k"],
    ) -> Float64[np.ndarray, "m k k"]:
        in_rows = coverage(*self._scaled(top, bottom), rows)
        return in_rows[:, :, None] * coverage(*self._scaled(left, right), columns)[:, None, :]

    def _scaled(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return low * self.scale, high * self.scale


def _extent(y: Float64[np.ndarray, "n"]) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    return y - PADDLE_HEIGHT / 2, y + PADDLE_HEIGHT / 2


def _contrast(name: str) -> Float64[np.ndarray, "3"]:
    return np.subtract(COLOURS[name], BACKGROUND, dtype=np.float64)


def _rounded(pixels: Float64[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return (pixels + 0.5).astype(np.uint8)
