"""Maps, rays and pictures of the maze against brute force: tiny steps, and the geometry of a pinhole camera."""

from collections import deque

import numpy as np
import pytest

from hallucade.games.maze import YAW, MazeConfig, VectorMaze, X
from hallucade.games.maze_camera import CLEAR, HAZE
from hallucade.games.maze_map import NEIGHBOURS, OPEN, PILLAR_RADIUS, SIDE, maze_map, stack_maps
from hallucade.games.maze_rays import cast
from hallucade.games.maze_textures import FIRST_PILLAR

FORWARD = np.array([1, 0, 0, 0, 0, 0], np.float32)
MAPS = range(40)


# Maps


def test_every_map_is_closed_connected_and_has_four_rooms_with_pillars() -> None:
    for number in MAPS:
        one = maze_map(number)
        border = np.concatenate([one.walls[[0, -1]].ravel(), one.walls[:, [0, -1]].ravel()])
        assert (border != OPEN).all()
        free = one.walkable
        assert (one.walls == OPEN).sum() == free.sum() + 4
        start = tuple(np.argwhere(free)[0])
        reached, queue = {start}, deque([start])
        while queue:
            here = queue.popleft()
            for way in NEIGHBOURS:
                cell = tuple(here + way)
                if free[cell] and cell not in reached:
                    reached.add(cell)
                    queue.append(cell)
        assert len(reached) == free.sum()
        for x, y in one.pillars:
            row, column = int(y), int(x)
            assert (x, y) == (column + 0.5, row + 0.5)
            assert (one.walls[row - 1 : row + 2, column - 1 : column + 2] == OPEN).all()


def test_maps_differ_and_a_number_always_gives_the_same() -> None:
    layouts = {maze_map(number).walls.tobytes() for number in MAPS}
    assert len(layouts) == len(MAPS)
    before = maze_map(3).walls.copy()
    maze_map.cache_clear()
    assert np.array_equal(maze_map(3).walls, before)
    assert all(len(np.unique(maze_map(number).walls)) >= 6 for number in MAPS)  # open, walls of places, and emblems


# Rays


def test_rays_end_where_tiny_steps_along_them_first_meet_a_wall_or_a_pillar() -> None:
    rng = np.random.default_rng(4)
    maps, n = stack_maps([2, 7, 5]), 400
    game_map = rng.integers(0, 3, n)
    cells = np.stack([rng.permutation(np.argwhere(maps.walkable[m]))[0] for m in game_map])
    x, y = cells[:, 1] + rng.uniform(0.05, 0.95, n), cells[:, 0] + rng.uniform(0.05, 0.95, n)
    angle = rng.uniform(0, 2 * np.pi, (n, 1))
    hits = cast(maps, game_map, x, y, np.cos(angle), np.sin(angle))
    step, found, kind = 1e-3, np.full(n, np.inf), np.full(n, OPEN)
    for depth in np.arange(0, 14, step):
        at_x, at_y = x + depth * np.cos(angle[:, 0]), y + depth * np.sin(angle[:, 0])
        row, column = (np.clip(np.floor(at).astype(int), 0, SIDE - 1) for at in (at_y, at_x))
        texture = maps.walls[game_map, row, column].astype(int)
        for pillar in range(4):
            to = maps.pillars[game_map, pillar] - np.stack([at_x, at_y], 1)
            texture = np.where(np.hypot(*to.T) < PILLAR_RADIUS, FIRST_PILLAR + pillar, texture)
        new = (texture != OPEN) & np.isinf(found)
        found[new], kind[new] = depth, texture[new]
    agree = (np.abs(hits.depth[:, 0] - found) <= step + 1e-9) & (hits.texture[:, 0] == kind)
    assert agree.mean() > 0.985  # the rest grazes a corner within one step
    assert 10 < (kind >= FIRST_PILLAR).sum() < n / 2


# The camera


def room_with_a_view(seed: int, **rules: object) -> tuple[VectorMaze, np.ndarray]:
    game = MazeConfig(**rules).build()
    game.reset(np.array([seed]))
    return game, game.get_state()[0]


def at(game: VectorMaze, state: np.ndarray, **changes: float) -> np.ndarray:
    names = dict(zip(game.state_names, range(5), strict=True))
    state = state.copy()
    for name, value in changes.items():
        state[names[name]] = value
    game.set_state(state[None])
    return game.frames()[0].astype(np.float64)


