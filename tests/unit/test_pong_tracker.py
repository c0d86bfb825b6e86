import numpy as np
import pytest

from hallucade.evaluation.game_check.pong_tracker import PongTrack, join_tracks, track, tracker_floor
from hallucade.games.pong import BALL_X, BALL_Y, OPPONENT_Y, PLAYER_Y, STATE_NAMES, PongConfig
from hallucade.games.pong_court import BACKGROUND, COLOURS

SIZES = (24, 64)


def state(opponent_y: float = 9.3, player_y: float = 13.7, ball: tuple[float, float] = (11.4, 7.6)) -> np.ndarray:
    values = np.zeros(len(STATE_NAMES))
    values[[OPPONENT_Y, PLAYER_Y, BALL_X, BALL_Y]] = opponent_y, player_y, *ball
    return values


def drawn(*states: np.ndarray, size: int = 24) -> np.ndarray:
    games = PongConfig(frame_size=size).build()
    games.set_state(np.stack(states))
    return games.frames()


def with_ball(frame: np.ndarray, x: int, y: int, share: float = 1.0, side: int = 2) -> np.ndarray:
    """Paint another ball, of whole pixels of 24, with some share of white."""
    frame = frame.copy()
    contrast = np.subtract(COLOURS["ball"], BACKGROUND)
    frame[y : y + side, x : x + side] = np.round(np.array(BACKGROUND) + share * contrast)
    return frame


def without_ball(opponent_y: float = 9.3, player_y: float = 13.7) -> np.ndarray:
    """Draw paddles alone."""
    frame = drawn(state(opponent_y, player_y, (12, 12)))[0]
    frame[9:15, 9:15] = BACKGROUND
    return frame


@pytest.mark.parametrize("size", SIZES)
def test_it_reads_positions_from_real_frames_to_hundredths_of_a_pixel(size: int):
    floor = tracker_floor(PongConfig(frame_size=size), frames=700, seed=5)
    assert floor["ball_max"] < 0.02
    assert floor["paddle_mean"] < 0.01
    assert floor["paddle_max"] < 0.1  # the ball may hide an edge
    assert floor["incomplete_share"] == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ball", [(1.0, 1.0), (23.0, 23.0), (22.6, 12.2), (12.0, 22.9), (1.6, 9.9)])
def test_it_reads_balls_at_walls_and_over_paddles(size: int, ball: tuple[float, float]):
    found = track(drawn(state(ball=ball), size=size))
    assert found.complete.all()
    assert found.ball_x[0] == pytest.approx(ball[0], abs=0.02)
    assert found.ball_y[0] == pytest.approx(ball[1], abs=0.02)
    assert found.player_y[0] == pytest.approx(13.7, abs=0.05)
    assert found.opponent_y[0] == pytest.approx(9.3, abs=0.05)
    assert found.ball_mass[0] == pytest.approx(1, abs=0.02)


def test_leading_axes_are_kept():
    frames = drawn(*(state(ball=(3.0 + i, 12)) for i in range(6))).reshape(2, 3, 24, 24, 3)
    found = track(frames)
    assert found.ball_x.shape == found.complete.shape == (2, 3)
    assert found.ball_x[1].tolist() == pytest.approx([6, 7, 8], abs=0.02)
    assert found.cut(1, 2).ball_x.shape == (2, 1)
    both = join_tracks([found, found], axis=1)
    assert isinstance(both, PongTrack)
    assert both.balls.shape == (2, 6)


def test_no_ball_is_no_ball_and_nowhere():
    found = track(without_ball()[None])
    assert found.balls[0] == 0
    assert np.isnan(found.ball_x[0])
    assert np.isnan(found.ball_y[0])
    assert found.ball_mass[0] == pytest.approx(0, abs=0.01)
    assert found.player_there.all()
    assert not found.complete.any()


@pytest.mark.parametrize(("share", "balls"), [(1.0, 1), (0.6, 1), (0.3, 0)])
def test_a_ball_counts_from_half_of_its_light(share: float, balls: int):
    found = track(with_ball(without_ball(), 10, 5, share)[None])
    assert found.balls[0] == balls
    assert found.ball_x[0] == pytest.approx(11, abs=0.05)  # even a faint one has a place
    assert found.ball_mass[0] == pytest.approx(share, abs=0.02)


def test_two_balls_are_two_and_the_larger_is_followed():
    found = track(with_ball(drawn(state())[0], 16, 18, 0.7)[None])
    assert found.balls[0] == 2
    assert (found.ball_x[0], found.ball_y[0]) == (pytest.approx(11.4, abs=0.05), pytest.approx(7.6, abs=0.05))


def test_two_balls_that_touch_are_two():
    assert track(with_ball(with_ball(without_ball(), 10, 5), 12, 6)[None]).balls[0] == 2


def test_a_blurred_ball_is_one_ball_in_the_same_place_and_less_sharp():
    blurred = with_ball(without_ball(), 9, 4, share=0.25, side=4)
    sharp = with_ball(without_ball(), 10, 5)
    found = track(np.stack([sharp, blurred]))
    assert found.balls.tolist() == [1, 1]
    assert found.ball_x.tolist() == pytest.approx([11, 11], abs=0.05)
    assert found.ball_sharpness[0] == pytest.approx(1, abs=0.02)
    assert found.ball_sharpness[1] == pytest.approx(0.25, abs=0.02)


def test_a_missing_or_doubled_paddle_is_not_there():
    frame = drawn(state())[0]
    gone = frame.copy()
    gone[:, 22] = BACKGROUND
    doubled = frame.copy()
    doubled[0:5, 22] = COLOURS["player"]
    found = track(np.stack([frame, gone, doubled]))
    assert found.player_there.tolist() == [True, False, False]
    assert found.opponent_there.all()
    assert np.isnan(found.player_y[1])


def test_noise_moves_nothing(rng: np.random.Generator):
    clean = drawn(*[state()] * 40)
    noisy = np.clip(clean + rng.normal(0, 8, clean.shape), 0, 255).astype(np.uint8)
    found = track(noisy)
    assert found.complete.all()
    assert np.abs(found.ball_x - 11.4).max() < 0.15
    assert np.abs(found.player_y - 13.7).max() < 0.3
    assert abs(found.player_y.mean() - 13.7) < 0.05  # no pull toward the middle


def test_it_refuses_pictures_that_are_not_square():
    with pytest.raises(ValueError, match="24x30 pixels; Pong's court is square"):
        track(np.zeros((2, 24, 30, 3), np.uint8))
