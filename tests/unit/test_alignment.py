from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from moving_scene import ACTIONS, Scene, film, play

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.checks.action_signals import signals_of
from hallucade.data.checks.alignment import Alignment, ControlAlignment, estimate_alignment
from hallucade.data.checks.alignment_evidence import Run
from hallucade.data.checks.alignment_problems import alignment_problems
from hallucade.data.checks.lag_response import LAGS, REACH, LagModel, lagged
from hallucade.data.checks.motion import CELLS, Motion, measure_motion
from hallucade.data.recorder import RecordingConfig, record

Change = Callable[[Run], Run]


def filmed(scene: Scene, episodes: int, n: int, seed: int = 0) -> list[Run]:
    rng = np.random.default_rng(seed)
    runs: list[Run] = []
    for episode in range(episodes):
        rows = play(rng, n)
        runs.append(Run(episode, 0, n, rows, measure_motion(film(scene, rows, rng)[0])))
    return runs


@pytest.fixture(scope="module")
def panned() -> list[Run]:
    return filmed(Scene(cuts=(50, 170)), 8, 240)


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActionSpace, list[Run]]:
    config = RecordingConfig(frames=1500, episode_length=299, games=5, bot="mixture")
    store = record(config, tmp_path_factory.mktemp("pong") / "s")
    episodes = [store.episode(index) for index in range(5)]
    return store.actions, [Run(i, 0, 299, e.actions, measure_motion(e.frames)) for i, e in enumerate(episodes)]


def simulated(seed: int, noise: float = 1.0, inertia: float = 0.0, n: int = 600) -> Run:
    """Play without pictures: the view's shift answers yaw and pitch, beside noise that is correlated in time."""
    rng = np.random.default_rng(seed)
    rows = play(rng, n)
    view = np.zeros((n, 2))
    drift = np.zeros(2)
    for i in range(n):
        drift = 0.7 * drift + rng.normal(0, noise, 2)
        view[i] = inertia * (view[i - 1] if i else 0) + (1 - inertia) * rows[i, 2:]
        view[i] += (1 - inertia) * drift
    view += rng.normal(0, 20, (n, 2)) * (rng.random((n, 2)) < 0.02)  # flow that went wrong
    none, no = np.zeros(n, np.float32), np.zeros(n, bool)
    parts = rng.standard_normal((n, 3 * CELLS**2)).astype(np.float32)
    right, up = view.astype(np.float32).T
    return Run(0, 0, n, rows, Motion(right, up, none, none + 1, none, none, no, no, parts))


def late(run: Run, frames: int = 1) -> Run:
    return replace(run, rows=np.roll(run.rows, frames, axis=0))


def late_first_half(run: Run) -> Run:
    half = len(run.rows) // 2
    return replace(run, rows=np.concatenate([np.roll(run.rows[:half], 1, axis=0), run.rows[half:]]))


def control(alignment: Alignment, name: str, group: int = 0) -> ControlAlignment:
    (found,) = [c for c in alignment.groups[group].controls if c.control.split("=")[0] == name]
    return found


def errors(alignment: Alignment) -> list[str]:
    return [problem.what for problem in alignment_problems(alignment) if problem.severity == "error"]


def test_aligned_play_is_aligned(panned: list[Run]) -> None:
    alignment = estimate_alignment(ACTIONS, panned)
    (group,) = alignment.groups
    assert (group.where, group.decision, group.lag) == ("all episodes", "aligned", 0)
    yaw, pitch, fire = (control(alignment, name) for name in ("yaw", "pitch", "fire"))
    assert (yaw.decision, pitch.decision) == ("aligned", "aligned")
    assert int(np.argmax(yaw.r2)) == REACH
    assert yaw.r2[REACH] > 0.8
    assert yaw.response[REACH] == pytest.approx(56 / 70, rel=0.15)  # pixels a degree
    assert fire.decision == "undecided: no answer in the picture"
    assert alignment_problems(alignment) == []


