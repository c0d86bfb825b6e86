"""Pong against closed forms, an independent sub-stepped simulation, and its own pictures."""

import math
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hallucade.games  # noqa: F401 - registers the environment
from hallucade.games.base import Game, VectorGame
from hallucade.games.bots import make_bot
from hallucade.games.pong import (
    BALL_VX,
    BALL_VY,
    BALL_X,
    BALL_Y,
    OPPONENT_POINTS,
    OPPONENT_Y,
    PLAYER_POINTS,
    PLAYER_Y,
    PONG_ACTIONS,
    SEED,
    SERVES,
    STATE_NAMES,
    Pong,
    PongConfig,
    VectorPong,
    arrival_y,
)
from hallucade.games.pong_court import BACKGROUND, BALL_HALF, COLOURS, COURT, OPPONENT_X, PLAYER_X, Canvas
from hallucade.games.registry import known_games, make_game, make_vector_game

STAY, UP, DOWN = 0, 1, 2


def state(**values: float) -> np.ndarray:
    defaults = {
        "opponent_y": 12,
        "player_y": 12,
        "ball_x": 12,
        "ball_y": 12,
        "ball_vx": 0.6,
        "ball_vy": 0.45,
        "serves": 1,
    }
    return np.array([{**defaults, **values}.get(name, 0) for name in STATE_NAMES], np.float64)


def after(start: np.ndarray, *actions: int) -> np.ndarray:
    game = VectorPong()
    game.set_state(start[None])
    for action in actions:
        game.act(np.array([[action]], np.float32))
    return game.get_state()[0]


