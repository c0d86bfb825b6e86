"""Walking in the maze: walls, pillars, states, bots, and the maze by name, as an environment and on disk."""

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hallucade.games  # noqa: F401 - registers the environment
from hallucade.actions import Axis
from hallucade.data.recorder import RecordingConfig, record
from hallucade.games.base import Game, VectorGame
from hallucade.games.bots import known_bots, make_bot
from hallucade.games.maze import MAP, MAZE_ACTIONS, PITCH, RADIUS, YAW, Maze, MazeConfig, VectorMaze, X, Y
from hallucade.games.maze_map import OPEN, PILLAR_RADIUS, maze_map, stack_maps
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.registry import make_game, make_vector_game

FORWARD = np.array([1, 0, 0, 0, 0, 0], np.float32)


def small(**rules: object) -> VectorMaze:
    return MazeConfig(frame_size=(18, 26), **rules).build()


@cache
def play(name: str, n: int, frames: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return states `frames+1 n s` and rows `frames n c`."""
    game = small()
    game.reset(np.arange(n))
    bot = make_bot(name, game.actions, n, seed)
    states, rows = [game.get_state()], []
    for _ in range(frames):
        rows.append(bot(states[-1]))
        game.act(rows[-1])
        states.append(game.get_state())
    return np.stack(states), np.stack(rows)


def clearance(states: np.ndarray) -> np.ndarray:
    """Return how far each place is from the nearest wall cell, up to 1."""
    maps = stack_maps(np.unique(states[:, MAP].astype(int)).tolist())
    which = np.searchsorted(np.unique(states[:, MAP]), states[:, MAP])
    nearest = np.ones(len(states))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, column = np.floor(states[:, Y]).astype(int) + down, np.floor(states[:, X]).astype(int) + right
            off_x = np.maximum(np.maximum(column - states[:, X], states[:, X] - column - 1), 0)
            off_y = np.maximum(np.maximum(row - states[:, Y], states[:, Y] - row - 1), 0)
            solid = maps.walls[which, row, column] != OPEN
            nearest = np.where(solid, np.minimum(nearest, np.maximum(off_x, off_y)), nearest)
    return nearest


# Walking


@pytest.mark.parametrize("name", ["wander", "random_hold"])
def test_nobody_walks_into_a_wall_or_a_pillar_or_too_fast(name: str) -> None:
    states, rows = play(name, 30, 500)
    flat = states.reshape(-1, 5)
    assert clearance(flat).min() > RADIUS - 1e-6
    for number in np.unique(flat[:, MAP]):
        here = flat[flat[:, MAP] == number]
        away = here[:, None, [X, Y]] - maze_map(int(number)).pillars
        assert np.hypot(away[..., 0], away[..., 1]).min() > PILLAR_RADIUS + RADIUS - 1e-6
    moved = np.hypot(*np.diff(states[..., :2], axis=0).transpose(2, 0, 1))
    assert moved.max() < 0.065  # the speed, and a little where a pillar pushes one aside
    assert (moved[~rows[..., :4].any(-1)] == 0).all()
    assert np.abs(states[..., PITCH]).max() <= 45


def test_a_wall_takes_what_goes_into_it_and_leaves_the_rest() -> None:
    game = small()
    game.reset(np.arange(1))
    state = game.get_state()[0]
    free = maze_map(int(state[MAP])).walkable
    row, column = next(c for c in np.argwhere(free) if not free[c[0] - 1, c[1]] and free[c[0], c[1] + 1])
    state[[X, Y, YAW]] = column + 0.5, row + RADIUS + 0.01, -45  # north-east, close to the wall in the north
    game.set_state(state[None])
    for _ in range(5):
        game.act(FORWARD[None])
    after = game.get_state()[0]
    assert after[X] == pytest.approx(state[X] + 5 * 0.06 * np.cos(np.pi / 4))
    assert after[Y] == pytest.approx(row + RADIUS, abs=1e-6)


@pytest.mark.parametrize(("column", "x", "y"), [(0, 1, 0), (1, -1, 0), (2, 0, -1), (3, 0, 1)])
def test_buttons_walk_where_they_say(column: int, x: int, y: int) -> None:
    game = small()
    pillar = maze_map(1).pillars[0]
    start = np.array([[pillar[0] + 0.9, pillar[1], 0, 0, 1]])  # beside the pillar, where there is room
    game.set_state(start)
    row = np.zeros((1, 6), np.float32)
    row[0, column] = 1
    game.act(row)
    assert game.get_state()[0, :2] == pytest.approx(start[0, :2] + 0.06 * np.array([x, y]))


def test_two_buttons_are_not_faster_and_opposite_ones_cancel() -> None:
    game = small()
    start = np.array([[*(maze_map(1).pillars[0] + [0.9, 0]), 0, 0, 1]])
    for buttons, moved in (((1, 0, 0, 1), 0.06), ((1, 1, 0, 0), 0.0), ((1, 1, 1, 0), 0.06)):
        game.set_state(start)
        game.act(np.array([[*buttons, 0, 0]], np.float32))
        assert np.hypot(*(game.get_state() - start)[0, :2]) == pytest.approx(moved)


def test_turns_add_up_and_pitch_stops_at_its_limit() -> None:
    game = small()
    game.reset(np.arange(2))
    start = game.get_state()
    for _ in range(4):
        game.act(np.array([[0, 0, 0, 0, 12, 14], [0, 0, 0, 0, -12, -14]], np.float32))
    turned = game.get_state() - start
    assert np.mod(turned[:, YAW], 360).tolist() == [48, 312]
    assert game.get_state()[:, PITCH].tolist() == [45, -45]


def test_keys_walk_and_turn_at_a_speed_for_hands() -> None:
    row = MAZE_ACTIONS.from_keys({"KeyW", "KeyD", "ArrowRight", "ArrowUp"})
    assert row.tolist() == [1, 0, 0, 1, 5, 3]
    assert MAZE_ACTIONS.from_keys({"ArrowLeft"}).tolist() == [0, 0, 0, 0, -5, 0]
    assert MAZE_ACTIONS.from_keys({"ArrowLeft", "ArrowRight"}).tolist() == [0] * 6
    assert MAZE_ACTIONS.over(3).from_keys({"ArrowLeft"})[4] == -15
    assert (
        MAZE_ACTIONS.difference(replace(MAZE_ACTIONS, axes=tuple(replace(a, by_key=None) for a in MAZE_ACTIONS.axes)))
        is None
    )
    with pytest.raises(ValueError, match=r"by_key of axis 'yaw' is 20; give a value in \(0, 15\]"):
        Axis(name="yaw", low=-15, high=15, by_key=20)


# State


def test_a_state_continues_the_same_game() -> None:
    states, rows = play("wander", 7, 120)
    game = small()
    game.set_state(states[40, 2:5])
    for row in rows[40:, 2:5]:
        game.act(row)
    assert np.array_equal(game.get_state(), states[-1, 2:5])


def test_seeds_start_different_games_that_do_not_depend_on_each_other() -> None:
    many, few = small(), small()
    many.reset(np.arange(50))
    few.reset(np.array([31]))
    assert np.array_equal(many.get_state()[31:32], few.get_state())
    assert len({tuple(row) for row in many.get_state()}) > 40
    assert set(many.get_state()[:, MAP]) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({X: np.nan}, "x of game 1 is nan"),
        ({X: 0.5}, r"game 1 is at x 0\.5, y .* of map \d, which is in a wall"),
        ({Y: -3.0}, r"y -3 of map \d, which is in a wall"),
        ({PITCH: 80.0}, r"pitch is 80\.0 degrees; keep it within -45 to 45"),
        ({MAP: 1.5}, r"map 1\.5 is not an integer"),
    ],
)
def test_impossible_states_are_refused(change: dict[int, float], message: str) -> None:
    game = small()
    game.reset(np.arange(2))
    state = game.get_state()
    for column, value in change.items():
        state[1, column] = value
    with pytest.raises(ValueError, match=message):
        game.set_state(state)


def test_other_bad_input_is_refused() -> None:
    game = small()
    with pytest.raises(ValueError, match=r"shape \(2, 4\); pass n x 5"):
        game.set_state(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="seed -3 is not an integer"):
        game.reset(np.array([4, -3]))
    game.reset(np.arange(2))
    with pytest.raises(ValueError, match="1 action rows for 2 games"):
        game.act(np.zeros((1, 6), np.float32))
    with pytest.raises(ValueError, match=r"'yaw' is 16\.0 in row 0; clip it to \[-15, 15\]"):
        game.act(np.array([[0, 0, 0, 0, 16, 0]] * 2, np.float32))
    for rules, message in (
        ({"frame_size": (64, 8)}, "frame_size is 64x8"),
        ({"field": 180.0}, r"field is 180\.0 degrees"),
        ({"speed": 0.5}, r"speed is 0\.5"),
        ({"maps": 0}, "maps is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MazeConfig(**rules)
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        Maze(render_mode="human")


# Bots


@pytest.mark.parametrize("name", known_bots(MAZE_ACTIONS))
def test_bots_play_legal_rows_by_seed_and_game_alone(name: str) -> None:
    states, rows = play(name, 9, 150)
    MAZE_ACTIONS.validate(rows)
    fewer_states, fewer_rows = play(name, 3, 150)
    assert np.array_equal(fewer_rows, rows[:, :3])
    assert np.array_equal(fewer_states, states[:, :3])
    assert name == "idle" or not np.array_equal(play(name, 9, 150, seed=3)[1], rows)


def places(states: np.ndarray) -> list[int]:
    """Return how many cells each game has been in."""
    return [len({(int(x), int(y)) for x, y in states[:, game, :2]}) for game in range(states.shape[1])]


def test_wandering_sees_places_and_mixes_looking_and_walking() -> None:
    states, rows = play("wander", 30, 500)
    at_random = play("random_hold", 30, 500)[0]
    assert np.median(places(states)) > 10 > np.median(places(at_random)) + 2
    walks, turns = rows[..., :4].any(-1), (np.abs(rows[..., 4:]) > 0.25).any(-1)
    assert min((walks & turns).mean(), (walks & ~turns).mean(), (~walks & turns).mean()) > 0.1
    assert rows[..., :4].mean((0, 1)).min() > 0.02
    assert np.abs(np.diff(rows[..., 4], axis=0)).max() < 12  # the view turns smoothly
    assert 5 < np.abs(states[..., PITCH]).max() < 45


def test_random_play_turns_as_a_mouse_does() -> None:
    states, rows = play("random_hold", 30, 500)
    yaw, pitch = np.abs(rows[..., 4]), np.abs(rows[..., 5])
    assert (yaw == 0).mean() == pytest.approx(0.4, abs=0.05)
    assert yaw.mean() < 4
    assert min(yaw.max(), pitch.max()) > 10
    assert (np.abs(states[..., PITCH]) < 40).mean() > 0.95  # nobody stares at the ceiling


def test_bots_of_other_games_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'wander' does not know this game: .*bots for any game: random_hold, idle"):
        make_bot("wander", PONG_ACTIONS, 1, 0)
    assert "wander" not in known_bots(PONG_ACTIONS)
    assert set(known_bots(MAZE_ACTIONS)) == {"wander", "random_hold", "idle", "mixture"}


# By name, as an environment, on disk


def test_the_environment_passes_gymnasiums_checker() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*symmetric and normalized space")  # degrees are clearer than shares of 15
        check_env(gymnasium.make("hallucade/Maze-v0", render_mode="rgb_array").unwrapped)
        env = gymnasium.make("hallucade/Maze-v0", frame_size=(18, 32))
        check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 60 * VectorMaze.fps


def test_the_environment_plays_the_vectorised_game() -> None:
    env, games = Maze(frame_size=(18, 26)), small()
    first, _ = env.reset(seed=21)
    games.reset(np.array([21]))
    assert np.array_equal(first, games.frames()[0])
    env.action_space.seed(0)
    for _ in range(30):
        action = env.action_space.sample()
        frame, reward, terminated, truncated, _ = env.step(action)
        games.act(np.concatenate([action["buttons"], action["camera"]], dtype=np.float32)[None])
        assert np.array_equal(frame, games.frames()[0])
        assert (reward, terminated, truncated) == (0, False, False)
    assert np.array_equal(env.get_state(), games.get_state()[0])


def test_games_are_made_by_name_in_any_shape() -> None:
    games, game = make_vector_game("maze", (18, 32)), make_game("maze", 20)
    assert isinstance(games, VectorGame)
    assert isinstance(game, Game)
    games.reset(np.array([3, 4]))
    assert games.frames().shape == (2, 18, 32, 3)
    assert game.frame().shape == (20, 20, 3)
    for make in (make_game, make_vector_game):
        with pytest.raises(ValueError, match="frame_size is 18x32; Pong's court is square"):
            make("pong", (18, 32))


def test_wide_pictures_are_recorded_and_their_config_travels(tmp_path: Path) -> None:
    config = RecordingConfig(game="maze", frame_size=(18, 32), frames=60, episode_length=20, games=2, seed=5)
    assert RecordingConfig.from_json(config.to_json()) == config
    old = replace(config, frame_size=24)
    assert RecordingConfig.from_json(old.to_json()) == old
    store = record(config, tmp_path / "store")
    assert store.frame_size == (18, 32)
    assert store.manifest.settings["frame_size"] == "18x32"
    longer = record(replace(config, frames=100), tmp_path / "store", resume=True)
    assert len(longer) == 5
    assert longer.manifest.game == "maze"