@pytest.mark.parametrize("frames", [-2, -1, 1, 2])
def test_r12_shifted_play_is_an_error_that_names_the_lag(panned: list[Run], frames: int) -> None:
    alignment = estimate_alignment(ACTIONS, [late(run, frames) for run in panned])
    word = "late" if frames > 0 else "early"
    assert control(alignment, "yaw").decision == f"{word} by {abs(frames)}"
    assert alignment.groups[0].lag == -frames
    moves = "before its action" if frames > 0 else "later than its action says"
    assert any("'yaw'" in what and moves in what for what in errors(alignment))
    (remedy,) = {p.remedy for p in alignment_problems(alignment) if "'yaw'" in p.what}
    assert f"--delay {-frames}: row i belongs to frame i {'-' if frames > 0 else '+'} {abs(frames)}" in remedy


def test_r12_an_inverted_axis_is_an_error_of_that_axis_alone(panned: list[Run]) -> None:
    alignment = estimate_alignment(ACTIONS, [replace(r, rows=r.rows * np.float32([1, 1, 1, -1])) for r in panned])
    assert control(alignment, "pitch").decision == "inverted"
    assert control(alignment, "yaw").decision == "aligned"
    (what,) = errors(alignment)
    assert "'pitch' turns the view the other way" in what


def test_a_recording_that_is_late_in_its_first_half_is_found(panned: list[Run]) -> None:
    alignment = estimate_alignment(ACTIONS, [late_first_half(run) for run in panned])
    found = {group.where: group.lag for group in alignment.groups}
    assert found == {"0-50 % of each episode": -1, "50-100 % of each episode": 0}
    assert all("0-50 %" in what and "1 frame before" in what for what in errors(alignment))
    assert errors(alignment)


def test_single_episodes_that_are_late_are_named(panned: list[Run]) -> None:
    alignment = estimate_alignment(ACTIONS, [late(r) if r.episode in (2, 5) else r for r in panned])
    usual, odd = alignment.groups
    assert (usual.lag, usual.where) == (0, "all other episodes")
    assert (odd.lag, odd.episodes) == (-1, (2, 5))
    assert all(p.episode == 2 for p in alignment_problems(alignment) if p.severity == "error")


@pytest.mark.parametrize("inertia", [0.5, 0.8])
def test_inertia_is_no_error(inertia: float) -> None:
    runs = [replace(simulated(seed, 0.5, inertia), episode=seed) for seed in range(6)]
    assert alignment_problems(estimate_alignment(ACTIONS, runs)) == []
    assert errors(estimate_alignment(ACTIONS, [late(run) for run in runs]))


def test_a_view_that_does_not_move_is_undecided_and_said_so() -> None:
    rng = np.random.default_rng(0)
    runs = [replace(simulated(1), rows=play(rng, 600))]
    alignment = estimate_alignment(ACTIONS, runs)
    assert alignment.groups[0].lag is None
    (problem,) = alignment_problems(alignment)
    assert problem.severity == "warning"
    assert "do not tell" in problem.what


def test_actions_that_are_no_numbers_are_left_out() -> None:
    run = simulated(2)
    run.rows[40:60, 2] = np.nan
    (group,) = estimate_alignment(ACTIONS, [run]).groups
    assert (group.decision, group.frames) == ("aligned", 600 - 6 - 26)


def test_play_without_variation_is_undecided() -> None:
    run = simulated(1)
    alignment = estimate_alignment(ACTIONS, [replace(run, rows=np.ones_like(run.rows))])
    assert {c.decision for c in alignment.groups[0].controls} == {"undecided: too little variation"}
    assert estimate_alignment(ACTIONS, []).groups[0].frames == 0


def test_over_many_seeds_no_false_alarm_and_hardly_a_miss() -> None:
    """600 frames of keys held for 8, correlated noise of a third of the motion, a flow in fifty that is wrong."""
    runs = [simulated(seed) for seed in range(40)]
    assert [errors(estimate_alignment(ACTIONS, [run])) for run in runs] == [[]] * 40
    for frames in (-1, 1):
        lags = [estimate_alignment(ACTIONS, [late(run, frames)]).groups[0].lag for run in runs]
        assert set(lags) <= {-frames, None}
        assert lags.count(-frames) >= 38  # 600 frames of noisy play may leave it undecided


def test_half_a_minute_of_mixed_labels_is_enough_to_see_where_they_change() -> None:
    """Neither lag is certain over all rows, only that there is an answer; each half then tells its own."""
    for seed in range(12):
        runs = [late_first_half(replace(simulated(40 * seed + i, 0.3, n=240), episode=i)) for i in range(4)]
        found = {group.where: group.lag for group in estimate_alignment(ACTIONS, runs).groups}
        assert found == {"0-50 % of each episode": -1, "50-100 % of each episode": 0}


