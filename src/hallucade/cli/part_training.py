"""Command: train, where the recipe makes no world model but a part of one, or what judges it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hallucade.cli.data import STORES
from hallucade.cli.parse import MARKERS
from hallucade.data.mixture import open_stores
from hallucade.models.encoder_folder import KEPT as ENCODER
from hallucade.recipes.console import counting, say
from hallucade.recipes.inverse_dynamics import INVERSE_DYNAMICS, InverseDynamicsRunConfig, train_inverse_dynamics
from hallucade.recipes.latent_actions import LATENT_ACTIONS, LatentActionsRunConfig, train_latent_actions
from hallucade.recipes.pretraining import PRETRAINING
from hallucade.recipes.pretraining_run import PretrainingRunConfig, train_encoder
from hallucade.recipes.run_config import Experiment
from hallucade.recipes.tokenizer_run import TokenizerRunConfig, train_tokenizer
from hallucade.recipes.tokenizers import TOKENIZERS
from hallucade.recipes.train import find_or_record, trained_for
from hallucade.tokenizers.pretrained import KEPT
from hallucade.training.run_folder import CHECKPOINTS, RUNS
from hallucade.training.trainer import TrainingDivergedError, TrainingResult


@dataclass(frozen=True)
class PartTraining:
    """What a kind of run makes, and what is done with it next."""

    train: Callable[..., TrainingResult]  # (config, store, run folder, resume=)
    made: str  # the folder in the run that holds it
    following: str  # the next command, with {run} for the run's folder


PART_RECIPES: dict[str, Callable[[], Experiment]] = {**TOKENIZERS, **INVERSE_DYNAMICS, **LATENT_ACTIONS, **PRETRAINING}
TRAININGS: dict[type[Experiment], PartTraining] = {
    PretrainingRunConfig: PartTraining(train_encoder, ENCODER, "hallucade probe-encoder {run} --store STORE"),
    TokenizerRunConfig: PartTraining(train_tokenizer, KEPT, "hallucade tokenize STORE OUT --tokenizer {run}"),
    InverseDynamicsRunConfig: PartTraining(
        train_inverse_dynamics, CHECKPOINTS, "hallucade evaluate WORLD_RUN --store STORE --inverse-dynamics {run}"
    ),
    LatentActionsRunConfig: PartTraining(
        train_latent_actions, CHECKPOINTS, "hallucade label-actions STORE OUT --model {run}"
    ),
}


@dataclass(frozen=True)
class TrainPart:
    """Train a recipe; every number of it can be changed here, as in --tokenizer.bottleneck.levels 8 8 8."""

    config: Annotated[Experiment, tyro.conf.arg(name="")]
    store: str | None = None
    """Recorded play, or a mixture as in a:2,b; by default stores/RECIPE, recorded first if it is not there."""
    out: Path | None = None
    """The run's folder; by default runs/RECIPE."""
    steps: int | None = None
    """Train so many steps in all; the recipe's stages keep their shares of them."""
    resume: bool = False
    """Go on from the newest checkpoint of that folder."""


def train(recipe: Experiment, arguments: Sequence[str]) -> None:
    """Train it on a store that is given, or recorded for it."""
    training = TRAININGS[type(recipe)]
    default: Any = TrainPart(recipe)
    prog = f"hallucade train {recipe.recipe}"
    command = tyro.cli(TrainPart, args=arguments, default=default, prog=prog, config=MARKERS)
    config = command.config if command.steps is None else trained_for(command.config, command.steps)
    if command.store is not None:
        store = open_stores(command.store)
    else:
        with counting(f"recording for {config.recipe}") as progress:
            store = find_or_record(config, STORES / config.recipe, progress)
    run = command.out or RUNS / config.recipe
    try:
        result = training.train(config, store, run, resume=command.resume)
    except TrainingDivergedError as error:  # a choice of the user's, and no defect of ours
        raise ValueError(str(error)) from error
    say(f"{result.reason} at step {result.step}: {run / training.made}")
    if result.reason != "finished":
        say("go on with the same command and --resume")
    else:
        say(f"next: {training.following.format(run=run)}")
