"""What a ray in a maze meets first: walls by walking from grid line to grid line, pillars in closed form.

Source: Amanatides and Woo 1987, "A fast voxel traversal algorithm for ray tracing".
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from hallucade.games.maze_map import OPEN, PILLAR_RADIUS, MazeMap
from hallucade.games.maze_textures import FIRST_PILLAR

EAST_WEST_LIGHT = 0.78  # of walls that face east or west, so that corners show
PILLAR_TURNS = 2.0  # textures around a pillar


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Where n games' w rays end, as a factor of the ray's direction."""

    depth: Float64[np.ndarray, "n w"]
    texture: Int64[np.ndarray, "n w"]
    across: Float64[np.ndarray, "n w"]  # horizontal place in the texture, [0, 1)
    stretch: Float64[np.ndarray, "n w"]  # textures passed per unit that the hit moves sideways, seen from the ray
    light: Float64[np.ndarray, "n w"]  # [0, 1]


def cast(
    maps: MazeMap,
    game_map: Int64[np.ndarray, "n"],
    x: Float64[np.ndarray, "n"],
    y: Float64[np.ndarray, "n"],
    ray_x: Float64[np.ndarray, "n w"],
    ray_y: Float64[np.ndarray, "n w"],
) -> Hits:
    """Follow w rays from each of n places to the first wall or pillar.

    Args:
        maps: m maps, stacked.
        game_map: which of them each game is in.
        x: where the rays start, outside every wall.
        y: the same.
        ray_x: directions, of any length.
        ray_y: the same.
    """
    hits = _walls(maps, game_map, x, y, ray_x, ray_y)
    for pillar in range(maps.pillars.shape[-2]):
        centre = maps.pillars[game_map, pillar]
        _put_pillar(hits, pillar, centre[:, 0] - x, centre[:, 1] - y, ray_x, ray_y)
    return hits


def _walls(
    maps: MazeMap,
    game_map: Int64[np.ndarray, "n"],
    x: Float64[np.ndarray, "n"],
    y: Float64[np.ndarray, "n"],
    ray_x: Float64[np.ndarray, "n w"],
    ray_y: Float64[np.ndarray, "n w"],
) -> Hits:
    """Step each ray to the next grid line, in x or in y, whichever comes first, until it is in a wall."""
    _, rows, columns = maps.walls.shape
    walls = maps.walls.ravel()
    ray_x, ray_y = (np.where(np.abs(ray) < 1e-9, 1e-9, ray).ravel() for ray in (ray_x, ray_y))
    width = len(ray_x) // len(x)
    start_x, start_y = np.repeat(x, width), np.repeat(y, width)
    cell = np.repeat((game_map * rows + np.floor(y).astype(np.int64)) * columns + np.floor(x).astype(np.int64), width)
    step_x, step_y = 1 / np.abs(ray_x), 1 / np.abs(ray_y)  # depth from one grid line to the next
    next_x, next_y = _first_line(start_x, ray_x), _first_line(start_y, ray_y)
    move_x, move_y = np.sign(ray_x).astype(np.int64), columns * np.sign(ray_y).astype(np.int64)
    depth, in_x = np.zeros_like(ray_x), np.zeros(len(ray_x), np.bool_)
    live = np.arange(len(ray_x))
    while len(live):
        line_x, line_y = next_x[live], next_y[live]
        by_x = line_x < line_y
        depth[live], in_x[live] = np.where(by_x, line_x, line_y), by_x
        next_x[live] = line_x + np.where(by_x, step_x[live], 0)
        next_y[live] = line_y + np.where(by_x, 0, step_y[live])
        cell[live] += np.where(by_x, move_x[live], move_y[live])
        live = live[walls[cell[live]] == OPEN]
    along = np.where(in_x, start_y + depth * ray_y, start_x + depth * ray_x)
    length = np.hypot(ray_x, ray_y)
    fields = {
        "depth": np.maximum(depth, 1e-3),
        "texture": walls[cell].astype(np.int64),
        "across": along - np.floor(along),
        "stretch": length / np.abs(np.where(in_x, ray_x, ray_y)),
        "light": np.where(in_x, EAST_WEST_LIGHT, 1.0),
    }
    return Hits(**{name: value.reshape(len(x), width) for name, value in fields.items()})


def _first_line(start: Float64[np.ndarray, "r"], ray: Float64[np.ndarray, "r"]) -> Float64[np.ndarray, "r"]:
    """Return the depth of the first grid line ahead."""
    within = start - np.floor(start)
    return np.where(ray > 0, 1 - within, within) / np.abs(ray)


def _put_pillar(
    hits: Hits,
    pillar: int,
    to_x: Float64[np.ndarray, "n"],
    to_y: Float64[np.ndarray, "n"],
    ray_x: Float64[np.ndarray, "n w"],
    ray_y: Float64[np.ndarray, "n w"],
) -> None:
    """Write one pillar into the hits, in place, where it is nearer: the near root of a circle's quadratic."""
    squared = ray_x**2 + ray_y**2
    nearest = (to_x[:, None] * ray_x + to_y[:, None] * ray_y) / squared  # depth of the point nearest to the axis
    miss = to_x[:, None] * ray_y - to_y[:, None] * ray_x  # distance to the axis there, times the ray's length
    inside = PILLAR_RADIUS**2 * squared - miss**2
    near = np.nonzero((inside > 0) & (nearest > 0) & (nearest < hits.depth + PILLAR_RADIUS))
    depth = nearest[near] - np.sqrt(inside[near]) / squared[near]
    shown = (depth > 0) & (depth < hits.depth[near])
    near, depth = tuple(index[shown] for index in near), depth[shown]
    normal_x = (depth * ray_x[near] - to_x[near[0]]) / PILLAR_RADIUS
    normal_y = (depth * ray_y[near] - to_y[near[0]]) / PILLAR_RADIUS
    facing = -(normal_x * ray_x[near] + normal_y * ray_y[near]) / np.sqrt(squared[near])
    turn = np.arctan2(normal_y, normal_x) * (PILLAR_TURNS / (2 * np.pi))
    hits.depth[near] = depth
    hits.texture[near] = FIRST_PILLAR + pillar
    hits.across[near] = turn - np.floor(turn)
    hits.stretch[near] = PILLAR_TURNS / (2 * np.pi * PILLAR_RADIUS) / np.maximum(facing, 0.1)
    hits.light[near] = 0.55 + 0.45 * facing
