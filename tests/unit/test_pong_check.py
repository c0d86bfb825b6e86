from dataclasses import replace

import numpy as np
import pytest

from hallucade.evaluation.game_check.fidelity import (
    LOST_BALL,
    LOST_PADDLE,
    PongErrors,
    error_metrics,
    errors_of_copy,
    errors_of_states,
    errors_of_track,
    valid_horizon,
)
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.game_check.pong_observer import foretell, observe
from hallucade.evaluation.game_check.pong_tracker import PongTrack, track
from hallucade.evaluation.game_check.pong_truth import HELD_OUT, PongTruth, held_out_games, simulate
from hallucade.evaluation.game_check.response import PaddleResponse
from hallucade.evaluation.game_check.rules import RULES, violations
from hallucade.evaluation.game_check.survival import SEGMENT, Survival
from hallucade.games.pong import (
    BALL_VX,
    BALL_VY,
    BALL_X,
    BALL_Y,
    OPPONENT_Y,
    PLAYER_Y,
    SEED,
    SERVES,
    STATE_NAMES,
    PongConfig,
)

PONG = PongConfig()
PROMPT, HORIZON = 8, 21


@pytest.fixture(scope="module")
def truth() -> PongTruth:
    return held_out_games(PONG, 37, PROMPT, HORIZON, (8, 90), seed=2)


def shown(states: np.ndarray) -> PongTrack:
    """Return what a tracker without error sees of these states."""
    position = states.astype(np.float32)
    whole = np.ones(states.shape[:-1], np.bool_)
    return PongTrack(
        player_y=position[..., PLAYER_Y],
        opponent_y=position[..., OPPONENT_Y],
        ball_x=position[..., BALL_X],
        ball_y=position[..., BALL_Y],
        balls=whole.astype(np.int64),
        ball_mass=whole.astype(np.float32),
        ball_sharpness=whole.astype(np.float32),
        player_there=whole,
        opponent_there=whole,
    )


def test_held_out_games_are_true_play_that_the_seed_names(truth: PongTruth):
    again = held_out_games(PONG, 37, PROMPT, HORIZON, (8, 90), seed=2)
    np.testing.assert_array_equal(truth.states, again.states)
    np.testing.assert_array_equal(simulate(PONG, truth.states[:, 0], truth.actions), truth.states[:, 1:])
    assert truth.states[..., SEED].min() >= HELD_OUT
    assert truth.future.shape[1] == truth.future_actions.shape[1] == HORIZON
    other = held_out_games(PONG, 37, PROMPT, HORIZON, (8, 90), seed=3)
    assert not set(other.states[:, 0, SEED]) & set(truth.states[:, 0, SEED])


def test_prompts_hold_no_serve_and_end_in_the_state_they_name(truth: PongTruth):
    in_prompt = truth.states[:, :PROMPT, SERVES]
    assert (in_prompt == in_prompt[:, :1]).all()
    prompt = truth.prompts()[5]
    assert prompt.frames.shape == (PROMPT, 24, 24, 3)
    assert len(prompt.actions) == PROMPT - 1
    assert prompt.state is not None
    assert track(prompt.frames).ball_x[-1] == pytest.approx(prompt.state[BALL_X], abs=0.02)


def test_what_counts_ends_with_the_first_serve_and_not_before(truth: PongTruth):
    served = (~truth.before_serve).any(1)
    assert served.any()
    assert not served.all()
    for game in np.flatnonzero(served):
        first = int(np.argmin(truth.before_serve[game]))
        jump = np.abs(np.diff(truth.states[game, PROMPT - 1 + first : PROMPT + 1 + first, BALL_X]))
        assert jump > 2 * PONG.ball_speed  # the frame in which the ball is back in the middle
        assert not truth.before_serve[game, first:].any()


def test_the_observer_reads_state_and_velocity_from_pixels(truth: PongTruth):
    error = np.abs(observe(truth) - truth.last)[:, [OPPONENT_Y, PLAYER_Y, BALL_X, BALL_Y, BALL_VX, BALL_VY]]
    assert np.median(error, 0).max() < 0.005
    assert np.quantile(error, 0.9, axis=0).max() < 0.05


def test_the_observer_is_right_through_bounces_in_the_prompt(truth: PongTruth):
    turned = (np.diff(np.sign(truth.states[:, :PROMPT, [BALL_VX, BALL_VY]]), axis=1) != 0).any((1, 2))
    assert turned.sum() >= 4  # otherwise this test says nothing
    bounced = truth.games(np.flatnonzero(turned))
    error = errors_of_states(foretell(bounced), bounced)
    assert np.median(error.ball[:, 3]) < 0.05


def test_the_observer_foretells_what_no_copy_can(truth: PongTruth):
    observer, copy = errors_of_states(foretell(truth), truth), errors_of_copy(truth)
    counts = truth.before_serve[:, 15]
    assert np.quantile(observer.ball[counts, 15], 0.9) < 0.3
    assert np.median(copy.ball[counts, 15]) > 5
    assert observer.player.max() < 0.1  # the keys are known


