"""Pong: two paddles, a ball with spin, and an opponent that is fallible by its limited speed and not by chance.

Units are court units (24 x 24, see `pong_court`) and frames (30 a second). The player is the right paddle. Everything
but the serve is smooth in the state, so a small error of a dream stays small; the serve is a pure function of the
game's seed and the number of serves before it.
"""

from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from hallucade.actions import ActionSpace, Choice
from hallucade.config import Config
from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.pong_court import BALL_HALF, COURT, OPPONENT_X, PADDLE_HEIGHT, PLAYER_X, Canvas
from hallucade.games.single_game import SingleGame

OPPONENT_CONTACT_X = OPPONENT_X[1] + BALL_HALF  # the ball's centre when it touches a paddle's face
PLAYER_CONTACT_X = PLAYER_X[0] - BALL_HALF
PADDLE_REACH = PADDLE_HEIGHT / 2 + BALL_HALF  # |ball_y - paddle_y| up to which they touch
TOP, BOTTOM = BALL_HALF, COURT - BALL_HALF  # the ball's centre when it touches a wall, or leaves at a side
PADDLE_TOP, PADDLE_BOTTOM = PADDLE_HEIGHT / 2, COURT - PADDLE_HEIGHT / 2
CENTRE = COURT / 2

PONG_ACTIONS = ActionSpace(
    choices=(
        Choice(name="move", options=("stay", "up", "down"), keys=((), ("ArrowUp", "KeyW"), ("ArrowDown", "KeyS"))),
    )
)
STATE_NAMES = (
    "opponent_y",
    "player_y",
    "ball_x",
    "ball_y",
    "ball_vx",
    "ball_vy",
    "serves",
    "seed",
    "opponent_points",
    "player_points",
)
OPPONENT_Y, PLAYER_Y, BALL_X, BALL_Y, BALL_VX, BALL_VY, SERVES, SEED, OPPONENT_POINTS, PLAYER_POINTS = range(10)
DIRECTION = np.array([0.0, -1.0, 1.0])  # of a paddle for stay, up, down


@dataclass(frozen=True, kw_only=True)
class PongConfig(Config):
    """Rules of one Pong; speeds in court units a frame.

    Raises:
        ValueError: a picture too small to see the paddles, or speeds that do not fit each other.
    """

    frame_size: int = 24  # pixels, both sides
    ball_speed: float = 0.75  # constant
    max_ball_vy: float = 0.55  # after a paddle contact
    max_serve_vy: float = 0.45
    player_speed: float = 0.6
    opponent_speed: float = 0.4
    offset_spin: float = 0.10  # vy a unit that the ball hits off the paddle's centre
    paddle_spin: float = 0.35  # vy a unit that the paddle moved in the frame of the contact

    def __post_init__(self) -> None:
        if self.frame_size < 12:
            raise ValueError(f"frame_size is {self.frame_size}; Pong needs at least 12 pixels to show the ball")
        if not 0 < self.ball_speed <= BALL_HALF:
            raise ValueError(f"ball_speed is {self.ball_speed}; choose one in (0, {BALL_HALF}] units a frame")
        for name in ("player_speed", "opponent_speed"):
            if not 0 <= getattr(self, name) < COURT:
                raise ValueError(f"{name} is {getattr(self, name)}; choose one in [0, {COURT}) units a frame")
        for name in ("max_ball_vy", "max_serve_vy"):
            if not 0 <= getattr(self, name) < self.ball_speed:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be below ball_speed {self.ball_speed}")

    def build(self) -> "VectorPong":
        """Build games without a start; ``reset`` or ``set_state`` starts them."""
        return VectorPong(self)


