"""Goals that are states: errors in closed form, probes that read states off pictures, and budgets of frames."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from echo_world import echo_world

from hallucade.actions import ActionSpace, Axis
from hallucade.cli import main, plan
from hallucade.cli import probe as probe_command
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter
from hallucade.evaluation.planning.cem import CEMConfig
from hallucade.evaluation.planning.control import ControlConfig
from hallucade.evaluation.planning.evaluate import DREAM, SIMULATOR, TRUE_STATE, PlanningConfig, evaluate_planning
from hallucade.evaluation.planning.probe_training import ProbeTrainingConfig, train_probe
from hallucade.evaluation.planning.reach import POINT_MAZE_REACH, PUSHT_REACH
from hallucade.evaluation.planning.reach_task import ReachTask
from hallucade.evaluation.planning.state_probe import StateProbeConfig, load_probe, save_probe
from hallucade.evaluation.planning.tasks import find_task
from hallucade.games.environments import find_environment
from hallucade.games.gymnasium_game import GymnasiumGame
from hallucade.games.pusht import PUSHT_RELATIVE_ACTIONS
from hallucade.models.unet import UNetConfig
from hallucade.rollout import World
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.checkpoint import CheckpointError

H, W = 12, 16
POSE = StateProbeConfig(columns=("angle", "x"), angles=("angle",), width=8)
FAST = ProbeTrainingConfig(steps=300, batch=16, learning_rate=5e-3, measured=120)


def dials(folder: Path, episodes: int = 30) -> EpisodeStore:
    """Pictures whose red is the cosine of an angle, green its sine and blue a place; the reward is the place, too."""
    rng, space = np.random.default_rng(0), ActionSpace(axes=(Axis(name="force", low=-1, high=1),))
    played = list[Episode]()
    for _ in range(episodes):
        x, angle = rng.uniform(0, 50, 9), rng.uniform(-np.pi, np.pi, 9)
        levels = np.stack([np.cos(angle), np.sin(angle), x / 25 - 1], 1) * 100 + 127
        frames = np.broadcast_to(levels[:, None, None].astype(np.uint8), (9, H, W, 3)).copy()
        rewards, state = x[1:].astype(np.float32), np.stack([x, angle], 1)
        played.append(Episode(frames, np.zeros((8, 1), np.float32), rewards, state))
    one = played[0]
    columns = {"frames": one.frames, "actions": one.actions, "rewards": one.rewards, "state": one.state}
    described = tuple(StoreColumn.like(name, column) for name, column in columns.items())
    manifest = StoreManifest(
        actions=space, columns=described, fps=10.0, state_names=("x", "angle"), validation_share=0.2
    )
    with StoreWriter(folder, manifest) as writer:
        writer.append(played)
    return EpisodeStore(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return dials(tmp_path_factory.mktemp("dials") / "store")


def test_a_probe_reads_places_angles_and_rewards_it_has_not_seen(store: EpisodeStore, tmp_path: Path) -> None:
    config = replace(POSE, columns=("reward", *POSE.columns))
    probe, errors = train_probe(store, config, FAST)
    assert errors["x"].spread == pytest.approx(50 / 12**0.5, rel=0.1)
    assert errors["x"].mean < 0.1 * errors["x"].spread
    assert errors["reward"].mean < 0.1 * errors["x"].spread  # of the action that led to the frame, not of the next
    assert errors["angle"].mean < 0.15
    assert errors["angle"].high > errors["angle"].mean
    save_probe(probe, tmp_path / "probe", {})
    frames = store.read(store.indices("validation")[0], 0, 4).frames.reshape(2, 2, H, W, 3)
    read = load_probe(tmp_path / "probe").read(frames)
    assert read.shape == (2, 2, 3)
    np.testing.assert_array_equal(read, probe.read(frames))
    with pytest.raises(ValueError, match=r"reads pictures of 12x16 pixels .* not 16x12; train another"):
        probe.read(frames.swapaxes(2, 3))


def test_angles_come_round() -> None:
    probe = POSE.build((H, W))
    values = np.array([[3.1, 7.0], [-3.1, 8.0], [0.4, -2.0]])
    np.testing.assert_allclose(probe.decoded(probe.encoded(values)), values)
    np.testing.assert_allclose(probe.encoded(values + np.array([2 * np.pi, 0])), probe.encoded(values))


def test_what_a_store_cannot_teach_is_refused(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no column y; choose among x, angle, reward"):
        train_probe(store, StateProbeConfig(columns=("y",)), FAST)
    with pytest.raises(ValueError, match="are no columns; choose among x"):
        StateProbeConfig(columns=("x",), angles=("angle",))
    with pytest.raises(CheckpointError, match=r"no probe at .*nothing; make one with `hallucade probe`"):
        load_probe(tmp_path / "nothing")
    with pytest.raises(ValueError, match="seed is -1; use 0 or more"):
        replace(FAST, seed=-1)


def test_a_place_that_cannot_be_written_is_told_before_training(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_command, "train_probe", lambda *_: pytest.fail("trained for nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        probe_command.probe(store.path, ("x",), out=tmp_path / "file" / "probe")


def test_errors_are_in_units_of_what_is_allowed() -> None:
    goal = np.array([100.0, 200, 300, 150, np.pi - 0.01])
    off = goal + np.array([[6, 0, 0, 8, 0.02], [20, 0, 0, 0, -np.pi / 9]])
    np.testing.assert_allclose(PUSHT_REACH.errors(off, goal), [[0.5, 0.02 * 9 / np.pi], [1, 1]])
    np.testing.assert_allclose(PUSHT_REACH.moved(off, goal), [[0.4, 0.02 * 9 / np.pi], [0, 1]])
    np.testing.assert_allclose(POINT_MAZE_REACH.errors(np.array([[0.3, 0.4]]), np.zeros(2)), [[1]])


def relative_world() -> World:
    """A world that dreams that everything stands still, and remembers all frames between start and goal."""
    pytest.importorskip("gym_pusht", reason=find_environment("pusht").install)
    world = replace(echo_world(24, 24, game=None, actions=PUSHT_RELATIVE_ACTIONS.over(5)), fps=2.0)
    model = UNetConfig(context=PUSHT_REACH.apart + 1, widths=(8,), blocks=(0,), condition_width=4, from_last=True)
    sampler = FlowSamplerConfig(steps=1).build()
    return replace(world, model=model.build(world.actions, (3, 24, 24)).eval(), sampler=sampler)


def test_a_goal_is_where_the_same_play_was_a_little_later() -> None:
    world = relative_world()
    task = find_task(world, 1, 3, "reach")
    assert isinstance(task, ReachTask)
    start = task.begin(2)
    assert start.frames.shape == (PUSHT_REACH.apart + 1, 24, 24, 3)
    _, goal = task._starts[2]
    foretold = task.simulator(world)(goal.actions[None])  # the play's own actions, from start to goal
    assert task.true_cost()(foretold)[0] < 0.2
    assert task.cost(world)(foretold)[0] < 1e-3
    off = np.abs(foretold.frames[0, -1].astype(int) - task.wanted)
    assert off.mean() < 0.5  # grey levels; the table that was played on remembers its contacts
    turns = [task.act(row) for row in goal.actions]
    assert not turns[0].success
    assert turns[-1].success
    assert turns[-1].score < 0.2
    np.testing.assert_array_equal(task.begin(2).frames, start.frames)  # played from another place before


def test_true_states_and_probes_plan_beside_each_other() -> None:
    world = relative_world()
    task = find_task(world, 2, 0, "reach")
    probe = StateProbeConfig(columns=PUSHT_REACH.columns, angles=PUSHT_REACH.angles, width=4).build((24, 24)).eval()
    planner = CEMConfig(horizon=5, hold=1, candidates=9, iterations=1, elites=3)
    config = PlanningConfig(
        episodes=2, shown=1, frames=5, budgets=(1, 5), control=ControlConfig(planner=planner, replan=5)
    )
    result = evaluate_planning(world, task, config, probe=probe)
    task.begin(0)
    np.testing.assert_array_equal(result.goals, [task.wanted])
    assert result.video().shape[0] == 6
    told = result.to_json()
    actors = told["actors"]
    assert list(actors) == ["random_hold", TRUE_STATE, SIMULATOR, DREAM]
    known, blind = actors[TRUE_STATE], actors[DREAM]
    assert np.mean(known["scores"]) < np.mean(blind["scores"])  # it knows where the block is, and what moves it
    assert [known["within"][budget]["successes"] for budget in ("1", "5")] == [0, known["successes"]]
    assert blind["frames"] <= 10
    assert told["frames_an_episode_at_most"] == 5
    json.dumps(told, allow_nan=False)
    with pytest.raises(ValueError, match="the probe reads x, and pusht_relative needs agent_x, agent_y"):
        evaluate_planning(world, task, config, probe=StateProbeConfig(columns=("x",)).build((24, 24)))
    with pytest.raises(ValueError, match=r"budgets are \(0,\) frames"):
        replace(config, budgets=(0,))
    with pytest.raises(ValueError, match=r"budgets are \(1, 6\) frames and episodes end after 5; raise --frames"):
        evaluate_planning(world, task, replace(config, budgets=(1, 6)))


def test_a_relative_target_goes_on_from_where_the_finger_is() -> None:
    pytest.importorskip("gym_pusht")
    game, same = (GymnasiumGame(find_environment("pusht_relative")) for _ in range(2))
    first = game.reset(5)
    same.reset(5)
    assert first.state is not None
    row = np.array([-100, 0], np.float32) if first.state[0] > 256 else np.array([100, 0], np.float32)
    places = [first.state[0], *(game.foretell(row)[0] for _ in range(3))]
    strides = np.abs(np.diff(places))
    assert strides[1] == pytest.approx(strides[2], rel=0.01)  # 0.41 of the way; to one target it would come to rest
    assert strides[2] == pytest.approx(41, abs=1)
    seen = [same.act(row).moment for _ in range(3)][-1]
    assert seen is not None
    assert seen.state is not None
    assert seen.state[0] == places[-1]


def test_a_reward_read_off_pictures_is_a_cost_of_any_task(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "load", lambda run: echo_world(H, H))
    command = ["--columns", "reward", "--width", "4", "--training.steps", "2", "--training.measured", "9"]
    main(["probe", str(store.path), *command, "--out", str(tmp_path / "probe")])
    assert "errors on held-out frames" in capsys.readouterr().out
    for again in (["probe", str(store.path), *command], ["plan", "--quick", "--probe"]):
        with pytest.raises(SystemExit):
            main([*again, *(["--out"] if again[0] == "probe" else []), str(tmp_path / "probe")])
    told = capsys.readouterr().err
    assert "is not empty; choose another --out" in told
    assert "the probe reads pictures of 12x16 pixels (height x width), not 12x12" in told


def test_a_task_without_a_goal_state_has_no_use_for_a_probe(rng: Any) -> None:
    world = echo_world(24, 24)
    config = PlanningConfig(episodes=1, control=ControlConfig(planner=CEMConfig(candidates=6)))
    with pytest.raises(ValueError, match="task pong has no goal state that a probe could read"):
        evaluate_planning(world, find_task(world, 1, 0), config, probe=POSE.build((24, 24)))
    with pytest.raises(ValueError, match="the actions of no environment with a goal: pusht, point_maze"):
        find_task(world, 1, 0, "reach")