def test_a_paddle_tells_where_no_view_moves(pong: tuple[ActionSpace, list[Run]]) -> None:
    actions, runs = pong
    alignment = estimate_alignment(actions, runs)
    assert (alignment.groups[0].lag, control(alignment, "move").decision) == (0, "aligned")
    assert alignment_problems(alignment) == []


@pytest.mark.parametrize(("frames", "severity"), [(1, "error"), (2, "error"), (-1, "warning")])
def test_a_paddle_that_moves_first_is_an_error(pong: tuple[ActionSpace, list[Run]], frames: int, severity: str) -> None:
    actions, runs = pong
    alignment = estimate_alignment(actions, [late(run, frames) for run in runs])
    assert alignment.groups[0].lag == -frames
    (problem,) = alignment_problems(alignment)
    assert problem.severity == severity


def test_half_a_game_of_late_labels_is_found(pong: tuple[ActionSpace, list[Run]]) -> None:
    actions, runs = pong
    (what,) = errors(estimate_alignment(actions, [late_first_half(run) for run in runs]))
    assert what.startswith("in 0-50 % of each episode the picture moves 1 frame before")


def test_lags_name_the_frames_from_an_action_to_its_motion() -> None:
    series = np.arange(11.0)[:, None]
    terms = lagged(series)
    assert terms.shape == (5, 1, len(LAGS))
    assert terms[0, 0].tolist() == [6, 5, 4, 3, 2, 1, 0]  # pair 3: lag -3 is the action 3 frames later
    assert lagged(np.zeros((4, 2))).shape == (0, 2, len(LAGS))


def test_the_regression_gives_each_lag_its_own_part(rng: np.random.Generator) -> None:
    """Two held signals that go together; the motion answers the first at lags 0 and 2 and the second at lag 1."""
    n = 4000
    one = np.repeat(rng.standard_normal(n // 8), 8)
    both = np.stack([one, one + 0.5 * np.repeat(rng.standard_normal(n // 5), 5)], axis=1)
    terms = lagged(both)
    motion = 2 * terms[:, 0, REACH] - terms[:, 0, REACH + 2] + 3 * terms[:, 1, REACH + 1]
    motion = motion + rng.normal(0, 0.3, len(motion))
    model = LagModel(terms, np.arange(len(motion)) // 32)
    first, second = (model.response(i, motion) for i in (0, 1))
    assert first.effect == pytest.approx([0, 0, 0, 2, 0, -1, 0], abs=0.1)
    assert second.effect == pytest.approx([0, 0, 0, 0, 3, 0, 0], abs=0.1)
    assert (np.abs(first.t) > 5).tolist() == [False, False, False, True, False, True, False]
    alone = model.without_others(0, motion)
    assert np.corrcoef(alone, 2 * terms[:, 0, REACH] - terms[:, 0, REACH + 2])[0, 1] > 0.95


def test_standard_errors_hold_under_correlated_noise() -> None:
    """A signal without effect must look certain (|t| > 3) in about 0.3 % of cases, not in many."""
    rng = np.random.default_rng(3)
    noise = np.zeros((60, 640))
    for i in range(1, 640):
        noise[:, i] = 0.8 * noise[:, i - 1] + rng.standard_normal(60)
    t = []
    for row in noise:
        terms = lagged(np.repeat(rng.standard_normal(80), 8)[:, None])
        t.append(LagModel(terms, np.arange(634) // 32).response(0, row[3:-3]).t)
    assert np.mean(np.abs(t) > 3) < 0.02
    assert 0.8 < np.std(t) < 1.4


def test_signals_of_every_kind_of_control() -> None:
    space = ActionSpace(
        buttons=(Button(name="turn", turns="left"),),
        axes=(Axis(name="arm", low=0, high=9), Axis(name="x", low=0, high=1)),
    )
    signals = signals_of(space)
    assert [s.name for s in signals] == ["turn", "arm", "arm, its change", "x", "x, its change"]
    rows = np.float32([[0, 4, 0], [1, 6, 0], [1, 3, 1]])
    assert [signals[i].of(rows).tolist() for i in (0, 1, 2)] == [[0, 1, 1], [4, 6, 3], [0, 2, -3]]
