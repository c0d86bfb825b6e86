"""Planning over worlds: forks that stay apart, plans that reach what is wanted, and success in the true game."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from echo_world import EchoModel, echo_world
from torch import Tensor

from hallucade.actions import ActionSpace, Axis
from hallucade.cli import main, plan
from hallucade.data.pictures import write_png
from hallucade.evaluation.planning.cem import CEMConfig
from hallucade.evaluation.planning.control import ControlConfig, Controller
from hallucade.evaluation.planning.costs import GoalPictureConfig, LearnedReward, ReaderCost
from hallucade.evaluation.planning.dreamed_futures import DreamedFutures
from hallucade.evaluation.planning.environment_goals import ENVIRONMENT_TASKS
from hallucade.evaluation.planning.evaluate import DREAM, SIMULATOR, PlanningConfig, evaluate_planning
from hallucade.evaluation.planning.futures import Futures, score_in_batches
from hallucade.evaluation.planning.icem import ICEMConfig
from hallucade.evaluation.planning.maze_task import WALK, MazeTask
from hallucade.evaluation.planning.mppi import MPPIConfig
from hallucade.evaluation.planning.picture_task import PictureTask
from hallucade.evaluation.planning.planner import PlannerConfig
from hallucade.evaluation.planning.pong_task import TIME_LEFT, PongTask
from hallucade.evaluation.planning.tasks import find_task
from hallucade.games.environments import find_environment
from hallucade.games.maze import MAP, MAZE_ACTIONS
from hallucade.games.pong import PLAYER_Y
from hallucade.games.pusht import PUSHT_ACTIONS
from hallucade.models.unet import UNetConfig
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import Generators
from hallucade.samplers.flow import FlowSamplerConfig

FORCE = ActionSpace(axes=(Axis(name="force", low=-1, high=1),))
HEIGHT, WIDTH, REACH = 4, 6, 10.0  # a place from -10 to 10 is shown as the grey of the whole picture


class Mass(EchoModel):
    """A mass that each action moves; its memory is its place, changed in place as a cache would be."""

    def initial(self, latent: Tensor) -> Tensor:
        return latent.flatten(1)[:, -1] * REACH

    def observe(self, state: Tensor, action: Tensor, latent: Tensor) -> Tensor:
        return state.copy_(latent.flatten(1)[:, -1] * REACH)


class Mover:
    """Shows each place that the mass comes to."""

    def __call__(self, model: Mass, state: Tensor, action: Tensor, generators: Generators) -> Tensor:
        places = state[:, None] + action[..., 0].cumsum(1)
        return (places / REACH)[..., None, None, None].expand(-1, -1, *model.latent_shape).clone()


def linear_world(block: int = 1, start: float = 0.0) -> World:
    echo = echo_world(HEIGHT, WIDTH, game=None, actions=replace(FORCE, axes=FORCE.axes * 1), block=block)
    return replace(echo, model=Mass(HEIGHT, WIDTH, block), sampler=Mover(), prompts=(still(start, block),))


def still(place: float, frames: int) -> Prompt:
    return Prompt(picture(place)[None].repeat(frames, 0), np.zeros((frames - 1, 1), np.float32))


def picture(place: float) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), round((place / REACH + 1) * 127.5), np.uint8)


def to_three(frames: np.ndarray) -> np.ndarray:
    """Read how far the mass is from 3."""
    return np.abs((frames[..., 0, 0, 0] / 127.5 - 1) * REACH - 3)


def network_world() -> World:
    """A U-Net with random weights, whose memory is a ring that is written in place."""
    world = replace(echo_world(24, 24), frame_size=(8, 12))
    torch.manual_seed(3)
    model = UNetConfig(context=3, widths=(8,), blocks=(1,), condition_width=16).build(world.actions, (3, 8, 12)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.15 * torch.randn(parameter.shape) + (parameter == 1))
    prompts = tuple(replace(p, frames=p.frames[:, :8, :12]) for p in world.prompts)
    return replace(world, model=model, sampler=FlowSamplerConfig(steps=2).build(), prompts=prompts)


def moves(count: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 3, (count, frames, 1)).astype(np.float32)


@pytest.mark.parametrize("make", [network_world, lambda: echo_world(24, 24)], ids=["u-net", "noisy echo"])
def test_a_future_depends_on_its_actions_alone(make: Any, rng: np.random.Generator) -> None:
    world = make()
    rows = moves(5, 4, rng)
    imagine = DreamedFutures(world, world.prompts[1], seed=7)
    together = imagine(rows).frames
    np.testing.assert_array_equal(imagine(rows).frames, together)  # the first call left the memory as it was
    alone = np.concatenate([imagine(row[None]).frames for row in rows[::-1]])[::-1]
    assert np.abs(alone.astype(int) - together).max() <= 1  # a batch rounds differently, by a grey level at most
    assert (together[0] != together[1]).any()
    assert (DreamedFutures(world, world.prompts[1], seed=8)(rows).frames != together).any()


def test_batches_change_no_cost(rng: np.random.Generator) -> None:
    world = linear_world()
    rows = rng.uniform(-1, 1, (7, 4, 1)).astype(np.float32)
    imagine = DreamedFutures(world, world.prompts[0], 0)
    whole, three = (score_in_batches(imagine, ReaderCost(to_three), batch)(rows) for batch in (7, 3))
    np.testing.assert_array_equal(whole, three)
    np.testing.assert_allclose(whole, np.abs(rows[..., 0].cumsum(1) - 3).mean(1), atol=REACH / 127)


SMALL: dict[str, Any] = {"horizon": 4, "hold": 1, "candidates": 60, "iterations": 4}


@pytest.mark.parametrize(
    "planner",
    [CEMConfig(**SMALL), ICEMConfig(**SMALL), MPPIConfig(**SMALL, temperature=0.1)],
    ids=["cem", "icem", "mppi"],
)
@pytest.mark.parametrize("block", [1, 2])
def test_control_brings_a_dreamed_mass_to_its_goal_and_keeps_it_there(planner: PlannerConfig, block: int) -> None:
    world = linear_world(block)
    config = ControlConfig(planner=planner, replan=2, batch=25)

    def imagine(played: Prompt, noise: int) -> DreamedFutures:
        return DreamedFutures(world, played, noise)

    controller = Controller(config, world, imagine, ReaderCost(to_three), seed=0)
    place, way = 0.0, list[float]()
    for _ in range(5):
        rows = controller(still(place, block))
        assert rows.shape == (2, 1)
        place += float(rows.sum())
        way.append(place)
    assert way[0] > 1.2  # nearly as far as two frames of full force
    assert way[-1] == pytest.approx(3, abs=0.35)


def test_control_repeats_itself_by_seed() -> None:
    world, config = echo_world(24, 24), ControlConfig(planner=ICEMConfig(candidates=6, elites=2, horizon=4), replan=2)

    def rows(seed: int) -> np.ndarray:
        cost = LearnedReward(lambda frames, rows: frames[..., 0, 2:, 0].mean(-1) + rows[..., 0])
        controller = Controller(config, world, lambda p, noise: DreamedFutures(world, p, noise), cost, seed)
        return np.concatenate([controller(world.prompts[0]) for _ in range(4)])

    np.testing.assert_array_equal(rows(0), rows(0))
    assert any((rows(0) != rows(seed)).any() for seed in (1, 2, 3))


def futures_of(frames: np.ndarray, world: World) -> Futures:
    latents = world.tokenizer.encode(torch.from_numpy(frames))
    return Futures(np.zeros((*frames.shape[:2], 1), np.float32), lambda: frames, lambda: latents)


def test_goal_pictures_cost_their_distance() -> None:
    world = linear_world()
    seen = np.stack([np.stack([picture(0), picture(3)]), np.stack([picture(3), picture(0)])])
    futures, step = futures_of(seen, world), (int(picture(3)[0, 0, 0]) - int(picture(0)[0, 0, 0])) / 255
    for space, scale in (("pixels", 1), ("latents", 2)):
        last = GoalPictureConfig(space=space).build(picture(3), world)
        np.testing.assert_allclose(last(futures), [0, (scale * step) ** 2], rtol=1e-4)
        whole = GoalPictureConfig(space=space, over="mean").build(picture(3), world)
        np.testing.assert_allclose(whole(futures), [(scale * step) ** 2 / 2] * 2, rtol=1e-4)


def test_rewards_are_discounted() -> None:
    futures = futures_of(np.zeros((2, 3, 2, 2, 3), np.uint8), linear_world())
    reward = np.array([[1.0, 2, 4], [0, 0, 8]])
    np.testing.assert_allclose(LearnedReward(lambda frames, rows: reward, 0.5)(futures), [-3, -2])


def test_a_goal_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"goal picture is 5x6 pixels .* dreams 4x6; resize"):
        GoalPictureConfig().build(np.zeros((5, 6, 3), np.uint8), linear_world())


def test_plans_are_made_of_whole_steps() -> None:
    world = linear_world(block=2)
    with pytest.raises(ValueError, match="dreams 2 frames at a time; make horizon 3 and replan 1 multiples of 2"):
        ControlConfig(planner=CEMConfig(horizon=3, hold=1), replan=1).check(world)
    with pytest.raises(ValueError, match="plans of 3 frames"):
        DreamedFutures(world, still(0, 2), 0)(np.zeros((1, 3, 1), np.float32))
    with pytest.raises(ValueError, match="replan is 3 frames; choose a multiple of hold 2, up to horizon 12"):
        ControlConfig(replan=3)


QUICK = PlanningConfig(
    episodes=4,
    shown=2,
    control=ControlConfig(planner=CEMConfig(horizon=8, hold=4, candidates=9, iterations=1, elites=2)),
)


def test_pong_is_won_by_planning_in_the_true_game_and_not_in_an_echo() -> None:
    world = echo_world(24, 24)
    result = evaluate_planning(world, PongTask(world, QUICK.episodes, seed=2), QUICK)
    assert list(result.actors) == ["random_hold", "good", SIMULATOR, DREAM]
    assert result.actors[SIMULATOR].share.hits == result.actors["good"].share.hits == 4
    told = result.to_json()
    json.dumps(told, allow_nan=False)
    assert told["actors"][SIMULATOR]["episodes"] == 4
    assert told["actors"][SIMULATOR]["decisions"] < told["actors"][SIMULATOR]["frames"]
    assert told["efficiency"] == result.actors[DREAM].share.hits / 4
    assert told["efficiency"] < 1  # the echo's pictures show no ball
    assert result.video().shape[0] == 1 + max(len(a.rows) for s in result.actors.values() for a in s.attempts[:2])


def test_pong_episodes_begin_with_a_ball_that_comes_and_repeat_themselves() -> None:
    world = echo_world(24, 24)
    task, again = PongTask(world, 4, seed=2), PongTask(world, 4, seed=2)
    for episode in (3, 0):
        start = task.begin(episode)
        np.testing.assert_array_equal(start.frames, again.begin(episode).frames)
        stay = np.zeros(1, np.float32)
        turns = [task.act(stay)]
        while not turns[-1].over:
            turns.append(task.act(stay))
        assert TIME_LEFT[0] <= len(turns) <= TIME_LEFT[1] + 4
    assert (task.begin(0).frames != task.begin(1).frames).any()


def test_the_true_game_as_a_model_foretells_it_exactly(rng: np.random.Generator) -> None:
    world = echo_world(24, 24)
    task = PongTask(world, 2, seed=0)
    task.begin(1)
    rows = moves(3, 5, rng)
    foretold = task.simulator(world)(rows)
    for row, frame in zip(rows[1], foretold.frames[1], strict=True):
        np.testing.assert_array_equal(task.act(row).frame, frame)
    assert foretold.latents.shape == (3, 5, 3, 24, 24)


@pytest.mark.parametrize(("game", "maps"), [("maze", 4), ("small_maze", 1)])
def test_the_maze_task_costs_nothing_where_its_picture_was_taken(game: str, maps: int) -> None:
    world = echo_world(16, 20, game=game, actions=MAZE_ACTIONS)
    task = MazeTask(world, 1, seed=0)
    assert len({task.begin(episode).state[MAP] for episode in range(16)}) == maps
    start = task.begin(0)
    cost = task.cost(world)
    here = task.simulator(world)(np.zeros((1, 1, 6), np.float32))
    assert cost(here)[0] > 0
    goal = task.wanted  # the cost's own picture: the only future that is free
    assert cost(futures_of(goal[None, None], world))[0] == 0
    assert start.frames.shape == (1, 16, 20, 3)
    turn = task.act(MAZE_ACTIONS.idle)
    assert 0 < turn.score < 2 * WALK * 0.06
    np.testing.assert_array_equal(task.begin(0).frames, start.frames)


@pytest.mark.filterwarnings("default")  # of packages that are not ours
@pytest.mark.parametrize("name", list(ENVIRONMENT_TASKS))
def test_an_environment_is_restored_foretold_and_done_at_its_goal(name: str, rng: np.random.Generator) -> None:
    known = ENVIRONMENT_TASKS[name]
    module = find_environment(name).requires
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name} needs the package of module {module}: {find_environment(name).install}")
    world = replace(echo_world(32, 40, game=None, actions=known.actions), fps=10.0)
    task = find_task(world, 1, 0)
    assert task.name == name
    start = task.begin(0)
    assert start.frames.shape == (1, 32, 40, 3)
    low, high = np.array([(a.low, a.high) for a in known.actions.axes], np.float32).T
    rows = (low + (high - low) * rng.random((2, 3, 2), np.float32)).astype(np.float32)
    foretold = task.simulator(world)(rows)
    np.testing.assert_array_equal(task.simulator(world)(rows).frames, foretold.frames)
    score = [task.act(row) for row in rows[1]]
    off = np.abs(np.stack([turn.frame for turn in score]).astype(int) - foretold.frames[1])
    assert off.mean() < 0.5  # grey levels; PushT's used table remembers its contacts
    assert (foretold.frames[0] != foretold.frames[1]).any()
    assert not any(turn.success for turn in score)


def test_an_environment_at_another_rate_is_refused() -> None:
    pytest.importorskip("gym_pusht")
    world = replace(echo_world(32, 40, game=None, actions=PUSHT_ACTIONS), fps=7.0)
    with pytest.raises(ValueError, match="this run has 7 frames a second, pusht 10: no whole"):
        find_task(world, 1, 0)


def test_a_picture_can_be_the_goal_of_a_game() -> None:
    """Episodes begin at the run's prompts, and success is likeness alone."""
    world = echo_world(24, 24)
    task = PictureTask(world, world.prompts[0].frames[-1], seed=0)
    task.begin(2)
    first = task.act(np.zeros(1, np.float32))
    assert first.score < 25
    assert not first.success
    assert world.prompts[2].state is not None
    assert task._game.get_state()[PLAYER_Y] == pytest.approx(world.prompts[2].state[PLAYER_Y])
    reached = PictureTask(world, first.frame, seed=0)
    reached.begin(2)
    assert reached.act(np.zeros(1, np.float32)).success
    with pytest.raises(ValueError, match="no simulator"):
        PictureTask(replace(world, game=None), world.prompts[0].frames[-1], seed=0)


