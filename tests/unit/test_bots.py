from functools import cache

import numpy as np
import pytest

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.games.bots import MixedBot, RandomHoldBot, known_bots, make_bot
from hallucade.games.counter_random import mix, random_bits, uniform
from hallucade.games.pong import (
    BALL_VX,
    BALL_Y,
    OPPONENT_POINTS,
    PLAYER_POINTS,
    PLAYER_Y,
    PONG_ACTIONS,
    PongConfig,
)


@cache
def play(name: str, n: int, frames: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return states `frames+1 n s` and rows `frames n c`."""
    game = PongConfig().build()
    game.reset(np.arange(n))
    bot = make_bot(name, game.actions, n, seed)
    states, rows = [game.get_state()], []
    for _ in range(frames):
        rows.append(bot(states[-1]))
        game.act(rows[-1])
        states.append(game.get_state())
    return np.stack(states), np.stack(rows)


@pytest.mark.parametrize("name", known_bots(PONG_ACTIONS))
def test_bots_play_legal_rows_by_seed_and_game_alone(name: str) -> None:
    states, rows = play(name, 11, 200)
    PONG_ACTIONS.validate(rows)
    assert rows.dtype == np.float32
    fewer_states, fewer_rows = play(name, 3, 200)
    assert np.array_equal(fewer_rows, rows[:, :3])
    assert np.array_equal(fewer_states, states[:, :3])
    if name != "idle":
        assert not np.array_equal(play(name, 11, 200, seed=3)[1], rows)


def test_good_play_never_misses_and_beats_the_opponent() -> None:
    last = play("good", 120, 800)[0][-1]
    assert last[:, OPPONENT_POINTS].sum() == 0
    assert last[:, PLAYER_POINTS].sum() > 100


def test_good_beats_weak_beats_random() -> None:
    conceded = [play(name, 120, 800)[0][-1, :, OPPONENT_POINTS].mean() for name in ("good", "weak", "random_hold")]
    assert conceded[0] < conceded[1] - 3 < conceded[2] - 6


def test_the_mixture_covers_what_a_model_must_see() -> None:
    states, rows = play("mixture", 200, 900)
    moves = np.bincount(rows.astype(np.int64).ravel(), minlength=3) / rows.size
    assert moves.min() > 0.15
    heights = np.histogram(states[..., PLAYER_Y], 8, (2.5, 21.5))[0] / states[..., PLAYER_Y].size
    assert heights.min() > 0.04
    hit = (
        (states[:-1, :, BALL_VX] > 0)
        & (states[1:, :, BALL_VX] < 0)
        & (np.diff(states[..., OPPONENT_POINTS], axis=0) == 0)
    )
    offsets = (states[1:, :, BALL_Y] - states[1:, :, PLAYER_Y])[hit]
    assert (np.histogram(offsets, 7, (-3.5, 3.5))[0] / hit.sum()).min() > 0.04
    moving = np.sign(np.round(np.diff(states[..., PLAYER_Y], axis=0)[hit], 9))
    assert min((moving == direction).mean() for direction in (-1, 0, 1)) > 0.15
    assert states[-1, :, PLAYER_POINTS].sum() > 100
    assert states[-1, :, OPPONENT_POINTS].sum() > 100


def test_the_mixture_gives_a_game_to_another_bot_now_and_then() -> None:
    def constant(value: float):
        return lambda state: np.full((len(state), 1), value, np.float32)

    n = 400
    bot = MixedBot([constant(0), constant(1), constant(2)], [1, 2, 5], random_bits(9, np.arange(n)))
    chosen = np.stack([bot(np.zeros((n, 10)))[:, 0] for _ in range(900)])
    assert np.bincount(chosen[0].astype(np.int64)) / n == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.07)
    switches = (np.diff(chosen, axis=0) != 0).sum(0)
    assert 1 < switches.mean() < 900 / 30
    assert (chosen[:29] == chosen[0]).all()  # nobody is relieved within a second


def test_random_hold_plays_any_action_space() -> None:
    space = ActionSpace(
        buttons=(Button(name="fire"),),
        choices=(Choice(name="move", options=("stay", "left", "right", "up", "down")),),
        axes=(Axis(name="steer", low=-3, high=5),),
    )
    n = 50
    bot = RandomHoldBot(space, random_bits(1, np.arange(n)), mean_hold=3)
    rows = np.stack([bot(np.zeros((n, 2))) for _ in range(600)])
    space.validate(rows)
    assert rows[..., 0].mean() == pytest.approx(0.5, abs=0.05)
    assert np.bincount(rows[..., 1].astype(np.int64).ravel()) / rows[..., 1].size == pytest.approx(0.2, abs=0.03)
    assert rows[..., 2].min() < -2.9
    assert rows[..., 2].max() > 4.9
    changes = (np.diff(rows[..., 2], axis=0) != 0).sum() / (599 * n)
    assert changes == pytest.approx(1 / 3.5, rel=0.1)  # holds of 1 to 6 frames
    assert (rows[:, 0] != rows[:, 1]).any()


def test_bots_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown bot 'perfect'; known bots: good, weak, random_hold, idle, mixture"):
        make_bot("perfect", PONG_ACTIONS, 3, 0)
    other = ActionSpace(buttons=(Button(name="fire"),))
    with pytest.raises(ValueError, match=r"'good' does not know this game: .*bots for any game: random_hold, idle"):
        make_bot("good", other, 3, 0)
    assert make_bot("idle", other, 3, 0)(np.zeros((3, 4))).tolist() == [[0], [0], [0]]


def test_hashes_are_splitmix64_and_independent_of_shape() -> None:
    # The first outputs of the reference implementation seeded with 1234567.
    golden = 0x9E3779B97F4A7C15
    counters = np.array([(1234567 + (i + 1) * golden) % 2**64 for i in range(3)], np.uint64)
    assert mix(counters).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    grid = random_bits(np.arange(4)[:, None], np.arange(5))
    assert grid.shape == (4, 5)
    assert len(set(grid.ravel().tolist())) == 20
    assert random_bits(3, np.array([4])) == grid[3, 4]
    share = uniform(random_bits(8, np.arange(20000)))
    assert np.histogram(share, 10, (0, 1))[0] == pytest.approx(2000, rel=0.1)