def test_true_states_have_no_error(truth: PongTruth):
    errors = errors_of_states(truth.future, truth)
    assert errors.ball.max() == errors.player.max() == errors.opponent.max() == 0
    assert valid_horizon(errors) == HORIZON


def test_what_is_missing_counts_as_lost_and_not_as_nothing(truth: PongTruth):
    seen = shown(truth.future)
    nothing = np.full_like(seen.ball_x, np.nan)
    errors = errors_of_track(replace(seen, ball_x=nothing, ball_y=nothing, player_y=nothing), truth)
    assert (errors.ball == LOST_BALL).all()
    assert (errors.player == LOST_PADDLE).all()
    assert (errors.opponent < 1e-5).all()
    metrics = error_metrics(errors, (1, 8))
    assert metrics["pong/ball_error_px@8"] == pytest.approx(24 * 2**0.5)


def growing_errors(games: int, frames: int, foreseeable: np.ndarray | None = None) -> PongErrors:
    """Return balls that stray 0.3 a frame, in one game of five twice as fast."""
    speed = np.where(np.arange(games) % 5 == 0, 0.6, 0.3)[:, None]
    ball = speed * np.arange(1, frames + 1)
    known = np.ones((games, frames), np.bool_) if foreseeable is None else foreseeable
    return PongErrors(np.full_like(ball, 0.1), np.zeros_like(ball), ball, known)


def test_the_valid_horizon_is_where_nine_in_ten_leave_the_ball():
    assert valid_horizon(growing_errors(50, 20)) == 3  # 0.6 a frame for the worst fifth: 1.8 at 3, 2.4 at 4
    assert valid_horizon(growing_errors(50, 2)) == 2


def test_the_valid_horizon_ends_where_too_few_games_are_left():
    known = np.ones((50, 20), np.bool_)
    known[3:, 2:] = False  # three games are fewer than four
    assert valid_horizon(growing_errors(50, 20, known)) == 2
    assert "pong/ball_error_px@3" not in error_metrics(growing_errors(50, 20, known), (2, 3))


def test_error_metrics_are_means_medians_and_percentiles():
    metrics = error_metrics(growing_errors(50, 8), (1, 8), "observer_")
    assert metrics["pong/observer_paddle_error_px@8"] == pytest.approx(0.1)
    assert metrics["pong/observer_paddle_error_worst_px@8"] == pytest.approx(0.1)
    assert metrics["pong/observer_ball_error_px@8"] == pytest.approx(2.4)
    assert metrics["pong/observer_ball_error_p90_px@8"] == pytest.approx(4.8)


def test_true_play_breaks_no_rule(truth: PongTruth):
    found = violations(shown(truth.states), PONG, lead=2)
    assert found.per_1000() == dict.fromkeys([*RULES, "any"], 0.0)
    assert found.frames_to_first() == truth.states.shape[1] - 2


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("one_ball", {"balls": 2}),
        ("paddles", {"opponent_there": False}),
        ("ball_inside", {"ball_y": 0.4}),
        ("ball_speed", {"ball_x": 18.0, "ball_y": 18.0}),
        ("paddle_speed", {"player_y": 2.5}),
    ],
)
def test_each_rule_notices_its_fault(rule: str, broken: dict[str, float]):
    states = np.zeros((1, 9, len(STATE_NAMES)))
    states[..., [OPPONENT_Y, PLAYER_Y]] = 12
    states[..., BALL_X], states[..., BALL_Y] = 8 + 0.6 * np.arange(9), 6 + 0.45 * np.arange(9)  # speed 0.75
    clean = shown(states)
    fields = {name: getattr(clean, name).copy() for name in broken}
    for name, value in broken.items():
        fields[name][0, 5] = value
    assert violations(clean, PONG, lead=2).any.sum() == 0
    found = violations(replace(clean, **fields), PONG, lead=2)
    assert found.broken[rule][0, 3]  # frame 5, after the two that only lead in
    assert found.frames_to_first() == 3


def test_a_ball_that_turns_in_the_open_is_not_straight():
    states = np.zeros((1, 9, len(STATE_NAMES)))
    states[..., [OPPONENT_Y, PLAYER_Y]] = 12
    turned = np.minimum(np.arange(9), 8 - np.arange(9))  # back on its own way, at the right speed
    states[..., BALL_X], states[..., BALL_Y] = 10 + 0.6 * turned, 10 + 0.45 * turned
    found = violations(shown(states), PONG, lead=2)
    assert found.broken["ball_straight"].sum() == 1
    assert not found.broken["ball_speed"].any()


