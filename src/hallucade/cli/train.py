"""Commands: train, distill."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from hallucade.cli.data import STORES
from hallucade.cli.parse import MARKERS
from hallucade.cli.part_training import PART_RECIPES
from hallucade.cli.part_training import train as train_part
from hallucade.data.mixture import open_stores
from hallucade.recipes.console import counting, say
from hallucade.recipes.dry_run import dry_run
from hallucade.recipes.latents import open_caches
from hallucade.recipes.registry import RECIPES, find_experiment, find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import find_or_record, trained_for
from hallucade.recipes.train import train as train_run
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.run_folder import RUNS
from hallucade.training.trainer import TrainingDivergedError


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
    start: Path | None = None
    """The run whose weights the model starts from, or a pre-trained encoder's; by default fresh ones."""
    steps: int | None = None
    """Train so many steps in all; the recipe's stages keep their shares of them."""
    resume: bool = False
    """Go on from the newest checkpoint of that folder."""
    dry_run: bool = False
    """Say how much memory every network and one step would need, and stop; nothing is trained, recorded or written."""

    @property
    def networks(self) -> dict[str, Path]:
        """Runs by the role of their network."""
        return {} if self.start is None else {"model": self.start}


@dataclass(frozen=True)
class Distill(Train):
    """Teach a recipe's model by another network; every number of it can be changed here."""

    teacher: Path | None = None
    """The run that teaches; one that goes on finds it where it was."""
    critic: Path | None = None
    """The run whose weights the critic starts from; by default the teacher's."""

    @property
    def networks(self) -> dict[str, Path]:
        """Runs by the role of their network."""
        given = {"teacher": self.teacher, "critic": self.critic}
        return super().networks | {role: run for role, run in given.items() if run is not None}


def run_training(command: Train) -> None:
    """Train a recipe on a store that is given, or recorded for it."""
    if command.config.method is not None and not isinstance(command, Distill):
        raise ValueError(f"{command.config.recipe} learns from another network; use hallucade distill")
    config = command.config if command.steps is None else trained_for(command.config, command.steps)
    if command.tokenizer is not None:
        config = replace(config, tokenizer=PretrainedTokenizerConfig(path=command.tokenizer))
    name = Path(config.recipe).stem
    if command.dry_run:
        say("\n".join(_dry_run(command, config, STORES / name)))
        return
    if command.store is not None:
        store = open_stores(command.store)
    else:
        config.tokenizer.build()  # what it lacks is better known before hours of recording
        with counting(f"recording for {name}") as progress:
            store = find_or_record(config, STORES / name, progress)
    run = command.out or RUNS / name
    try:
        caches = open_caches(command.latents)
        result = train_run(config, store, run, latents=caches, networks=command.networks, resume=command.resume)
    except TrainingDivergedError as error:  # a choice of the user's, and no defect of ours
        raise ValueError(str(error)) from error
    speed = f", {result.frames_per_s:,.0f} frames/s" if result.frames_per_s else ""  # none if it was finished before
    say(f"{result.reason} at step {result.step}{speed}: {result.checkpoint}")
    if result.reason != "finished":
        say("go on with the same command and --resume")


def _dry_run(command: Train, config: RunConfig, own_store: Path) -> list[str]:
    """Return what the training would need; the recipe's own store is used if it is there."""
    place = command.store or (str(own_store) if own_store.exists() else None)
    store = None if place is None else open_stores(place)
    return dry_run(config, store, latents=open_caches(command.latents), networks=command.networks).lines()


def train(arguments: Sequence[str]) -> None:
    """Train a recipe on recorded play."""
    recipe, rest = _recipe("train", arguments, taught=False)
    config = find_experiment(recipe, {**RECIPES, **PART_RECIPES})
    if not isinstance(config, RunConfig):
        train_part(config, rest)
        return
    default = Train(find_recipe(recipe))
    run_training(tyro.cli(Train, args=rest, default=default, prog=f"hallucade train {recipe}", config=MARKERS))


def distill(arguments: Sequence[str]) -> None:
    """Teach a fast model what a slow one knows."""
    recipe, rest = _recipe("distill", arguments, taught=True)
    default = Distill(find_recipe(recipe))
    if default.config.method is None:
        raise ValueError(f"{recipe} learns from recorded play alone; use hallucade train")
    run_training(tyro.cli(Distill, args=rest, default=default, prog=f"hallucade distill {recipe}", config=MARKERS))


def _recipe(command: str, arguments: Sequence[str], taught: bool) -> tuple[str, list[str]]:
    """Return the recipe's name and the other arguments; without a name list the recipes of this command, and end."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    say(f"usage: hallucade {command} RECIPE [options]\nrecipes, or path/to/file.py[:function] for your own:")
    for name, recipe in RECIPES.items():
        if (recipe().method is not None) == taught:
            say(f"  {name:24} {str(recipe.__doc__).splitlines()[0]}")
    for name, part in () if taught else PART_RECIPES.items():
        say(f"  {name:24} {str(part.__doc__).splitlines()[0]}")
    say(f"options of a recipe: hallucade {command} RECIPE --help")
    sys.exit(0 if list(arguments[:1]) in (["-h"], ["--help"]) else 2)
