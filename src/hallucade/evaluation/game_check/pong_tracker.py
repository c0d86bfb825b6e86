"""Reads Pong's state back from pixels: paddles, ball, how many balls there are and how well they are drawn.

A pixel is a mixture of known colours (see `hallucade.games.pong_court`): in each half of the court background, ball and
that side's paddle, so its three channels give the share of each by least squares. (All objects at once could be told
apart too, but the ball's white is nearly the sum of the paddles' colours: noise would grow tenfold.) Shares are used
with their sign: clipping them would turn a dream's noise into mass that pulls every centroid toward the middle.
Calibrated on simulator frames only; ``tracker_floor`` measures its error there.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from scipy import ndimage

from hallucade.games.pong import BALL_X, BALL_Y, OPPONENT_Y, PLAYER_Y, PongConfig, VectorPong
from hallucade.games.pong_court import (
    BACKGROUND,
    BALL_HALF,
    COLOURS,
    COURT,
    OPPONENT_X,
    PADDLE_HEIGHT,
    PADDLE_WIDTH,
    PLAYER_X,
)

BALL_AREA = (2 * BALL_HALF) ** 2
PADDLE_AREA = PADDLE_HEIGHT * PADDLE_WIDTH
SHARE = 0.2  # of a pixel; what is fainter belongs to no ball
MARGIN = 1.0  # court units around an object that still count to its centroid: its partly covered pixels
MASS_TOLERANCE = 0.5  # a ball or paddle may have between half and one and a half times its true area
FAINT = 0.1  # of the true mass; a paddle fainter than this is nowhere
OCCLUDED = 0.1  # share of ball in a row of the paddle from which the row says nothing about the paddle
SEARCH, FIT_STEPS = 16, 3  # for a paddle that is partly hidden: places tried a pixel, then refinements
CHUNK_PIXELS = 2**20  # read at once; bounds memory at about 50 MB


@dataclass(frozen=True)
class PongTrack:
    """What the pictures show, in court units of 24 (one pixel of 24); NaN where an object is not to be seen at all."""

    player_y: Float32[np.ndarray, "*lead"]
    opponent_y: Float32[np.ndarray, "*lead"]
    ball_x: Float32[np.ndarray, "*lead"]  # of the largest ball
    ball_y: Float32[np.ndarray, "*lead"]
    balls: Int64[np.ndarray, "*lead"]
    ball_mass: Float32[np.ndarray, "*lead"]  # of the largest ball, 1 is the true area
    ball_sharpness: Float32[np.ndarray, "*lead"]  # 0.5 to 1 for a crisp ball, its share^2 per area; lower is blurred
    player_there: Bool[np.ndarray, "*lead"]
    opponent_there: Bool[np.ndarray, "*lead"]

    @property
    def one_ball(self) -> Bool[np.ndarray, "*lead"]:
        """Where there is exactly one ball."""
        return self.balls == 1

    @property
    def complete(self) -> Bool[np.ndarray, "*lead"]:
        """Where both paddles and exactly one ball are to be seen."""
        return self.one_ball & self.player_there & self.opponent_there

    def shaped(self, lead: list[int]) -> "PongTrack":
        """Return the same frames with other leading axes."""
        return PongTrack(**{name: values.reshape(lead) for name, values in vars(self).items()})

    def cut(self, start: int, stop: int | None = None) -> "PongTrack":
        """Return the frames from `start` up to `stop` of a track `b t`."""
        return PongTrack(**{name: values[:, start:stop] for name, values in vars(self).items()})


def track(frames: UInt8[np.ndarray, "*lead h w 3"]) -> PongTrack:
    """Track every frame on its own.

    Raises:
        ValueError: pictures that are not square, which no Pong is.
    """
    *lead, h, w, _ = frames.shape
    if h != w:
        raise ValueError(f"frames are {h}x{w} pixels; Pong's court is square")
    flat = frames.reshape(-1, h, w, 3)
    chunk = max(CHUNK_PIXELS // (h * w), 1)
    parts = [_track_chunk(flat[i : i + chunk]) for i in range(0, len(flat), chunk)]
    return join_tracks(parts, axis=0).shaped(lead)


def join_tracks(tracks: list[PongTrack], axis: int) -> PongTrack:
    """Return several tracks as one, end to end along `axis`."""
    return PongTrack(**{name: np.concatenate([getattr(t, name) for t in tracks], axis) for name in vars(tracks[0])})


def tracker_floor(config: PongConfig | None = None, frames: int = 4096, seed: int = 0) -> dict[str, float]:
    """Measure the tracker's own error on frames of random states.

    Returns:
        Mean and largest error in court units of the ball and of the paddles, and the share of frames in which it does
        not find exactly one ball and both paddles.
    """
    games = (config or PongConfig()).build()
    states = _random_states(games, frames, np.random.default_rng(seed))
    games.set_state(states)
    found = track(games.frames())
    ball = np.hypot(found.ball_x - states[:, BALL_X], found.ball_y - states[:, BALL_Y])
    paddle = np.abs([found.player_y - states[:, PLAYER_Y], found.opponent_y - states[:, OPPONENT_Y]])
    return {
        "ball_mean": float(ball.mean()),
        "ball_max": float(ball.max()),
        "paddle_mean": float(paddle.mean()),
        "paddle_max": float(paddle.max()),
        "incomplete_share": float(1 - found.complete.mean()),
    }


def _random_states(games: VectorPong, count: int, rng: np.random.Generator) -> np.ndarray:
    games.reset(np.zeros(count, np.int64))
    states = games.get_state()
    half = PADDLE_HEIGHT / 2
    states[:, [OPPONENT_Y, PLAYER_Y]] = rng.uniform(half, COURT - half, (count, 2))
    states[:, [BALL_X, BALL_Y]] = rng.uniform(BALL_HALF, COURT - BALL_HALF, (count, 2))
    return states


def _track_chunk(frames: UInt8[np.ndarray, "n h w 3"]) -> PongTrack:
    middle = frames.shape[2] // 2
    left, right = _shares(frames[:, :, :middle], "opponent"), _shares(frames[:, :, middle:], "player")
    ball = np.concatenate([left[..., 0], right[..., 0]], 2)
    balls, x, y = _largest_ball(ball)
    x, y, mass, sharpness = _measure_ball(ball, x, y)
    opponent_y, opponent_there = _paddle(left, OPPONENT_X[0])
    player_y, player_there = _paddle(right, PLAYER_X[0] - COURT / 2)
    return PongTrack(player_y, opponent_y, x, y, balls, mass, sharpness, player_there, opponent_there)


def _shares(frames: UInt8[np.ndarray, "n h w 3"], paddle: str) -> Float32[np.ndarray, "n h w 2"]:
    """Return how much of each pixel is ball, and how much is paddle."""
    background = np.array(BACKGROUND, np.float32)
    objects = np.array([COLOURS["ball"], COLOURS[paddle]], np.float32) - background
    return (frames.astype(np.float32) - background) @ np.linalg.pinv(objects)


def _largest_ball(
    share: Float32[np.ndarray, "n h w"],
) -> tuple[Int64[np.ndarray, "n"], Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Count the balls of each frame and return the centre of the largest connected patch, NaN if there is none.

    A patch of about 1 true area is a ball, of about 2 are two that touch; less than half an area is none.
    """
    n, h, _ = share.shape
    structure = np.zeros((3, 3, 3), np.bool_)
    structure[1] = True  # diagonal neighbours touch, frames do not
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(share > SHARE, structure))
    frame, row, column = np.nonzero(labels)
    patch = labels[frame, row, column] - 1
    weight = share[frame, row, column]
    mass, by_x, by_y = (np.bincount(patch, weight * v, count) for v in (1.0, column + 0.5, row + 0.5))
    owner = np.zeros(count, np.int64)
    owner[patch] = frame
    area = mass * (COURT / h) ** 2 / BALL_AREA
    balls = np.bincount(owner, np.floor(area + MASS_TOLERANCE), n).astype(np.int64)
    centre = np.full((2, n), np.nan, np.float32)
    order = np.argsort(mass, kind="stable")  # the largest patch of a frame is written last
    centre[:, owner[order]] = (np.stack([by_x, by_y]) / mass)[:, order] * (COURT / h)
    return balls, centre[0], centre[1]


