"""Command: ablate."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from hallucade.cli.data import STORES
from hallucade.cli.parse import MARKERS
from hallucade.data.mixture import open_stores
from hallucade.recipes.ablation.ablation import Ablation, AblationConfig, share_of
from hallucade.recipes.ablation.grid import make_grid
from hallucade.recipes.ablation.report import write_ablation
from hallucade.recipes.ablation.runs import Job, JudgeConfig, RunRecord
from hallucade.recipes.ablation.workers import Typed, work_in_processes
from hallucade.recipes.console import counting, say
from hallucade.recipes.latents import on_latents, open_caches
from hallucade.recipes.registry import RECIPES, find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import find_or_record, trained_for

OUT = Path("ablations")


@dataclass(frozen=True)
class Ablate:
    """Train a recipe with one choice changed at a time, over seeds, and tabulate what that shows."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    vary: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """PATH=VALUE,VALUE: a field of the recipe and its values, config classes by short names; several make a grid.
    PATH+PATH=VALUE+VALUE,... moves fields together."""
    seeds: int = 3
    """Runs an arm."""
    steps: int | None = None
    """Train so many steps a run."""
    store: str | None = None
    """Recorded play, or a mixture, as for train; by default stores/RECIPE, recorded first if it is not there."""
    latents: str | None = None
    """Latents of the store from `hallucade tokenize`, as for train: no run encodes a frame."""
    out: Path | None = None
    """Where runs and table go; by default ablations/RECIPE. The same command goes on there."""
    metrics: tuple[str, ...] = ()
    """Columns of the table, as in metrics.json, with * for many; by default a few that fit the game."""
    jobs: int = 1
    """Runs at a time, each in a process of its own; where there are GPUs each process sees one of them, in turn."""
    only: str | None = None
    """i/n: perform the i-th share of n, for independent jobs on a cluster that write to the same folder."""
    table: bool = False
    """Train nothing: write the table of what is there."""
    other_code: bool = False
    """Take over runs that were made by another version of the code."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """How each run is judged."""


def ablate(arguments: Sequence[str]) -> None:
    """Train a grid of a recipe's choices over seeds, and write a table of what is significant."""
    if not arguments or arguments[0].startswith("-"):
        say(f"usage: hallucade ablate RECIPE --vary PATH=VALUE,VALUE [options]\nrecipes: {', '.join(RECIPES)}")
        say("options of a recipe: hallucade ablate RECIPE --help")
        sys.exit(0 if list(arguments[:1]) in (["-h"], ["--help"]) else 2)
    recipe, *rest = arguments
    default = Ablate(find_recipe(recipe))
    command = tyro.cli(Ablate, args=rest, default=default, prog=f"hallucade ablate {recipe}", config=MARKERS)
    run_ablation(command, recipe)


def run_ablation(command: Ablate, recipe: str) -> None:
    """Plan, perform, and write down.

    Raises:
        ValueError: what can be known to fail before anything trains.
    """
    if command.jobs < 1:
        raise ValueError(f"jobs is {command.jobs}; use 1 or more")
    config = command.config if command.steps is None else trained_for(command.config, command.steps)
    plan = AblationConfig(recipe=config, vary=command.vary, seeds=command.seeds, judge=command.judge)
    name = Path(config.recipe).stem
    caches = open_caches(command.latents)
    make_grid(on_latents(config, caches), command.vary)  # a slip is better told before hours of recording
    place, out = command.store or str(STORES / name), command.out or OUT / name
    if command.store is None:
        with counting(f"recording for {name}") as progress:
            find_or_record(config, Path(place), progress)
    ablation = Ablation(plan, open_stores(place), out, caches)
    ablation.check(other_code=command.other_code)
    _announce(ablation)
    mine = ablation.jobs if command.only is None else share_of(ablation.jobs, command.only)
    jobs = ablation.left(mine)
    say(f"{len(jobs)} of {len(mine)} runs to do")
    try:
        if jobs and not command.table:
            _perform(ablation, jobs, command.jobs, Typed(recipe, place, command.latents))
    finally:
        say(f"written: {write_ablation(ablation, command.metrics)}")


def _perform(ablation: Ablation, jobs: Sequence[Job], processes: int, typed: Typed) -> None:
    done = 0

    def told(job: Job, record: RunRecord) -> None:
        nonlocal done
        done += 1
        what = record.reason or f"{record.seconds:,.0f} s"
        say(f"{done}/{len(jobs)} {job.arm.label}, seed {job.seed}: {record.state}, {what}")

    if processes > 1:
        work_in_processes(ablation, jobs, processes, typed, told)
    elif not ablation.work(jobs, told, progress=True):
        say("stopped; the same command goes on")


def _announce(ablation: Ablation) -> None:
    arms = ablation.grid.arms
    say(f"{len(arms)} arms, {ablation.config.seeds} seeds each; compared with {ablation.baseline.label}")
    for arm in arms:
        cost = ablation.costs[arm.folder]
        size = f"{cost.parameters:,} parameters, {cost.steps:,} steps, {cost.frames:,} frames, {cost.flops:.3g} FLOPs"
        say(f"  {arm.label}: {size}")
    for refused in ablation.grid.refused:
        say(f"  refused: {' '.join(value for _, value in refused.settings)}: {refused.reason}")