def test_a_run_without_a_task_is_told_which_there_are() -> None:
    world = linear_world()
    with pytest.raises(ValueError, match="no game with a known task; known tasks: pong, maze, small_maze, pusht"):
        find_task(world, 1, 0)
    with pytest.raises(ValueError, match="there is no task 'chess'"):
        find_task(world, 1, 0, "chess")
    with pytest.raises(ValueError, match="not Pong"):
        find_task(world, 1, 0, "pong")


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(["plan", *arguments])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_the_command_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "load", lambda run: echo_world(24, 24))
    main(["plan", "--quick", "--planner", "mppi", "--episodes", "2", "--candidates", "3", "--out", str(tmp_path)])
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["config"]["control"]["planner"] == {
        **MPPIConfig(horizon=8, hold=4, candidates=3, iterations=1).to_json()
    }
    assert written["actors"][DREAM]["episodes"] == 2
    assert written["parameters"] > 0
    assert (tmp_path / "plan.mp4").stat().st_size > 1000
    assert "95 % intervals" in capsys.readouterr().out


def test_the_command_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "load", lambda run: echo_world(24, 24))
    goal, text = tmp_path / "goal.png", tmp_path / "goal.txt"
    write_png(goal, np.zeros((24, 20, 3), np.uint8))
    text.write_text("no picture")
    assert "planner is 'astar'; choose one of icem, cem, mppi" in complaint(["--planner", "astar"], capsys)
    assert "goal picture is 24x20" in complaint(["--goal", str(goal)], capsys)
    assert "goal.txt is no picture" in complaint(["--goal", str(text)], capsys)
    assert "No such file" in complaint(["--goal", str(tmp_path / "none.png")], capsys)
    assert "leave out --task or --goal" in complaint(["--goal", str(goal), "--task", "pong"], capsys)
    assert "candidates is 0; use 1 or more" in complaint(["--candidates", "0"], capsys)
