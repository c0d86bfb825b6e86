"""Latent actions: their recipe, their training, and how a run of it is opened."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hallucade.data.mixture import Mixture
from hallucade.data.recorder import RecordingConfig
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.latent_action_check import (
    COLLAPSED,
    LatentActionCheckConfig,
    collapse_note,
    evaluate_latent_actions,
)
from hallucade.methods.base import Method
from hallucade.methods.latent_action_training import LatentActionTraining, LatentActionTrainingConfig
from hallucade.models.latent_actions import LatentActions, LatentActionsConfig
from hallucade.recipes.load import default_device
from hallucade.recipes.part_load import open_part, with_weights
from hallucade.recipes.part_run import is_run_of, train_part
from hallucade.recipes.run_config import Experiment
from hallucade.tokenizers.learned_folder import fingerprint_of
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer import Callback, Trainer, TrainingResult
from hallucade.training.trainer_config import TrainerConfig

JUDGED = LatentActionCheckConfig(windows=512)  # what is read every so often in training


@dataclass(frozen=True, kw_only=True)
class LatentActionsRunConfig(Experiment):
    """The training of a latent-action model.

    Raises:
        ValueError: averages are asked for: a codebook follows the weights as they are.
    """

    model: LatentActionsConfig = field(default_factory=LatentActionsConfig)
    method: LatentActionTrainingConfig = field(default_factory=LatentActionTrainingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trainer.ema is not None:
            raise ValueError("the codebook follows the weights and not their averages; use trainer.ema none")


def latent_actions() -> LatentActionsRunConfig:
    """Finds actions in video that has none: `hallucade train latent_actions --store STORE`, then label-actions."""
    steps = 3000
    return LatentActionsRunConfig(
        recipe="latent_actions",
        recording=RecordingConfig(frames=150_000),
        stages=(Stage(steps=steps, frames=4, batch=64),),
        trainer=TrainerConfig(
            steps=steps,
            optimizer=OptimizerConfig(learning_rate=2e-3, muon_learning_rate=2e-3),
            schedule=WarmupStableDecayConfig(warmup=100, decay=0.4),
            ema=None,
        ),
        sample_every=500,
    )


LATENT_ACTIONS = {"latent_actions": latent_actions}


def train_latent_actions(
    config: LatentActionsRunConfig,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train a latent-action model on the frames of `store`; see ``train_part`` for arguments and errors."""

    def prepare(config: LatentActionsRunConfig) -> tuple[Method, list[Callback]]:
        network = config.model.build(store.frame_size)
        method = LatentActionTraining(network, config.method, config.trainer.steps)
        return method, [LogUse(method, store, config.sample_every)]

    return train_part(config, store, run_folder, prepare, resume=resume, progress=progress)


class LogUse:
    """A trainer callback: read held-out play, log how codes are used and what they steer, and tell of a collapse.

    Before the bottleneck has closed there is nothing to say of codes.
    """

    def __init__(self, method: LatentActionTraining, store: EpisodeStore | Mixture, every: int) -> None:
        self.every = every
        self._method, self._network = method, method.network
        self._store = store if isinstance(store, EpisodeStore) else store.stores[0]

    def __call__(self, step: int, trainer: Trainer) -> None:
        if step <= self._method.free_steps or not self._store.indices("validation"):
            return
        with trainer.ema_weights():  # evaluation mode
            found = evaluate_latent_actions(self._network, self._store, JUDGED).metrics
        perplexity = found["latent_actions/perplexity"]
        if perplexity < COLLAPSED:
            warnings.warn(f"step {step}: {collapse_note(perplexity, self._network.codes)}", stacklevel=2)
        trainer.log({f"validation/{name.split('/', 1)[1]}": value for name, value in found.items()})


@dataclass(frozen=True)
class TrainedLatentActions:
    """A latent-action model, and what is to be known of it."""

    network: LatentActions
    fingerprint: str
    data: str  # fingerprint of the play that it was trained on


def load_latent_actions(run: str | Path, device: torch.device | str | None = None) -> TrainedLatentActions:
    """Open the run of a latent-action model, its newest weights.

    Raises:
        CheckpointError: the folder holds no such run, or a damaged one.
    """
    config, source, weights = open_part(
        run, LatentActionsRunConfig, "a latent-action model", "hallucade train latent_actions"
    )
    network = with_weights(config.model.build(source.frame_size), weights, Path(run), device or default_device())
    return TrainedLatentActions(network, fingerprint_of(config.model, weights), source.fingerprint)


def is_latent_actions_run(folder: Path) -> bool:
    """Return whether a folder is the run of a latent-action model."""
    return is_run_of(LatentActionsRunConfig, folder)
