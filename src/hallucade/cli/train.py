"""Command: train."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from hallucade.cli.data import STORES
from hallucade.cli.parse import MARKERS
from hallucade.data.mixture import open_stores
from hallucade.recipes.console import counting, say
from hallucade.recipes.latents import open_caches
from hallucade.recipes.registry import RECIPES, find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import find_or_record, trained_for
from hallucade.recipes.train import train as train_run
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.trainer import TrainingDivergedError

RUNS = Path("runs")


@dataclass(frozen=True)
class Train:
    """Train a recipe; every number of it can be changed here, as in --model.widths 64 96."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    store: str | None = None
    """Recorded play, or a mixture: a:2,b sees a twice as often, a:70%,b:30% by shares; by default stores/RECIPE,
    recorded first if it is not there."""
    latents: str | None = None
    """Latents of the store from `hallucade tokenize`, of a mixture a,b; nothing is encoded. A recipe on pixels takes
    over their tokenizer."""
    tokenizer: str | None = None
    """A pretrained autoencoder in place of the recipe's tokenizer: a folder, or owner/name of the hub."""
    out: Path | None = None
    """The run's folder; by default runs/RECIPE."""
    steps: int | None = None
    """Train so many steps in all; the recipe's stages keep their shares of them."""
    resume: bool = False
    """Go on from the newest checkpoint of that folder."""


def run_training(command: Train) -> None:
    """Train a recipe on a store that is given, or recorded for it."""
    config = command.config if command.steps is None else trained_for(command.config, command.steps)
    if command.tokenizer is not None:
        config = replace(config, tokenizer=PretrainedTokenizerConfig(path=command.tokenizer))
    name = Path(config.recipe).stem
    if command.store is not None:
        store = open_stores(command.store)
    else:
        config.tokenizer.build()  # what it lacks is better known before hours of recording
        with counting(f"recording for {name}") as progress:
            store = find_or_record(config, STORES / name, progress)
    run = command.out or RUNS / name
    try:
        result = train_run(config, store, run, latents=open_caches(command.latents), resume=command.resume)
    except TrainingDivergedError as error:  # a choice of the user's, and no defect of ours
        raise ValueError(str(error)) from error
    speed = f", {result.frames_per_s:,.0f} frames/s" if result.frames_per_s else ""  # none if it was finished before
    say(f"{result.reason} at step {result.step}{speed}: {result.checkpoint}")
    if result.reason != "finished":
        say("go on with the same command and --resume")


def train(arguments: Sequence[str]) -> None:
    """Train a recipe on recorded play."""
    if not arguments or arguments[0].startswith("-"):
        say("usage: hallucade train RECIPE [options]\nrecipes, or path/to/file.py[:function] for your own:")
        for name, recipe in RECIPES.items():
            say(f"  {name:24} {str(recipe.__doc__).splitlines()[0]}")
        say("options of a recipe: hallucade train RECIPE --help")
        sys.exit(0 if list(arguments[:1]) in (["-h"], ["--help"]) else 2)
    recipe, *rest = arguments
    run_training(
        tyro.cli(Train, args=rest, default=Train(find_recipe(recipe)), prog=f"hallucade train {recipe}", config=MARKERS)
    )