@pytest.mark.parametrize("turn", [3.0, -1.0, 0.3])
def test_turning_moves_the_picture_as_a_pinhole_camera_does(turn: float) -> None:
    game, state = room_with_a_view(6, frame_size=(40, 300))
    focal = game.camera.focal
    assert focal == pytest.approx(150 / np.tan(np.radians(40)))
    columns = np.arange(300) + 0.5
    angle = np.arctan((columns - 150) / focal)
    before, after = (at(game, state, yaw=state[YAW] + 20 + by)[18:22].mean(0) for by in (0, turn))

    def moved_by(degrees: float) -> float:
        seen = 150 + focal * np.tan(angle + np.radians(degrees))  # what is now at `columns` was there before
        inside = (seen > 1) & (seen < 299)
        expected = np.stack([np.interp(seen[inside], columns, before[:, c]) for c in range(3)], 1)
        return float(np.abs(expected - after[inside]).mean())

    assert moved_by(turn) < 0.35 * moved_by(0)
    assert moved_by(turn) < 0.25 * moved_by(-turn)
    assert moved_by(turn) < min(moved_by(0.8 * turn), moved_by(1.2 * turn))


@pytest.mark.parametrize("rows", [7, -4])
def test_looking_up_moves_the_picture_down_by_the_tangent(rows: int) -> None:
    game, state = room_with_a_view(3, frame_size=(50, 44))
    pitch = np.degrees(np.arctan(rows / game.camera.focal))
    level, tilted = at(game, state), at(game, state, pitch=pitch)
    same = (tilted[7:], level[:-7]) if rows > 0 else (tilted[:-4], level[4:])
    assert np.abs(same[0] - same[1]).max() <= 2
    assert np.abs(tilted - level).mean() > 5


def test_a_fifth_of_a_degree_shows() -> None:
    game, state = room_with_a_view(8)
    still = at(game, state, yaw=state[YAW] + 31)
    for change in ({"yaw": state[YAW] + 31.2}, {"yaw": state[YAW] + 31, "pitch": 0.2}):
        difference = np.abs(at(game, state, **change) - still).max(-1)
        assert (difference > 0).mean() > 0.5
        assert difference.mean() < 8  # and it does not jump


def wall_at(game: VectorMaze, state: np.ndarray, distance: float) -> np.ndarray:
    """Return the mean colour of the middle of the wall ahead, seen from `distance` in front of it."""
    frame = at(game, state, x=state[X] + 0.5 - distance)
    half, middle = round(game.camera.focal * 0.3 / distance), len(frame) // 2
    return frame[middle - half : middle + half, middle - half : middle + half].mean((0, 1))


def test_light_falls_with_the_distance() -> None:
    game = MazeConfig(frame_size=(120, 120)).build()
    free = maze_map(0).walkable
    row, column = next(
        (i, j) for i, j in np.argwhere(free) if free[i, j - 2 : j + 1].all() and j > 2 and not free[i, j + 1]
    )
    state = np.array([column + 0.5, row + 0.5, 0, 0, 0])  # looking east at the end of a corridor of three cells
    near, far = (wall_at(game, state, distance) - HAZE for distance in (0.5, 2.5))
    assert far / near == pytest.approx((1 + (0.5 / CLEAR) ** 2) / (1 + (2.5 / CLEAR) ** 2), abs=0.03)


def test_ceilings_are_above_and_floors_below() -> None:
    game = MazeConfig(frame_size=(60, 60)).build()
    rooms = [[*(maze_map(number).pillars[0] + [0.9, 0]), 270, 0, number] for number in (0, 2)]  # looking across
    game.set_state(np.array(rooms, np.float64))
    first, second = game.frames()[:, :, 25:35].astype(np.float64)
    assert np.abs(first[:4] - second[:4]).mean() > 10
    assert np.abs(first[-4:] - second[-4:]).mean() < 3


def test_games_drawn_together_look_as_when_drawn_alone() -> None:
    game = MazeConfig(frame_size=(40, 64)).build()
    game.reset(np.arange(60))  # more than are drawn at a time
    for _ in range(5):
        game.act(np.tile(FORWARD, (60, 1)))
    out = np.zeros((60, 40, 64, 3), np.uint8)
    assert game.frames(out) is out
    state = game.get_state()
    for i in (0, 50, 52, 59):
        game.set_state(state[i : i + 1])
        assert np.array_equal(game.frames()[0], out[i])