class VectorPong:
    """n games of Pong side by side; game i depends on its own seed and actions only.

    State variables: centres in court units, velocities in units a frame, then counts and the seed.
    """

    actions: ActionSpace = PONG_ACTIONS
    state_names: tuple[str, ...] = STATE_NAMES
    fps: float = 30.0

    def __init__(self, config: PongConfig | None = None) -> None:
        self.config = config or PongConfig()
        self._canvas = Canvas(self.config.frame_size)
        self._state = np.zeros((len(STATE_NAMES), 0))  # one contiguous row a variable

    def reset(self, seeds: Shaped[np.ndarray, "n"]) -> None:
        """Start n games, paddles and ball in the middle.

        Raises:
            ValueError: seeds that are no integers in [0, 2**53).
        """
        self._state = np.zeros((len(STATE_NAMES), len(seeds)))
        self._state[[OPPONENT_Y, PLAYER_Y]] = CENTRE
        self._state[SEED] = _checked_seeds(np.asarray(seeds))
        self._serve(np.arange(len(seeds)), toward=None)

    def get_state(self) -> Float64[np.ndarray, "n s"]:
        """Return the complete state of every game."""
        return self._state.T.copy()

    def set_state(self, state: Shaped[np.ndarray, "n s"]) -> None:
        """Continue every game from `state`; n may differ from before.

        Raises:
            ValueError: another number of variables, values that are not finite, or an impossible seed.
        """
        if state.ndim != 2 or state.shape[1] != len(STATE_NAMES):
            raise ValueError(f"Pong states have shape {state.shape}; pass n x {len(STATE_NAMES)}: {STATE_NAMES}")
        if not np.isfinite(state).all():
            game, column = np.argwhere(~np.isfinite(state))[0]
            raise ValueError(f"{STATE_NAMES[column]} of game {game} is {state[game, column]}; states must be finite")
        _checked_seeds(state[:, SEED])
        self._state = np.array(state.T, np.float64, order="C")

    def frames(self, out: UInt8[np.ndarray, "n h w 3"] | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw the current state of every game, into `out` if it is given."""
        size = self.config.frame_size
        if out is None:
            out = np.empty((self._state.shape[1], size, size, 3), np.uint8)
        opponent_y, player_y, ball_x, ball_y = self._state[: BALL_Y + 1]
        self._canvas.draw(opponent_y, player_y, ball_x, ball_y, out)
        return out

    def act(self, rows: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "n"]:
        """Advance every game one frame: the paddles move, then the ball.

        Returns:
            Rewards: 1 where the player scored, -1 where the opponent did.

        Raises:
            ValueError: not one row a game, or an action that does not exist.
        """
        rules = self.config
        if len(rows) != self._state.shape[1]:
            raise ValueError(f"{len(rows)} action rows for {self._state.shape[1]} games; pass one a game after reset")
        self.actions.validate(rows)
        player_step = rules.player_speed * DIRECTION[rows[:, 0].astype(np.int64)]
        opponent_step = self._state[BALL_Y] - self._state[OPPONENT_Y]
        opponent_step = np.clip(opponent_step, -rules.opponent_speed, rules.opponent_speed)
        player_moved = _move(self._state[PLAYER_Y], player_step)
        opponent_moved = _move(self._state[OPPONENT_Y], opponent_step)
        self._fly(opponent_moved, player_moved)
        return self._score()

    def _fly(self, opponent_moved: Float64[np.ndarray, "n"], player_moved: Float64[np.ndarray, "n"]) -> None:
        """Move every ball for one frame, off the face of a paddle where it meets one.

        The meeting is at the continuous time when the ball's edge reaches the face; touching corners count.
        """
        opponent_y, player_y, x, y, vx, vy = self._state[: BALL_VY + 1]
        to_player = vx > 0
        face = np.where(to_player, PLAYER_CONTACT_X, OPPONENT_CONTACT_X)
        paddle_y, moved = np.where(to_player, (player_y, player_moved), (opponent_y, opponent_moved))
        distance = face - x  # of the sign of vx until the ball has passed the face
        reached = np.flatnonzero((distance * vx >= 0) & (np.abs(distance) <= np.abs(vx)) & (vx != 0))
        time = distance[reached] / vx[reached]
        at_y, at_vy = _reflect(y[reached] + time * vy[reached], vy[reached])
        offset = at_y - paddle_y[reached]
        touches = np.abs(offset) <= PADDLE_REACH
        hit, left = reached[touches], np.ones(len(x))
        left[hit] -= time[touches]
        x[hit], y[hit] = face[hit], at_y[touches]
        vx[hit], vy[hit] = self._spin(vx[hit], at_vy[touches], offset[touches], moved[hit])
        x += left * vx
        y[:], vy[:] = _reflect(y + left * vy, vy)

    def _spin(
        self,
        vx: Float64[np.ndarray, "m"],
        vy: Float64[np.ndarray, "m"],
        offset: Float64[np.ndarray, "m"],
        moved: Float64[np.ndarray, "m"],
    ) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
        """Return the velocity after a contact, of the same speed."""
        rules = self.config
        vy = vy + rules.offset_spin * offset + rules.paddle_spin * moved
        vy = np.clip(vy, -rules.max_ball_vy, rules.max_ball_vy)
        return -np.sign(vx) * np.sqrt(rules.ball_speed**2 - vy**2), vy

    def _score(self) -> Float32[np.ndarray, "n"]:
        """Count points and serve to the side that conceded, before the ball is partly out of sight."""
        x = self._state[BALL_X]
        player_scored, opponent_scored = x < TOP, x > BOTTOM
        self._state[OPPONENT_POINTS] += opponent_scored
        self._state[PLAYER_POINTS] += player_scored
        rewards = player_scored.astype(np.float32) - opponent_scored.astype(np.float32)
        over = np.flatnonzero(rewards)
        self._serve(over, toward=-rewards[over].astype(np.float64))
        return rewards

    def _serve(self, games: np.ndarray, toward: np.ndarray | None) -> None:
        """Put the ball in the middle; `toward` is the sign of vx, drawn if None."""
        serves, seeds = self._state[SERVES, games], self._state[SEED, games]
        bits = random_bits(seeds.astype(np.int64), serves.astype(np.int64))
        if toward is None:
            toward = np.where(bits & np.uint64(1), 1.0, -1.0)
        vy = self.config.max_serve_vy * (2 * uniform(bits) - 1)
        self._state[BALL_X, games] = self._state[BALL_Y, games] = CENTRE
        self._state[BALL_VX, games] = toward * np.sqrt(self.config.ball_speed**2 - vy**2)
        self._state[BALL_VY, games] = vy
        self._state[SERVES, games] += 1


class Pong(SingleGame[VectorPong, np.int64]):
    """One game of Pong, as `hallucade/Pong-v0`: actions 0 stay, 1 up, 2 down; it goes on until it is truncated.

    Keyword arguments are the fields of `PongConfig`.
    """

    actions: ActionSpace = PONG_ACTIONS
    state_names: tuple[str, ...] = STATE_NAMES
    fps: float = 30.0

    def __init__(self, render_mode: str | None = None, **rules: Any) -> None:
        config = PongConfig(**rules)
        super().__init__(VectorPong(config), (config.frame_size, config.frame_size), render_mode)
        self.action_space = gymnasium.spaces.Discrete(len(PONG_ACTIONS.choices[0].options))

    @property
    def config(self) -> PongConfig:
        """The rules of this game."""
        return self._games.config

    def step(
        self, action: np.int64 | int
    ) -> tuple[UInt8[np.ndarray, "h w 3"], SupportsFloat, bool, bool, dict[str, Any]]:
        """Hold `action` for one frame."""
        return self.held(np.array([action], np.float32))


def _move(paddle_y: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Move paddles in place within the court and return how far they went."""
    before = paddle_y.copy()
    np.clip(paddle_y + by, PADDLE_TOP, PADDLE_BOTTOM, out=paddle_y)
    return paddle_y - before


def arrival_y(state: Float64[np.ndarray, "n s"]) -> Float64[np.ndarray, "n"]:
    """Return where the balls' centres will meet the plane of the paddle they fly to, wall reflections included."""
    x, y, vx, vy = state[:, BALL_X], state[:, BALL_Y], state[:, BALL_VX], state[:, BALL_VY]
    face = np.where(vx > 0, PLAYER_CONTACT_X, OPPONENT_CONTACT_X)
    return _reflect(y + vy * (face - x) / vx, vy)[0]


def _reflect(y: np.ndarray, vy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fold a free flight back into the court: mirrors at the two walls."""
    height = BOTTOM - TOP
    along = np.mod(y - TOP, 2 * height)
    back = along > height
    return TOP + np.where(back, 2 * height - along, along), np.where(back, -vy, vy)


def _checked_seeds(seeds: np.ndarray) -> np.ndarray:
    legal = (seeds >= 0) & (seeds < 2**53) & (seeds == np.floor(seeds))
    if not legal.all():
        raise ValueError(f"seed {seeds[~legal][0]} is not an integer in [0, 2**53); choose another")
    return seeds.astype(np.float64)
