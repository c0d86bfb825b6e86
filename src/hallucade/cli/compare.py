"""Command: compare."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hallucade.cli.parse import Sampling
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.compare.check import CompareConfig, compare_worlds
from hallucade.evaluation.compare.over_seeds import OverSeeds
from hallucade.evaluation.compare.report import COMPARE_FILE, table_rows, write_comparison
from hallucade.recipes.console import say, staged
from hallucade.recipes.inverse_dynamics import load_inverse_dynamics
from hallucade.recipes.load import find_checkpoint, load, read_config, run_facts
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.choice import SamplingChoice


def compare(
    runs: Positional[tuple[Path, ...]],
    /,
    store: Path,
    out: Path = Path("runs/comparison"),
    inverse_dynamics: Path | None = None,
    sampling: Sampling = SamplingChoice(),  # noqa: B008 - frozen
    check: Annotated[CompareConfig, tyro.conf.arg(name="")] = CompareConfig(),  # noqa: B008 - frozen
) -> None:
    """Dream with several runs from the same prompts, and say how they differ.

    Runs of one config that differ in their seed are shown by their mean.

    Args:
        runs: two or more run folders of one game; others are held against the first.
        store: recorded play of that game, whose validation episodes are dreamed again.
        out: where compare.json and compare.html go.
        inverse_dynamics: a run of `hallucade train inverse_dynamics`, for F1 of the actions that dreams show.
        sampling: how to sample with all of them, instead of as their recipes say.
        check: what is dreamed.
    """
    names = run_names(runs)
    arms = arms_of(dict(zip(names, runs, strict=True)))
    worlds = {name: load(run, sampling=sampling) for name, run in zip(names, runs, strict=True)}
    reader = None if inverse_dynamics is None else load_inverse_dynamics(inverse_dynamics)
    recorded = EpisodeStore(store)
    with staged("comparing") as stage:
        comparison = compare_worlds(worlds, recorded, check, reader, stage)
    about = {name: run_facts(run, sampling) for name, run in zip(names, runs, strict=True)}
    over_seeds = OverSeeds(comparison, arms)
    page = write_comparison(out, comparison, about, over_seeds)
    rows = over_seeds.rows() if over_seeds.repeated else table_rows(comparison)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    say(f"{out / COMPARE_FILE}, {page}")


def run_names(runs: tuple[Path, ...]) -> tuple[str, ...]:
    """Return a name for each run: its folder's, or its whole path where folders share theirs.

    Raises:
        ValueError: a run is given twice.
    """
    paths = [run.resolve() for run in runs]
    if repeated := [run for run, count in Counter(paths).items() if count > 1]:
        raise ValueError(f"{repeated[0]} is given twice; a run does not differ from itself")
    shared = Counter(path.name for path in paths)
    return tuple(
        str(run) if shared[path.name] > 1 or path.name == "real" else path.name
        for run, path in zip(runs, paths, strict=True)
    )


def arms_of(runs: Mapping[str, Path]) -> dict[str, dict[int, str]]:
    """Return names of runs by the seed of their training, those together that have the rest of their config in common.

    Arms have the names of their recipes, or of their first runs where two share a recipe. A run that repeats another's
    config and seed is an arm of its own.
    """
    arms = list[tuple[RunConfig, dict[int, str]]]()
    for name, run in runs.items():
        config = read_config(*find_checkpoint(run))
        seed, rest = config.trainer.seed, replace(config, trainer=replace(config.trainer, seed=0))
        arm = next((seeds for shared, seeds in arms if shared == rest and seed not in seeds), None)
        if arm is None:
            arms.append((rest, {seed: name}))
        else:
            arm[seed] = name
    told_apart = len({config.recipe for config, _ in arms}) == len(arms)
    return {config.recipe if told_apart else next(iter(seeds.values())): seeds for config, seeds in arms}
