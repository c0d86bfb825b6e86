"""Maze: a first-person walk through corridors and rooms, without a score.

Units are cells (a corridor is one wide), degrees and frames (30 a second). Everything is smooth in the state but the
contact with walls, along which one slides. Mazes are few by default, so that a dream can learn its way about.
"""

from dataclasses import dataclass
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped, UInt8

from hallucade.actions import ActionSpace, Button, camera_axes
from hallucade.config import Config
from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.maze_camera import Camera
from hallucade.games.maze_map import NEIGHBOURS, OPEN, PILLAR_RADIUS, MazeMap, stack_maps
from hallucade.games.single_game import SingleGame

MAX_TURN = 15.0  # degrees a frame
MAX_PITCH = 45.0  # degrees
RADIUS = 0.2  # cells between the eye and the nearest wall

MAZE_ACTIONS = ActionSpace(
    buttons=(
        Button(name="forward", keys=("KeyW",)),
        Button(name="back", keys=("KeyS",)),
        Button(name="left", keys=("KeyA",)),
        Button(name="right", keys=("KeyD",)),
    ),
    axes=camera_axes(MAX_TURN, MAX_TURN, 5.0, 3.0),
)
STATE_NAMES = ("x", "y", "yaw", "pitch", "map")
X, Y, YAW, PITCH, MAP = range(5)


