"""A training of some seconds that validates its dreams, also as one of two ranks in a process of its own."""

import os
from dataclasses import replace
from pathlib import Path

import tiny_recipe
import torch

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.validation import ValidationConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import train, trained_for


def recipe(**changes: object) -> RunConfig:
    """Return four steps, validated every second one on three dreams; `changes` are the validation's."""
    settings: dict[str, object] = {"every": 2, "rollouts": 3, "frames": 6}
    base = trained_for(tiny_recipe.tiny_recipe(), 4)
    stages = tuple(replace(stage, batch=4) for stage in base.stages)
    validation = ValidationConfig(**(settings | changes))
    return replace(base, recording=None, stages=stages, sample_every=99, validation=validation)


def validate_as_rank(rank: int, port: int, store: str, folder: str) -> None:
    """Train as one of two ranks, in the environment that torchrun makes."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    train(recipe(), EpisodeStore(store), Path(folder), progress=False)
