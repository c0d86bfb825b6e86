"""Command: plan."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hallucade.cli.parse import MARKERS
from hallucade.data.pictures import write_mp4
from hallucade.evaluation.page import write_whole
from hallucade.evaluation.planning.cem import CEMConfig
from hallucade.evaluation.planning.control import ControlConfig
from hallucade.evaluation.planning.evaluate import PlanningConfig, PlanningResult, evaluate_planning
from hallucade.evaluation.planning.icem import ICEMConfig
from hallucade.evaluation.planning.mppi import MPPIConfig
from hallucade.evaluation.planning.picture_task import PictureTask, read_goal
from hallucade.evaluation.planning.planner import PlannerConfig
from hallucade.evaluation.planning.state_probe import load_probe
from hallucade.evaluation.planning.task import Task
from hallucade.evaluation.planning.tasks import find_task
from hallucade.recipes.console import say, staged
from hallucade.recipes.load import load, results_folder, run_facts
from hallucade.rollout import World

PLAN_FILE, VIDEO_FILE = "plan.json", "plan.mp4"
SMALL = {"horizon": 8, "hold": 4, "candidates": 8, "iterations": 1}
PLANNERS: dict[str, PlannerConfig] = {"icem": ICEMConfig(), "cem": CEMConfig(), "mppi": MPPIConfig()}
QUICK: dict[str, PlannerConfig] = {
    "icem": ICEMConfig(**SMALL, elites=3),
    "cem": CEMConfig(**SMALL, elites=3),
    "mppi": MPPIConfig(**SMALL),
}

# --horizon, and not --control.planner.horizon: no name comes twice
OPTIONS = (*MARKERS, tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)


@dataclass(frozen=True)
class Plan:
    """Plan in a dream, act in the true game; write plan.json and plan.mp4."""

    config: Annotated[PlanningConfig, tyro.conf.arg(name="")]
    run: tyro.conf.Positional[Path | None] = None
    """A run folder, or the name of a bundled world; by default pong."""
    task: str | None = None
    """pong, maze, small_maze, pusht, pusht_relative, point_maze or reach; by default what fits the run."""
    goal: Path | None = None
    """A picture that the screen shall look like, of the size that the run dreams; then that is the task."""
    probe: Path | None = None
    """What `hallucade probe` wrote: the cost is that of the state, or the reward, that it reads off pictures."""
    out: Path | None = None
    """Where to write; by default the run folder, and runs/bundled/NAME for a bundled world."""
    planner: str = "icem"
    """icem, cem or mppi."""
    quick: bool = False
    """Fewer episodes and a small planner: a minute or two on one core; sets the defaults of what follows."""


def plan(arguments: Sequence[str]) -> None:
    """Act in the true game by planning in a dream."""
    default = Plan(_config(_named_planner(arguments), quick="--quick" in arguments))
    run_planning(tyro.cli(Plan, args=arguments, default=default, prog="hallucade plan", config=OPTIONS))


def run_planning(command: Plan) -> None:
    """Play every episode, say who succeeds how often, and write it down."""
    world = load(command.run)
    config = command.config
    task = _task(command, world)
    probe = None if command.probe is None else load_probe(command.probe, world.device)
    out = command.out or results_folder(command.run)
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged(f"planning in {task.name}") as stage:
        result = evaluate_planning(world, task, config, stage, probe)
    write_whole(out / PLAN_FILE, json.dumps({**result.to_json(), **run_facts(command.run)}, indent=2) + "\n")
    write_mp4(out / VIDEO_FILE, result.video(), world.fps)
    _say(result)
    say(f"written: {out / PLAN_FILE}, {out / VIDEO_FILE}")


def _task(command: Plan, world: World) -> Task:
    if command.goal is None:
        return find_task(world, command.config.episodes, command.config.seed, command.task)
    if command.task is not None:
        raise ValueError(f"--task {command.task} has a goal of its own; leave out --task or --goal")
    return PictureTask(world, read_goal(command.goal), command.config.seed)


def _say(result: PlanningResult) -> None:
    say(f"success: {result.task.about}; {result.config.episodes} episodes, 95 % intervals")
    for name, success in result.actors.items():
        low, high = success.share.interval()
        seconds = success.summary()["seconds_a_decision"]
        sooner = "".join(f"  {success.within(b).value:.1%} in {b} frames" for b in result.config.budgets)
        say(f"{name:>34}  {success.share.value:6.1%}  [{low:.1%}, {high:.1%}]{sooner}  {seconds:.3f} s a decision")


def _config(planner: str, quick: bool) -> PlanningConfig:
    if quick:
        return PlanningConfig(episodes=25, control=ControlConfig(planner=QUICK[planner]))
    return PlanningConfig(control=ControlConfig(planner=PLANNERS[planner]))


def _named_planner(arguments: Sequence[str]) -> str:
    """Look ahead for the planner, whose class decides which options there are."""
    name = "icem"
    for place, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option == "--planner":
            name = value or next(iter(arguments[place + 1 :]), "")
    if name not in PLANNERS:
        raise ValueError(f"planner is {name!r}; choose one of {', '.join(PLANNERS)}")
    return name