@dataclass(frozen=True, kw_only=True)
class MazeConfig(Config):
    """Picture and rules of a maze.

    Raises:
        ValueError: a picture too small to see anything, or a number out of its range.
    """

    frame_size: tuple[int, int] = (64, 64)  # height, width in pixels
    field: float = 80.0  # degrees that the picture is wide
    samples: int = 2  # rays a column of pixels
    maps: int = 4  # different mazes; a game's seed chooses among them
    speed: float = 0.06  # cells a frame

    def __post_init__(self) -> None:
        if min(self.frame_size) < 16:
            height, width = self.frame_size
            raise ValueError(f"frame_size is {height}x{width}; a maze needs at least 16 pixels to show its corridors")
        if not 20 <= self.field <= 120:
            raise ValueError(f"field is {self.field} degrees; choose one in [20, 120]")
        if not 0 < self.speed < RADIUS:
            raise ValueError(f"speed is {self.speed}; choose one in (0, {RADIUS}) cells a frame")
        for name in ("samples", "maps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def build(self) -> "VectorMaze":
        """Build games without a start; ``reset`` or ``set_state`` starts them."""
        return VectorMaze(self)


class VectorMaze:
    """n walks through mazes side by side; game i depends on its own seed and actions only.

    State variables: x (to the east) and y (to the south) in cells, yaw in degrees [0, 360) from east to the right,
    pitch in degrees upward, and the number of the map. Positive yaw turns right, positive pitch looks up.
    """

    actions: ActionSpace = MAZE_ACTIONS
    state_names: tuple[str, ...] = STATE_NAMES
    fps: float = 30.0

    def __init__(self, config: MazeConfig | None = None) -> None:
        self.config = config or MazeConfig()
        self.camera = Camera(*self.config.frame_size, self.config.field, self.config.samples)
        self._state = np.zeros((len(STATE_NAMES), 0))  # one contiguous row a variable
        self._maps, self._game_map = stack_maps([0]), np.zeros(0, np.int64)  # distinct maps, and which each game is in

    def reset(self, seeds: Shaped[np.ndarray, "n"]) -> None:
        """Start n games, each in the middle of a corridor, looking along it.

        Raises:
            ValueError: seeds that are no integers in [0, 2**53).
        """
        seeds = _checked_whole("seed", np.asarray(seeds)).astype(np.int64)
        state = np.zeros((len(STATE_NAMES), len(seeds)))
        state[MAP] = np.floor(self.config.maps * uniform(random_bits(seeds)))
        self._maps, self._game_map = _at_hand(state[MAP])
        walkable = self._maps.walkable[self._game_map]
        for game, (seed, free) in enumerate(zip(seeds, walkable, strict=True)):
            state[X, game], state[Y, game], state[YAW, game] = _start(int(seed), free)
        self._state = state

    def get_state(self) -> Float64[np.ndarray, "n s"]:
        """Return the complete state of every game."""
        return self._state.T.copy()

    def set_state(self, state: Shaped[np.ndarray, "n s"]) -> None:
        """Continue every game from `state`; n may differ from before.

        Raises:
            ValueError: another number of variables, values that are not finite, no such map, or a place in a wall.
        """
        if state.ndim != 2 or state.shape[1] != len(STATE_NAMES):
            raise ValueError(f"maze states have shape {state.shape}; pass n x {len(STATE_NAMES)}: {STATE_NAMES}")
        if not np.isfinite(state).all():
            game, column = np.argwhere(~np.isfinite(state))[0]
            raise ValueError(f"{STATE_NAMES[column]} of game {game} is {state[game, column]}; states must be finite")
        _checked_whole("map", state[:, MAP])
        _check_pitch(state[:, PITCH])
        maps, game_map = _at_hand(state[:, MAP])
        _check_places(maps, game_map, state)
        self._maps, self._game_map, self._state = maps, game_map, np.array(state.T, np.float64, order="C")

    def frames(self, out: UInt8[np.ndarray, "n h w 3"] | None = None) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw the current state of every game, into `out` if it is given."""
        if out is None:
            out = np.empty((self._state.shape[1], *self.config.frame_size, 3), np.uint8)
        self.camera.draw(self._maps, self._game_map, self._state[: PITCH + 1], out)
        return out

    def act(self, rows: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "n"]:
        """Advance every game one frame: the view turns, then the player walks where it looks.

        Returns:
            Rewards: always 0.

        Raises:
            ValueError: not one row a game, or an action that does not exist.
        """
        if len(rows) != self._state.shape[1]:
            raise ValueError(f"{len(rows)} action rows for {self._state.shape[1]} games; pass one a game after reset")
        self.actions.validate(rows)
        forward, back, left, right, yaw, pitch = rows.T.astype(np.float64)
        state = self._state
        state[YAW] = np.mod(state[YAW] + yaw, 360)
        state[PITCH] = np.clip(state[PITCH] + pitch, -MAX_PITCH, MAX_PITCH)
        ahead, aside = forward - back, right - left
        pace = self.config.speed / np.maximum(np.hypot(ahead, aside), 1)
        cos, sin = np.cos(np.radians(state[YAW])), np.sin(np.radians(state[YAW]))
        self._walk(X, pace * (ahead * cos - aside * sin))
        self._walk(Y, pace * (ahead * sin + aside * cos))
        self._step_around_pillars()
        return np.zeros(len(rows), np.float32)

    def _walk(self, variable: int, step: Float64[np.ndarray, "n"]) -> None:
        """Move along x or y up to the next wall: what the wall stops is lost, the rest goes on, and one slides."""
        place = self._state[variable]
        front = place + step + RADIUS * np.sign(step)
        beside = self._state[X + Y - variable]
        blocked = np.zeros(len(place), np.bool_)
        for side in (beside - RADIUS, beside + RADIUS):
            blocked |= self._solid(front, side) if variable == X else self._solid(side, front)
        face = np.floor(front) + (step < 0)
        # A hair off the face: a corner that exactly touches must not count as being in the wall.
        stop = face - np.sign(step) * (RADIUS + 1e-9)
        place[:] = np.where(blocked, stop, place + step)

    def _solid(self, x: Float64[np.ndarray, "n"], y: Float64[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
        return self._maps.walls[self._game_map, np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)] != OPEN

    def _step_around_pillars(self) -> None:
        """Push players out of pillars, away from the axis; rooms are wide enough to have no wall there."""
        for pillar in range(self._maps.pillars.shape[1]):
            x, y = self._maps.pillars[self._game_map, pillar].T
            away_x, away_y = self._state[X] - x, self._state[Y] - y
            distance = np.maximum(np.hypot(away_x, away_y), 1e-9)
            push = np.maximum(PILLAR_RADIUS + RADIUS - distance, 0) / distance
            self._state[X] += push * away_x
            self._state[Y] += push * away_y


def _at_hand(numbers: Shaped[np.ndarray, "n"]) -> tuple[MazeMap, Int64[np.ndarray, "n"]]:
    """Return the distinct maps, and which of them each number means."""
    distinct, which = np.unique(numbers.astype(np.int64), return_inverse=True)
    return stack_maps(distinct.tolist()), which.astype(np.int64)


def _check_pitch(pitch: Shaped[np.ndarray, "n"]) -> None:
    beyond = np.abs(pitch) > MAX_PITCH
    if beyond.any():
        raise ValueError(f"pitch is {pitch[beyond][0]} degrees; keep it within -{MAX_PITCH:g} to {MAX_PITCH:g}")


def _check_places(maps: MazeMap, game_map: Int64[np.ndarray, "n"], state: Shaped[np.ndarray, "n s"]) -> None:
    rows, columns = maps.walls.shape[1:]
    inside = (state[:, X] >= 0) & (state[:, X] < columns) & (state[:, Y] >= 0) & (state[:, Y] < rows)
    row, column = (np.where(inside, state[:, k], 0).astype(np.int64) for k in (Y, X))
    legal = inside & (maps.walls[game_map, row, column] == OPEN)
    if not legal.all():
        game = int(np.flatnonzero(~legal)[0])
        x, y, _, _, number = state[game]
        where = f"x {x:g}, y {y:g} of map {number:g}"
        raise ValueError(f"game {game} is at {where}, which is in a wall; choose a place in a corridor")


def _start(seed: int, free: Shaped[np.ndarray, "i j"]) -> tuple[float, float, float]:
    """Draw a walkable cell and a way out of it: x, y, yaw."""
    cells = np.argwhere(free)
    row, column = cells[int(random_bits(seed, 1)[0] % np.uint64(len(cells)))]
    ways = [k for k, (down, right) in enumerate(NEIGHBOURS) if free[row + down, column + right]]
    yaw = 90.0 * ways[int(random_bits(seed, 2)[0] % np.uint64(len(ways)))]
    return float(column) + 0.5, float(row) + 0.5, yaw


def _checked_whole(name: str, values: np.ndarray) -> np.ndarray:
    legal = (values >= 0) & (values < 2**53) & (values == np.floor(values))
    if not legal.all():
        raise ValueError(f"{name} {values[~legal][0]} is not an integer in [0, 2**53); choose another")
    return values


class Maze(SingleGame[VectorMaze, dict[str, Any]]):
    """One walk through a maze, as `hallucade/Maze-v0`; it goes on until it is truncated.

    Actions: "buttons" (forward, back, left, right: 0 or 1 each) and "camera" (yaw to the right and pitch upward, in
    degrees a frame). Keyword arguments are the fields of `MazeConfig`.
    """

    actions: ActionSpace = MAZE_ACTIONS
    state_names: tuple[str, ...] = STATE_NAMES
    fps: float = 30.0

    def __init__(self, render_mode: str | None = None, **rules: Any) -> None:
        config = MazeConfig(**rules)
        super().__init__(VectorMaze(config), config.frame_size, render_mode)
        buttons, axes = len(MAZE_ACTIONS.buttons), len(MAZE_ACTIONS.axes)
        self.action_space = gymnasium.spaces.Dict(
            buttons=gymnasium.spaces.MultiBinary(buttons),
            camera=gymnasium.spaces.Box(-MAX_TURN, MAX_TURN, (axes,), np.float32),
        )

    @property
    def config(self) -> MazeConfig:
        """The rules of this game."""
        return self._games.config

    def step(
        self, action: dict[str, Any]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], SupportsFloat, bool, bool, dict[str, Any]]:
        """Hold `action` for one frame."""
        return self.held(np.concatenate([action["buttons"], action["camera"]], dtype=np.float32))