def test_a_missing_ball_is_reported_once_and_not_as_motion():
    states = np.zeros((1, 9, len(STATE_NAMES)))
    states[..., [OPPONENT_Y, PLAYER_Y, BALL_Y]] = 12
    states[..., BALL_X] = 5 + 0.75 * np.arange(9)
    clean = shown(states)
    gone = {name: getattr(clean, name).copy() for name in ("ball_x", "ball_y", "balls")}
    gone["ball_x"][0, 5] = gone["ball_y"][0, 5] = np.nan
    gone["balls"][0, 5] = 0
    rates = violations(replace(clean, **gone), PONG, lead=2).per_1000()
    assert rates["one_ball"] == rates["any"] == pytest.approx(1000 / 7)


def response(gain: float, lag: int) -> PaddleResponse:
    """Return a paddle that answers with a gain and a lag, in five games."""
    hold, frames = 8, 60
    truth = 0.6 * np.arange(1, hold + 1) * np.array([-1.0, 1.0])[:, None, None] * np.ones((2, 5, 1))
    late = gain * 0.6 * np.maximum(np.arange(1, hold + 1) - lag, 0)
    held = late * np.array([-1.0, 1.0])[:, None, None] * np.ones((2, 5, 1))
    velocity = np.random.default_rng(7).choice([-0.6, 0, 0.6], (5, frames // 3)).repeat(3, 1)
    delayed = np.concatenate([np.zeros((5, lag)), velocity[:, : velocity.shape[1] - lag]], 1)
    return PaddleResponse(held, truth, np.zeros((5, hold)), gain * delayed.cumsum(1), velocity.cumsum(1))


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_gain_and_lag_are_told_apart(gain: float, lag: int):
    metrics = response(gain, lag).metrics()
    assert metrics["pong/response_lag"] == lag
    assert metrics["pong/response_gain"] == pytest.approx(gain)
    assert metrics["pong/response_direction"] == 1


def test_a_paddle_that_never_moves_has_no_lag():
    metrics = response(0.0, 0).metrics()
    assert metrics["pong/response_direction"] == metrics["pong/response_gain"] == 0
    assert "pong/response_lag" not in metrics


def test_a_paddle_at_the_wall_is_left_out():
    full = response(1.0, 0)
    held, truth = full.held.copy(), full.held_truth.copy()
    held[0, 0] = truth[0, 0] = -0.3  # the wall stopped both at once
    held[0, 0, -1] = 5  # and what the dream did there says nothing
    metrics = replace(full, held=held, held_truth=truth).metrics()
    assert metrics["pong/response_direction"] == 1
    assert metrics["pong/response_gain"] == pytest.approx(1)


def survival(whole: np.ndarray, step: np.ndarray) -> Survival:
    states = np.zeros((*whole.shape, len(STATE_NAMES)))
    states[..., BALL_X] = np.cumsum(step, 1)
    seen = replace(shown(states), balls=whole.astype(np.int64))
    return Survival(seen, PONG.ball_speed, np.zeros((1, 1, 24, 24, 3), np.uint8), np.zeros((1, 1, 1), np.float32))


def test_a_game_that_collapses_in_the_middle_has_not_survived():
    whole = np.ones((3, 4 * SEGMENT), np.bool_)
    whole[1, SEGMENT : SEGMENT + 20] = False  # 8 % of the second segment
    whole[2, SEGMENT : SEGMENT + 10] = False  # 4 %
    found = survival(whole, np.full(whole.shape, PONG.ball_speed))
    assert found.alive.tolist() == [[True] * 4, [True, False, False, False], [True] * 4]
    metrics = found.metrics()
    assert metrics["pong/survival@1000"] == pytest.approx(2 / 3)
    assert metrics["pong/survival@250"] == 1
    assert metrics["pong/one_ball_share@1000"] == pytest.approx(1 - 30 / 3000)


def test_a_ball_that_stands_still_or_flickers_is_no_game():
    step = np.full((3, 300), PONG.ball_speed)
    step[1] = 0
    step[2] = 9 * (-1.0) ** np.arange(300)
    found = survival(np.ones(step.shape, np.bool_), step)
    assert found.alive.tolist() == [[True, True], [False, False], [False, False]]
    assert found.metrics()["pong/survival@300"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"horizons": (1, 999)}, "horizons are"),
        ({"horizons": ()}, "horizons are"),
        ({"prompt_frames": 1}, "prompt_frames is 1"),
        ({"warm_up": (9, 3)}, "warm_up is"),
        ({"rollouts": 1, "response_rollouts": 1}, "rollouts is 1"),
        ({"rollouts": 5}, "response_rollouts is 96"),
        ({"survival_frames": 64}, "share names"),
        ({"swap_frames": 1}, "swap_frames is 1"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_bad_settings_are_named(fields: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        replace(PongCheckConfig(), **fields)


def test_settings_travel_as_json_and_the_quick_check_is_quicker():
    config = PongCheckConfig.quick()
    assert PongCheckConfig.from_json(config.to_json()) == config
    assert config.frames < PongCheckConfig().frames / 3
    assert config.horizon == PongCheckConfig().horizon  # the same metrics by the same names
