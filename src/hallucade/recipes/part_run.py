"""The training of what is no world model but a part of one, or judges it: what all such runs share."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from hallucade.config import TYPE_KEY
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import Method
from hallucade.recipes.run_config import Experiment, Source
from hallucade.recipes.train import make_clips, refuse_differences
from hallucade.training.checkpoint import CheckpointFolder
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.trainer import Callback, Trainer, TrainingResult

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)
Prepare = Callable[[AnyExperiment], tuple[Method, list[Callback]]]
CONFIG_FILE = "config.json"  # of a run


def train_part(
    config: AnyExperiment,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    prepare: Prepare[AnyExperiment],
    *,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train what `prepare` builds on the clips of `store`, into the checkpoints of `run_folder`.

    Args:
        config: the recipe, with the user's changes.
        store: recorded play, of one store or of several.
        run_folder: new or empty, unless `resume`.
        prepare: from the config, its source known, to what trains and what is done meanwhile; fresh weights are drawn
            here. The last callback comes once more at the end, also where training was interrupted.
        resume: go on from the newest whole checkpoint.
        progress: show a bar, or lines where there is no terminal.

    Raises:
        ValueError: the folder is not empty, the resumed run was another, or the store does not suit the recipe.
        CheckpointError: a checkpoint cannot be written or read.
        TrainingDivergedError: losses stayed non-finite.
    """
    config = replace(config, source=Source.of(store))
    clips = make_clips(config, store)
    if resume:
        checkpoints = CheckpointFolder(run_folder / CHECKPOINTS)
        if checkpoints.steps():
            refuse_differences(run_folder, checkpoints.load(weights_only=True).config, config.to_json())
    torch.manual_seed(config.trainer.seed)  # of the fresh weights
    method, callbacks = prepare(config)
    method.check_clips([(stage.steps, stage.frames) for stage in config.stages])
    trainer = Trainer(
        config.trainer,
        method,
        clips,
        run_folder,
        run_config=config.to_json(),
        callbacks=callbacks,
        fingerprint=store.fingerprint,
        progress=progress,
    )
    result = trainer.train(resume)
    if trainer.fabric.is_global_zero:
        callbacks[-1](result.step, trainer)
    return result


def is_run_of(kind: type[Experiment], folder: Path) -> bool:
    """Return whether a folder is a run of this kind of experiment."""
    try:
        config: Any = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and cast("dict[str, object]", config).get(TYPE_KEY) == kind.__name__
