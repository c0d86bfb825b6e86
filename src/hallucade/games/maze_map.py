"""Maze maps: corridors carved by a depth-first walk, some loops, and four rooms, each around a coloured pillar.

A map is a pure function of its number. Cells are unit squares, x grows to the east and y to the south; cell (i, j)
spans [j, j + 1] x [i, i + 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int64

from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.maze_textures import (
    CEILINGS,
    EMBLEMS,
    FIRST_CEILING,
    FIRST_EMBLEM,
    FIRST_FLOOR,
    FLOORS,
    PILLARS,
    WALLS,
)

SIDE = 15  # cells, odd: walls and corridors alternate
OPEN = -1
PILLAR_RADIUS = 0.22  # cells
LOOPS = 9  # walls taken away after carving, so that there is more than one way
EMBLEM_SHARE = 0.1  # of the walls
NEIGHBOURS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])  # rows, columns: east, south, west, north


@dataclass(frozen=True, kw_only=True)
class MazeMap:
    """One map, or m of them stacked, with a leading axis everywhere."""

    walls: Int16[np.ndarray, "*m i j"]  # the texture of each cell, OPEN where one can walk
    pillars: Float64[np.ndarray, "*m p 2"]  # x, y of their axes; the texture of pillar p is FIRST_PILLAR + p
    floor: Int64[np.ndarray, "*m"]  # texture
    ceiling: Int64[np.ndarray, "*m"]

    @property
    def walkable(self) -> Bool[np.ndarray, "*m i j"]:
        """Cells without a wall or a pillar."""
        free = self.walls == OPEN
        maps = free.reshape(-1, *free.shape[-2:])  # a view
        column, row = np.moveaxis(self.pillars.reshape(len(maps), -1, 2).astype(np.int64), -1, 0)
        maps[np.arange(len(maps))[:, None], row, column] = False
        return free


def stack_maps(numbers: Sequence[int]) -> MazeMap:
    """Return several maps side by side."""
    maps = [maze_map(number) for number in numbers]
    return MazeMap(**{name: np.stack([getattr(one, name) for one in maps]) for name in vars(maps[0])})


@lru_cache(maxsize=256)
def maze_map(number: int) -> MazeMap:
    """Generate map `number`."""
    open_cells = _carve(number)
    rows, columns = np.indices((SIDE, SIDE))
    share = uniform(random_bits(number, rows, columns, 1))
    centres = _room_centres(number)
    walls = np.where(share < EMBLEM_SHARE, FIRST_EMBLEM + number % len(EMBLEMS), _zones(number))
    return MazeMap(
        walls=np.where(open_cells, OPEN, walls).astype(np.int16),
        pillars=centres[:, ::-1] + 0.5,
        floor=np.asarray(FIRST_FLOOR + number % len(FLOORS)),
        ceiling=np.asarray(FIRST_CEILING + number // 2 % len(CEILINGS)),
    )


def _carve(number: int) -> Bool[np.ndarray, "i j"]:
    """Walk depth first over the cells of odd row and column, then open loops and rooms."""
    cells = np.zeros((SIDE, SIDE), np.bool_)
    cells[1, 1] = True
    path, steps = [np.array([1, 1])], 0
    while path:
        steps += 1
        order = np.argsort(uniform(random_bits(number, steps, np.arange(4), 2)))
        ahead = [path[-1] + 2 * NEIGHBOURS[k] for k in order]
        ahead = [cell for cell in ahead if cell.min() > 0 and cell.max() < SIDE and not cells[tuple(cell)]]
        if not ahead:
            path.pop()
            continue
        cells[tuple((path[-1] + ahead[0]) // 2)] = cells[tuple(ahead[0])] = True
        path.append(ahead[0])
    _open_loops(number, cells)
    for row, column in _room_centres(number).astype(np.int64):
        cells[row - 1 : row + 2, column - 1 : column + 2] = True
    return cells


def _open_loops(number: int, cells: Bool[np.ndarray, "i j"]) -> None:
    """Open some walls between two corridors, in place."""
    rows, columns = np.indices(cells.shape)
    inner = (rows > 0) & (rows < SIDE - 1) & (columns > 0) & (columns < SIDE - 1)
    between = np.argwhere(inner & ((rows + columns) % 2 == 1) & ~cells)
    order = np.argsort(uniform(random_bits(number, np.arange(len(between)), 3)))
    cells[tuple(between[order[:LOOPS]].T)] = True


def _room_centres(number: int) -> Float64[np.ndarray, "p 2"]:
    """Return row, column of the rooms' middle cells, one in each quarter of the map."""
    shift = 2 * (uniform(random_bits(number, np.arange(len(PILLARS))[:, None], np.arange(2), 4)) < 0.5)
    corner = np.array([(2, 2), (2, SIDE - 5), (SIDE - 5, 2), (SIDE - 5, SIDE - 5)])
    return (corner + shift).astype(np.float64)


def _zones(number: int) -> Int64[np.ndarray, "i j"]:
    """Give every cell the wall of the nearest of six points, no two of them alike, so that a wall tells a place."""
    kinds = np.arange(len(WALLS))
    order = np.argsort(uniform(random_bits(number, kinds, 5)))
    grid = np.array([(SIDE * (0.25 + 0.5 * (k % 2)), SIDE * (k // 2 + 0.5) / 3) for k in kinds])
    points = grid + 4 * uniform(random_bits(number, kinds[:, None], np.arange(2), 6)) - 2
    rows, columns = np.indices((SIDE, SIDE)) + 0.5
    distance = np.hypot(rows[..., None] - points[:, 0], columns[..., None] - points[:, 1])
    return order[distance.argmin(-1)]