def _measure_ball(
    share: Float32[np.ndarray, "n h w"], x: Float32[np.ndarray, "n"], y: Float32[np.ndarray, "n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Refine the centre with the faint border pixels that the patch left out; return x, y, mass and sharpness."""
    size = share.shape[2]
    for _ in range(2):
        window = _ball_window(share, x, y)
        mass = np.maximum(window.sum((1, 2)), SHARE)
        x = np.where(np.isnan(x), x, window.sum(1) @ _middles(size) / mass)
        y = np.where(np.isnan(y), y, window.sum(2) @ _middles(size) / mass)
    window, area = _ball_window(share, x, y), (COURT / size) ** 2 / BALL_AREA
    return x, y, window.sum((1, 2)) * area, np.einsum("nhw,nhw->n", window, window) * area


def _ball_window(
    share: Float32[np.ndarray, "n h w"], x: Float32[np.ndarray, "n"], y: Float32[np.ndarray, "n"]
) -> Float32[np.ndarray, "n h w"]:
    """Return what is near a ball at x, y: nothing, where they are NaN."""
    size = share.shape[2]
    return share * _near(y, BALL_HALF, size)[:, :, None] * _near(x, BALL_HALF, size)[:, None, :]


def _near(centre: Float32[np.ndarray, "n"], half: float, size: int) -> Float32[np.ndarray, "n size"]:
    """Mark the pixels along one axis that an object at `centre` touches, and `MARGIN` more."""
    return (np.abs(_middles(size) - centre[:, None]) <= half + max(MARGIN, COURT / size)).astype(np.float32)


def _middles(size: int) -> Float32[np.ndarray, "size"]:
    """Return the middle of each pixel along one axis, in court units."""
    return (np.arange(size, dtype=np.float32) + 0.5) * np.float32(COURT / size)


def _paddle(shares: Float32[np.ndarray, "n h w 2"], x: float) -> tuple[Float32[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Return a paddle's centre and whether it is there: whole, and nowhere else in its lane.

    Args:
        shares: of ball and paddle, in one half of the court.
        x: the paddle's left side, court units from the left of this half.
    """
    unit = COURT / shares.shape[1]
    lane = shares[:, :, int((x - MARGIN) / unit) : int(np.ceil((x + PADDLE_WIDTH + MARGIN) / unit))]
    rows = lane[..., 1].sum(2) * np.float32(unit / PADDLE_WIDTH)  # 1 in a row of pixels that is all paddle
    y, _ = _centroid(rows, _fullest_stretch(rows))
    y, mass = _centroid(rows, y)
    hidden = lane[..., 0].max(2) > OCCLUDED
    partly = np.flatnonzero((hidden & (_near(y, PADDLE_HEIGHT / 2, rows.shape[1]) > 0)).any(1))
    y[partly] = _fit_edges(rows[partly], ~hidden[partly], PADDLE_HEIGHT / unit) * np.float32(unit)
    elsewhere = rows.sum(1) * unit / PADDLE_HEIGHT - mass
    there = (np.abs(mass - 1) <= MASS_TOLERANCE) & (elsewhere <= MASS_TOLERANCE)
    return np.where(mass > FAINT, y, np.float32(np.nan)), there


def _centroid(
    rows: Float32[np.ndarray, "n h"], y: Float32[np.ndarray, "n"]
) -> tuple[Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Return the centre of what is within a paddle's reach of `y`, and its mass, 1 for a whole paddle."""
    size = rows.shape[1]
    window = rows * _near(y, PADDLE_HEIGHT / 2, size)
    mass = window.sum(1)
    return window @ _middles(size) / np.maximum(mass, SHARE), mass * np.float32(COURT / size / PADDLE_HEIGHT)


def _fullest_stretch(rows: Float32[np.ndarray, "n h"]) -> Float32[np.ndarray, "n"]:
    """Return the middle of the paddle-high stretch of rows that holds the most of the paddle's colour."""
    size = rows.shape[1]
    length = round(PADDLE_HEIGHT * size / COURT)
    sums = np.cumsum(np.concatenate([np.zeros_like(rows[:, :1]), rows], 1), 1)
    first = np.argmax(sums[:, length:] - sums[:, :-length], 1)
    return (_middles(size)[first] + _middles(size)[first + length - 1]) / 2


def _fit_edges(
    rows: Float32[np.ndarray, "n h"], seen: Bool[np.ndarray, "n h"], height: float
) -> Float32[np.ndarray, "n"]:
    """Fit a bar of known height, in pixels, to the rows that no ball hides: by search, then Gauss-Newton."""
    size = rows.shape[1]
    weight = seen.astype(np.float32)
    places = np.linspace(height / 2, size - height / 2, SEARCH * size, dtype=np.float32)
    bars, _ = _bar(places, height, size)
    y = places[np.argmin(weight @ np.square(bars).T - 2 * (weight * rows) @ bars.T, axis=1)]
    for _ in range(FIT_STEPS):
        bar, slope = _bar(y, height, size)
        slope *= weight
        y = y + (slope * (rows - bar)).sum(1) / np.maximum(np.square(slope).sum(1), 1)
        y = np.clip(y, height / 2, size - height / 2)
    return y


def _bar(
    y: Float32[np.ndarray, "k"], height: float, size: int
) -> tuple[Float32[np.ndarray, "k h"], Float32[np.ndarray, "k h"]]:
    """Return how much of each row a bar around `y` covers, and how that changes with `y`, in pixels."""
    row = np.arange(size, dtype=np.float32)
    top, bottom = (y - height / 2)[:, None], (y + height / 2)[:, None]
    covered = np.clip(np.minimum(bottom, row + 1) - np.maximum(top, row), 0, 1)
    return covered, (np.floor(bottom) == row).astype(np.float32) - (np.floor(top) == row)
