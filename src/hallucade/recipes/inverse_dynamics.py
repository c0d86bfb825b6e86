"""Inverse dynamics models: their recipe, their training and how a run of one is opened."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from hallucade.data.mixture import Mixture
from hallucade.data.recorder import RecordingConfig
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.action_scores import scored
from hallucade.evaluation.controllability import ActionReader, ControllabilityConfig, real_counts
from hallucade.methods.base import Method
from hallucade.methods.inverse_dynamics_training import (
    InverseDynamicsTraining,
    InverseDynamicsTrainingConfig,
    control_weights,
)
from hallucade.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from hallucade.recipes.load import default_device
from hallucade.recipes.part_load import open_part, with_weights
from hallucade.recipes.part_run import is_run_of, train_part
from hallucade.recipes.run_config import Experiment
from hallucade.shapes import ActionRows
from hallucade.tokenizers.learned_folder import fingerprint_of
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer import Callback, Trainer, TrainingResult
from hallucade.training.trainer_config import TrainerConfig

JUDGED = ControllabilityConfig(clips=48, frames=32)  # what is read every so often in training


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsRunConfig(Experiment):
    """The training of an inverse dynamics model."""

    model: InverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)
    method: InverseDynamicsTrainingConfig = field(default_factory=InverseDynamicsTrainingConfig)


def inverse_dynamics() -> InverseDynamicsRunConfig:
    """Reads the held action off the frames around it: `hallucade train inverse_dynamics --store STORE`."""
    steps = 3000
    return InverseDynamicsRunConfig(
        recipe="inverse_dynamics",
        recording=RecordingConfig(game="maze", frame_size=64, frames=200_000),
        stages=(Stage(steps=steps, frames=8, batch=32),),
        trainer=TrainerConfig(
            steps=steps,
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-3, weight_decay=0.05),
            schedule=WarmupStableDecayConfig(warmup=100, decay=0.4),
        ),
        sample_every=500,
    )


INVERSE_DYNAMICS = {"inverse_dynamics": inverse_dynamics}


def train_inverse_dynamics(
    config: InverseDynamicsRunConfig,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train an inverse dynamics model on the actions of `store`; see ``train_part`` for arguments and errors."""

    def prepare(config: InverseDynamicsRunConfig) -> tuple[Method, list[Callback]]:
        network = config.model.build(store.actions, store.frame_size)
        weights = control_weights(store.actions, training_actions(store), config.method.balance)
        method = InverseDynamicsTraining(network, config.method, weights)
        return method, [LogCeiling(network, store, config.sample_every)]

    return train_part(config, store, run_folder, prepare, resume=resume, progress=progress)


class LogCeiling:
    """A trainer callback: read real play that training does not see, and log how well that goes."""

    def __init__(self, network: InverseDynamics, store: EpisodeStore | Mixture, every: int) -> None:
        self.every = every
        self._network = network
        self._store = store if isinstance(store, EpisodeStore) else store.stores[0]

    def __call__(self, step: int, trainer: Trainer) -> None:
        if not self._store.indices("validation"):
            return
        with trainer.ema_weights():
            found = scored(real_counts(self._network, self._store, JUDGED), "validation/")
        trainer.log({name: value for name, value in found.items() if name.count("/") == 1})


def training_actions(store: EpisodeStore | Mixture) -> ActionRows:
    """Return the raw rows of all training episodes, one after the other.

    Raises:
        DamageError: an action is not what was recorded.
    """
    stores = [store] if isinstance(store, EpisodeStore) else store.stores
    rows = [each.verified("actions").episode(index) for each in stores for index in each.indices("train")]
    return np.concatenate(rows).astype(np.float32)


def load_inverse_dynamics(run: str | Path, device: torch.device | str | None = None) -> ActionReader:
    """Open the run of an inverse dynamics model, its newest weights.

    Raises:
        CheckpointError: the folder holds no such run, or a damaged one.
    """
    config, source, weights = open_part(
        run, InverseDynamicsRunConfig, "an inverse dynamics model", "hallucade train inverse_dynamics"
    )
    network = config.model.build(source.actions, source.frame_size)
    network = with_weights(network, weights, Path(run), device or default_device())
    return ActionReader(network, fingerprint_of(config.model, weights), source.fingerprint, str(run))


def is_inverse_dynamics_run(folder: Path) -> bool:
    """Return whether a folder is the run of an inverse dynamics model."""
    return is_run_of(InverseDynamicsRunConfig, folder)