def played(frames: int, seeds: np.ndarray, bot_seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return states `frames+1 n s` and rewards `frames n` of games under the recording mixture."""
    game = VectorPong()
    game.reset(seeds)
    bot = make_bot("mixture", game.actions, len(seeds), bot_seed)
    states, rewards = [game.get_state()], []
    for _ in range(frames):
        rewards.append(game.act(bot(states[-1])))
        states.append(game.get_state())
    return np.stack(states), np.stack(rewards)


def unmixed(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Invert the colours: coverage of ball and paddles, each `n h w`."""
    contrasts = np.stack([np.subtract(c, BACKGROUND) for c in COLOURS.values()], axis=1)
    covered = (frames.astype(np.float64) - BACKGROUND) @ np.linalg.inv(contrasts).T
    return dict(zip(COLOURS, np.moveaxis(covered, -1, 0), strict=True))


def middle(profile: np.ndarray) -> np.ndarray:
    """Return the centre in pixels of one box from its coverage along one axis, `n p`.

    Any pixel edge inside the box has mass to its left and right that tell how far the ends are: exact for boxes of any
    width, where the centroid of the pixels is exact only for whole ones.
    """
    pixels = np.arange(profile.shape[1])
    inside = np.rint((profile * (pixels + 0.5)).sum(1) / profile.sum(1))
    side = np.where(pixels >= inside[:, None], 1, -1)
    return inside + (side * profile).sum(1) / profile.max(1) / 2


def ball_centre(covered: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return x, y of each ball in pixels, blind to what is far from `near`: rounding leaks between colours."""
    size = covered.shape[-1]
    close = np.abs(np.arange(size) + 0.5 - near[..., None]) < BALL_HALF * size / COURT + 1  # n 2 p
    here = covered * close[:, 0, None, :] * close[:, 1, :, None]
    return np.stack([middle(here.sum(1)), middle(here.sum(2))], axis=1)


def paddle_y(covered: np.ndarray, name: str) -> np.ndarray:
    """Return y of each paddle in pixels."""
    left, right = {"player": PLAYER_X, "opponent": OPPONENT_X}[name]
    scale = covered.shape[-1] / COURT
    return middle(covered[:, :, math.floor(left * scale) : math.ceil(right * scale)].sum(2))


@pytest.fixture(scope="module")
def long_play() -> tuple[np.ndarray, np.ndarray]:
    return played(1000, np.arange(61))


# Physics


def test_walls_are_mirrors() -> None:
    vx, vy = 0.1, 0.7  # slow across, so that 80 frames bounce twice and meet no paddle
    ball = state(ball_x=12, ball_y=5, ball_vx=vx, ball_vy=vy)
    for frames in (1, 25, 26, 27, 58, 80):
        along = (5 - 1 + frames * vy) % 44
        expected = 1 + (along if along <= 22 else 44 - along)
        end = after(ball, *[STAY] * frames)
        assert end[BALL_X] == pytest.approx(12 + frames * vx)
        assert end[BALL_Y] == pytest.approx(expected)
        assert end[BALL_VY] == (vy if along <= 22 else -vy)


@pytest.mark.parametrize("offset", [-3.3, -1.0, 0.0, 2.2, 3.3])
@pytest.mark.parametrize(("action", "moved"), [(STAY, 0.0), (UP, -0.6), (DOWN, 0.6)])
def test_the_player_returns_the_ball_with_spin(offset: float, action: int, moved: float) -> None:
    # The face is reached after 0.3 / 0.6 = half a frame, when the ball is at y = 10.225.
    start = state(ball_x=20.7, ball_y=10, player_y=10.225 - offset - moved)
    vy = min(0.45 + 0.10 * offset + 0.35 * moved, 0.55)
    vx = -math.sqrt(0.75**2 - vy**2)
    end = after(start, action)
    assert end[[BALL_X, BALL_Y, BALL_VX, BALL_VY]] == pytest.approx([21 + vx / 2, 10.225 + vy / 2, vx, vy])


def test_the_opponent_returns_the_ball_with_spin() -> None:
    # It follows the ball's y at the start of the frame: from 9 towards 10.2 by 0.4, so to 9.4.
    start = state(ball_x=3.2, ball_y=10.2, ball_vx=-0.6, ball_vy=-0.45, opponent_y=9)
    at_y = 10.2 - 0.45 / 3
    vy = -0.45 + 0.10 * (at_y - 9.4) + 0.35 * 0.4
    vx = math.sqrt(0.75**2 - vy**2)
    end = after(start, STAY)
    assert end[OPPONENT_Y] == pytest.approx(9.4)
    assert end[[BALL_X, BALL_Y, BALL_VX, BALL_VY]] == pytest.approx([3 + vx * 2 / 3, at_y + vy * 2 / 3, vx, vy])


def test_wall_then_paddle_then_wall_in_one_frame() -> None:
    # Wall at 0.1 frames, face at 0.5 where y = 22.82 flying up, spun back down, and the wall again.
    start = state(ball_x=20.7, ball_y=22.955, ball_vx=0.6, ball_vy=0.45, player_y=19.35)
    at_y = 23 - 0.45 * 0.4
    vy = -0.45 + 0.10 * (at_y - 19.95) + 0.35 * 0.6
    assert vy > 0
    end = after(start, DOWN)
    assert end[BALL_Y] == pytest.approx(at_y + 0.5 * vy)
    vy_up = -0.45 + 0.10 * (at_y - 21.5)  # the paddle cannot go down from 21.5: it did not move, so no spin by speed
    assert after(state(**_named(start, player_y=21.5)), DOWN)[BALL_VY] == pytest.approx(vy_up)


def _named(row: np.ndarray, **changes: float) -> dict[str, float]:
    return {**dict(zip(STATE_NAMES, row.tolist(), strict=True)), **changes}


def test_touching_corners_count_and_a_hair_more_is_a_miss() -> None:
    corner = state(ball_x=20.5, ball_y=10, ball_vx=0.75, ball_vy=0, player_y=13.5)
    assert after(corner, STAY)[BALL_VX] < 0
    assert after(state(**_named(corner, player_y=13.5 + 1e-9)), STAY)[BALL_VX] > 0


def test_a_ball_that_stops_exactly_on_the_face_bounces_next() -> None:
    end = after(state(ball_x=20.25, ball_vx=0.75, ball_vy=0), STAY)
    assert end[BALL_X] < 21 or after(end, STAY)[BALL_X] < 21


def test_a_paddle_cannot_catch_a_ball_that_has_passed_it() -> None:
    passed = state(ball_x=21.5, ball_y=12, ball_vx=0.75, ball_vy=0, player_y=12)
    assert after(passed, STAY)[BALL_X] == pytest.approx(22.25)


def test_against_a_finely_stepped_simulation() -> None:
    rng = np.random.default_rng(3)
    n, steps = 3000, 400
    vy = rng.uniform(-0.55, 0.55, n)
    vx = rng.choice([-1, 1], n) * np.sqrt(0.75**2 - vy**2)
    start = np.stack([state() for _ in range(n)])
    start[:, BALL_X] = np.where(vx > 0, rng.uniform(20.2, 21, n), rng.uniform(3, 3.8, n))
    start[:, BALL_Y], start[:, BALL_VX], start[:, BALL_VY] = rng.uniform(1, 23, n), vx, vy
    start[:, [OPPONENT_Y, PLAYER_Y]] = np.clip(start[:, [BALL_Y]] + rng.uniform(-5, 5, (n, 2)), 2.5, 21.5)
    actions = rng.integers(0, 3, n)
    game = VectorPong()
    game.set_state(start)
    game.act(actions[:, None].astype(np.float32))
    end = game.get_state()

    left = np.clip(start[:, OPPONENT_Y] + np.clip(start[:, BALL_Y] - start[:, OPPONENT_Y], -0.4, 0.4), 2.5, 21.5)
    right = np.clip(start[:, PLAYER_Y] + np.array([0, -0.6, 0.6])[actions], 2.5, 21.5)
    x, y = start[:, BALL_X].copy(), start[:, BALL_Y].copy()
    for _ in range(steps):
        before = x.copy()
        x, y = x + vx / steps, y + vy / steps
        vy = np.where((y < 1) | (y > 23), -vy, vy)
        y = np.where(y < 1, 2 - y, np.where(y > 23, 46 - y, y))
        for paddle, moved, crossed in (
            (left, left - start[:, OPPONENT_Y], (before >= 3) & (x < 3)),
            (right, right - start[:, PLAYER_Y], (before <= 21) & (x > 21)),
        ):
            hit = crossed & (np.abs(y - paddle) <= 3.5)
            vy = np.where(hit, np.clip(vy + 0.1 * (y - paddle) + 0.35 * moved, -0.55, 0.55), vy)
            vx = np.where(hit, -np.sign(vx) * np.sqrt(0.75**2 - vy**2), vx)
    assert 200 < (np.sign(vx) != np.sign(start[:, BALL_VX])).sum() < 2800
    stepped = np.stack([x, y, vx, vy], axis=1)
    agree = np.abs(end[:, [BALL_X, BALL_Y, BALL_VX, BALL_VY]] - stepped).max(1) < 0.01
    assert agree.mean() > 0.995  # the rest meets a paddle's corner or a wall within one sub-step of deciding otherwise


def test_a_small_error_stays_small_through_walls_and_contacts() -> None:
    start = state(ball_x=18, ball_y=21, player_y=20)  # meets the lower wall, the player, the upper wall, the opponent
    nudged = start + np.array([1e-6, -1e-6, 1e-6, -1e-6, 0, 1e-6, 0, 0, 0, 0])
    for frames in range(7, 50, 6):
        actions = ([DOWN, UP] * 3 + [STAY] * 50)[:frames]
        exact, other = after(start, *actions), after(nudged, *actions)
        assert np.abs(exact - other).max() < 1e-3  # grows by a factor at a contact, and never jumps
    assert exact[BALL_VX] > 0  # both paddles were met
    assert exact[SERVES] == 1


def test_speed_court_and_opponent_limits_hold_in_long_play(long_play: tuple[np.ndarray, np.ndarray]) -> None:
    states, rewards = long_play
    assert np.abs(np.hypot(states[..., BALL_VX], states[..., BALL_VY]) - 0.75).max() < 1e-12
    assert np.abs(states[..., BALL_VY]).max() <= 0.55
    assert states[..., [BALL_X, BALL_Y]].min() >= 1
    assert states[..., [BALL_X, BALL_Y]].max() <= 23
    moved = np.abs(np.diff(states[..., [OPPONENT_Y, PLAYER_Y]], axis=0)).max((0, 1))
    assert moved == pytest.approx([0.4, 0.6])
    assert states[..., [OPPONENT_Y, PLAYER_Y]].min() >= 2.5
    assert states[..., [OPPONENT_Y, PLAYER_Y]].max() <= 21.5
    assert (rewards == 1).sum() > 10  # the opponent is fallible
    assert (rewards == -1).sum() > 10


def test_points_count_and_the_serve_goes_to_who_conceded(long_play: tuple[np.ndarray, np.ndarray]) -> None:
    states, rewards = long_play
    scored = states[1:][rewards != 0]
    assert (scored[:, [BALL_X, BALL_Y]] == COURT / 2).all()
    assert (
        np.sign(scored[:, BALL_VX]) == -rewards[rewards != 0]
    ).all()  # the player, on the right, scores: to the left
    last = states[-1]
    assert np.array_equal(last[:, PLAYER_POINTS], (rewards == 1).sum(0))
    assert np.array_equal(last[:, OPPONENT_POINTS], (rewards == -1).sum(0))
    assert np.array_equal(last[:, SERVES], 1 + (rewards != 0).sum(0))


def test_the_point_falls_in_the_frame_in_which_the_ball_would_leave() -> None:
    game = VectorPong()
    game.set_state(np.stack([state(ball_x=22.3, ball_vx=0.6, ball_vy=0), state(ball_x=1.5, ball_vx=-0.6, ball_vy=0)]))
    assert game.act(np.zeros((2, 1), np.float32)).tolist() == [0, 1]
    assert game.act(np.zeros((2, 1), np.float32)).tolist() == [-1, 0]


def test_serves_are_uniform_and_to_both_sides() -> None:
    game = VectorPong()
    game.reset(np.arange(4000))
    vy, vx = game.get_state()[:, BALL_VY], game.get_state()[:, BALL_VX]
    assert np.abs(vy).max() <= 0.45
    assert np.histogram(vy, 9, (-0.45, 0.45))[0] == pytest.approx(4000 / 9, rel=0.2)
    assert (vx > 0).mean() == pytest.approx(0.5, abs=0.04)
    assert abs(np.corrcoef(vx, vy)[0, 1]) < 0.05


def test_arrival_is_where_the_ball_really_arrives() -> None:
    game = VectorPong()
    game.reset(np.arange(50))
    predicted, toward = arrival_y(game.get_state()), game.get_state()[:, BALL_VX] > 0
    while True:
        before = game.get_state()
        game.act(np.zeros((50, 1), np.float32))
        near = np.where(toward, before[:, BALL_X] > 20.4, before[:, BALL_X] < 3.6)
        assert np.abs(arrival_y(before) - predicted).max() < 1e-9
        if near.any():
            break
    now = arrival_y(before)[near]
    assert np.abs(now - before[near, BALL_Y]).max() < 0.6


# Determinism and state


def test_a_game_depends_on_its_own_seed_only() -> None:
    seeds = np.array([11, 2**53 - 1, 0])
    actions = np.random.default_rng(1).integers(0, 3, (600, 3, 1)).astype(np.float32)
    together = VectorPong()
    together.reset(seeds)
    alone = [VectorPong() for _ in seeds]
    for game, seed in zip(alone, seeds, strict=True):
        game.reset(np.array([seed]))
    for rows in actions:
        together.act(rows)
        for i, game in enumerate(alone):
            game.act(rows[i : i + 1])
    ends = np.concatenate([game.get_state() for game in alone])
    assert ends[:, SERVES].min() > 2
    assert np.array_equal(together.get_state(), ends)
    assert np.array_equal(together.frames(), np.concatenate([game.frames() for game in alone]))
    assert len({tuple(row[:7]) for row in ends}) == len(seeds)


def test_set_state_continues_the_same_game_through_serves() -> None:
    actions = np.random.default_rng(2).integers(0, 3, (500, 4, 1)).astype(np.float32)
    game = VectorPong()
    game.reset(np.array([5, 6, 7, 8]))
    for rows in actions[:233]:
        game.act(rows)
    twin = VectorPong()
    twin.reset(np.arange(9))
    saved = game.get_state()
    twin.set_state(saved[::-1])
    for rows in actions[233:]:
        assert np.array_equal(game.act(rows), twin.act(rows[::-1])[::-1])
    assert np.array_equal(game.frames(), twin.frames()[::-1])
    assert (game.get_state()[:, SERVES] > saved[:, SERVES]).all()


def test_states_are_copies() -> None:
    game = VectorPong()
    game.reset(np.arange(3))
    given = game.get_state()
    game.set_state(given)
    given[:] = 0
    game.get_state()[:] = 0
    assert game.get_state()[:, PLAYER_Y].tolist() == [12, 12, 12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ball_vx": np.nan}, "ball_vx of game 1 is nan"),
        ({"player_y": np.inf}, "player_y of game 1 is inf"),
        ({"seed": 2.0**53}, r"seed 9007199254740992\.0 is not an integer in \[0, 2\*\*53\)"),
        ({"seed": 1.5}, r"seed 1\.5 is not an integer"),
        ({"seed": -1}, r"seed -1\.0 is not an integer"),
    ],
)
def test_impossible_states_are_refused(change: dict[str, float], message: str) -> None:
    game = VectorPong()
    with pytest.raises(ValueError, match=message):
        game.set_state(np.stack([state(), state(**change)]))
    with pytest.raises(ValueError, match=r"shape \(2, 9\); pass n x 10"):
        game.set_state(np.zeros((2, 9)))


def test_other_bad_input_is_refused() -> None:
    game = VectorPong()
    with pytest.raises(ValueError, match="seed -3 is not an integer"):
        game.reset(np.array([4, -3]))
    game.reset(np.arange(2))
    with pytest.raises(ValueError, match="1 action rows for 2 games"):
        game.act(np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match=r"'move' is 3\.0 in row 1; .*0 stay, 1 up, 2 down"):
        game.act(np.array([[0], [3]], np.float32))
    with pytest.raises(ValueError, match="frame_size is 8; Pong needs at least 12"):
        PongConfig(frame_size=8)
    with pytest.raises(ValueError, match=r"ball_speed is 3\.0"):
        PongConfig(ball_speed=3.0)
    with pytest.raises(ValueError, match=r"max_ball_vy is 0\.75; it must be below ball_speed"):
        PongConfig(max_ball_vy=0.75)
    with pytest.raises(ValueError, match=r"opponent_speed is -0\.1"):
        PongConfig(opponent_speed=-0.1)
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        Pong(render_mode="human")


# Pictures


@pytest.mark.parametrize("size", [24, 31, 64])
def test_positions_can_be_read_from_the_pixels(size: int) -> None:
    rng = np.random.default_rng(size)
    opponent, player, y = rng.uniform(2.5, 21.5, (3, 700))
    x = rng.uniform(4, 20, 700)
    frames = np.empty((700, size, size, 3), np.uint8)
    Canvas(size).draw(opponent, player, x, y, frames)
    scale, covered = size / COURT, unmixed(frames)
    ball = scale * np.stack([x, y], axis=1)
    assert np.abs(ball_centre(covered["ball"], ball) - ball).max() < 0.01
    assert np.abs(paddle_y(covered["player"], "player") - scale * player).max() < 0.01
    assert np.abs(paddle_y(covered["opponent"], "opponent") - scale * opponent).max() < 0.01
    for name, area in (("ball", 4), ("player", 5), ("opponent", 5)):
        assert covered[name].sum((1, 2)) == pytest.approx(area * scale**2, rel=0.02)


def test_whole_pixels_have_the_pure_colours() -> None:
    game = VectorPong()
    game.set_state(state(opponent_y=4.5, player_y=14.5, ball_x=9, ball_y=18)[None])
    expected = np.full((24, 24, 3), BACKGROUND, np.uint8)
    expected[2:7, 1], expected[12:17, 22], expected[17:19, 8:10] = (
        COLOURS["opponent"],
        COLOURS["player"],
        COLOURS["ball"],
    )
    assert np.array_equal(game.frames()[0], expected)


@pytest.mark.parametrize("size", [24, 64])
def test_every_frame_shows_one_whole_ball_and_both_paddles(size: int) -> None:
    game = PongConfig(frame_size=size).build()
    states = played(300, np.arange(29))[0]
    assert (states[:, :, BALL_X] > 22).any()  # balls behind a paddle are among them
    for now in states[::3]:
        game.set_state(now)
        covered, unit = unmixed(game.frames()), (size / COURT) ** 2
        position = now[:, [BALL_X, BALL_Y]] * size / COURT
        assert covered["ball"].sum((1, 2)) == pytest.approx(4 * unit, rel=0.03)
        assert np.abs(ball_centre(covered["ball"], position) - position).max() < 0.03
        beside = (now[:, BALL_X] <= 21) & (now[:, BALL_X] >= 3)
        assert covered["player"].sum((1, 2))[beside] == pytest.approx(5 * unit, rel=0.03)
        assert covered["opponent"].sum((1, 2))[beside] == pytest.approx(5 * unit, rel=0.03)


def test_the_ball_covers_a_paddle_that_it_flies_through() -> None:
    game = VectorPong()
    game.set_state(state(ball_x=22.25, ball_y=12.5, ball_vx=0.75, ball_vy=0, player_y=14)[None])
    covered = unmixed(game.frames())
    total = sum(covered.values())
    assert total.max() <= 1.01
    assert covered["ball"].sum() == pytest.approx(4, rel=0.01)
    assert covered["player"].sum() == pytest.approx(3, rel=0.01)  # rows 11.5 to 13.5 of its 11.5 to 16.5 are hidden


def test_many_games_and_a_given_array_are_drawn_alike() -> None:
    game = PongConfig(frame_size=64).build()
    game.reset(np.arange(200))  # more than one cache-sized part
    for _ in range(21):
        game.act(np.ones((200, 1), np.float32))
    out = np.zeros((200, 64, 64, 3), np.uint8)
    assert game.frames(out) is out
    game.set_state(game.get_state()[150:153])
    assert np.array_equal(out[150:153], game.frames())


# The environment


def test_the_environment_passes_gymnasiums_checker() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("hallucade/Pong-v0", render_mode="rgb_array").unwrapped)
        check_env(gymnasium.make("hallucade/Pong-v0", frame_size=64).unwrapped, skip_render_check=True)


def test_an_episode_is_a_minute_unless_the_user_says_otherwise() -> None:
    assert gymnasium.spec("hallucade/Pong-v0").max_episode_steps == 60 * VectorPong.fps
    env = gymnasium.make("hallucade/Pong-v0", max_episode_steps=7)
    env.reset(seed=0)
    assert [env.step(STAY)[2:4] for _ in range(7)][-2:] == [(False, False), (False, True)]


def test_an_action_moves_the_paddle_in_the_very_next_frame() -> None:
    env = gymnasium.make("hallucade/Pong-v0", frame_size=36)
    frame, _ = env.reset(seed=4)
    height = paddle_y(unmixed(frame[None])["player"], "player")[0]
    for action, moved in ((UP, -0.6), (UP, -0.6), (DOWN, 0.6), (STAY, 0.0)):
        frame, *_ = env.step(action)
        now = paddle_y(unmixed(frame[None])["player"], "player")[0]
        assert now - height == pytest.approx(moved * 36 / COURT, abs=0.01)
        height = now


def test_the_environment_plays_the_vectorised_game() -> None:
    env, games = Pong(), VectorPong()
    first, _ = env.reset(seed=21)
    games.reset(np.array([21]))
    assert np.array_equal(first, games.frames()[0])
    for action in np.random.default_rng(0).integers(0, 3, 200):
        frame, reward, terminated, truncated, _ = env.step(action)
        assert reward == games.act(np.array([[action]], np.float32))[0]
        assert np.array_equal(frame, games.frames()[0])
        assert not terminated
        assert not truncated
    assert np.array_equal(env.get_state(), games.get_state()[0])
    assert env.get_state()[SERVES] > 1
    saved = env.get_state()
    moved = env.act(PONG_ACTIONS.from_keys({"ArrowDown"}))[0]
    env.set_state(saved)
    assert np.array_equal(env.frame(), frame)
    assert np.array_equal(env.step(DOWN)[0], moved)


def test_resets_without_a_seed_are_new_games_and_repeat_after_a_seed() -> None:
    env = Pong()
    sequences = []
    for _ in range(2):
        env.reset(seed=1)
        sequences.append([(env.reset(), env.get_state()[SEED])[1] for _ in range(3)])
    assert len(set(sequences[0])) == 3
    assert sequences[0] == sequences[1]


def test_games_are_made_by_name() -> None:
    assert known_games() == ("pong", "maze", "small_maze")
    games, game = make_vector_game("pong", 64), make_game("pong", 64)
    assert isinstance(games, VectorGame)
    assert isinstance(game, Game)
    games.reset(np.array([3, 4]))
    assert games.frames().shape == (2, 64, 64, 3)
    assert game.frame().shape == (64, 64, 3)
    for make in (make_game, make_vector_game):
        with pytest.raises(ValueError, match="unknown game 'breakout'; known games: pong"):
            make("breakout")
