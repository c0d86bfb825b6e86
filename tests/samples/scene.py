"""Play whose every motion is known, for samples of foreign formats: a walk through the built-in maze."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from hallucade.games.maze import MAP, MAZE_ACTIONS, PITCH, YAW, MazeConfig, VectorMaze, X, Y
from hallucade.games.maze_map import stack_maps
from hallucade.games.maze_rays import cast

ACTIONS = MAZE_ACTIONS  # columns of a row: forward, back, left, right (0 or 1), yaw, pitch (degrees a frame)
MAX_YAW, MAX_PITCH = 5.0, 3.0  # degrees a frame that the walker turns at most
NEAREST = 0.8  # cells to what is ahead, at which the walker stops


class Walk(NamedTuple):
    """t frames joined by t - 1 actions: row i is held while frame i is shown and leads to frame i + 1."""

    frames: UInt8[np.ndarray, "t h w 3"]
    rows: Float32[np.ndarray, "t-1 6"]  # see `ACTIONS`; yaw + turns right, pitch + looks up
    poses: Float64[np.ndarray, "t 4"]  # x, y in cells; yaw in degrees [0, 360) to the right, pitch upward


def walk(seed: int, frames: int, size: tuple[int, int] = (64, 64), fps: float = 30.0) -> Walk:
    """Walk through a maze for `frames` frames of `size` (height, width).

    The same seed walks the same. Buttons are held for 4 to 12 frames and turns for 2 to 7, so that lags and signs can
    be told; a third of the turns is exactly 0. It backs off before a wall fills the picture, where no motion could be
    seen. Pitch comes back to the horizon and never reaches its limit: rows are exactly the differences of poses (yaw
    modulo 360). At another `fps` the walker covers the same ground in a second.
    """
    rng = np.random.default_rng(seed)
    game = VectorMaze(MazeConfig(frame_size=size, speed=min(0.06 * 30 / fps, 0.19)))
    game.reset(np.array([seed]))
    shown, rows, poses = [game.frames()[0]], [], [game.get_state()[0, :MAP]]
    held = {"buttons": (0, np.zeros(4)), "yaw": (0, 0.0), "pitch": (0, 0.0)}
    for _ in range(frames - 1):
        room = _ahead(game.get_state()[0])
        for name, (left, value) in held.items():
            stops = name == "buttons" and value[0] and room < NEAREST
            if left == 0 or stops:
                held[name] = _draw(name, poses[-1][PITCH], room, rng)
        rows.append(np.array([*held["buttons"][1], held["yaw"][1], held["pitch"][1]], np.float32))
        held = {name: (left - 1, value) for name, (left, value) in held.items()}
        game.act(rows[-1][None])
        shown.append(game.frames()[0])
        poses.append(game.get_state()[0, :MAP])
    return Walk(np.stack(shown), np.array(rows, np.float32).reshape(-1, 6), np.stack(poses))


def _ahead(state: Float64[np.ndarray, "s"]) -> float:
    """Return how many cells there are to the wall or pillar ahead."""
    x, y, yaw = state[[X], None], state[[Y], None], np.radians(state[[YAW], None])
    return float(cast(stack_maps([int(state[MAP])]), np.array([0]), x[0], y[0], np.cos(yaw), np.sin(yaw)).depth[0, 0])


def _draw(name: str, pitch: float, room: float, rng: np.random.Generator) -> tuple[int, np.ndarray | float]:
    """Return for how many frames to hold what."""
    if name == "buttons":
        ahead = rng.choice([0, 1, 2], p=[0.2, 0.65, 0.15] if room > NEAREST else [0.3, 0.0, 0.7])
        aside = rng.choice([0, 1, 2], p=[0.7, 0.15, 0.15])
        return int(rng.integers(4, 13)), np.array([ahead == 1, ahead == 2, aside == 1, aside == 2], np.float64)
    hold = int(rng.integers(2, 8))
    if rng.random() < 1 / 3:
        return hold, 0.0
    if name == "yaw":
        return hold, float(rng.uniform(-MAX_YAW, MAX_YAW))
    size = rng.uniform(0, MAX_PITCH)
    return hold, float(-np.sign(pitch) * size if pitch else size)
