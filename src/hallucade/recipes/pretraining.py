"""Video encoders to train on any store, with or without a use for its actions."""

from collections.abc import Callable
from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.methods.encoder_pretraining import PartConfig
from hallucade.models.video_encoder import VideoEncoderConfig
from hallucade.objectives.clip_reconstruction import ClipReconstructionConfig
from hallucade.objectives.contrastive import ContrastiveConfig
from hallucade.objectives.encoder_objective import EncoderObjectiveConfig
from hallucade.objectives.frame_regression import FrameRegressionConfig
from hallucade.objectives.latent_prediction import LatentPredictionConfig
from hallucade.objectives.masked_video import MaskedVideoConfig
from hallucade.objectives.time_contrastive import TimeContrastiveConfig
from hallucade.recipes.pretraining_run import PretrainingRunConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import CosineScheduleConfig
from hallucade.training.trainer_config import TrainerConfig


def pretrain_masked() -> PretrainingRunConfig:
    """Masked video: nine tenths of the places are hidden at all times and drawn again (VideoMAE)."""
    steps = 3000
    return PretrainingRunConfig(
        recipe="pretrain_masked",
        recording=RecordingConfig(game="pong", frame_size=24, frames=200_000),
        encoder=VideoEncoderConfig(width=96, depth=4, heads=4, patch=4, tubelet=2),
        parts=(PartConfig(objective=MaskedVideoConfig()),),
        stages=(Stage(steps=steps, frames=8, batch=32),),
        trainer=TrainerConfig(
            steps=steps,
            compile=False,  # what runs is another graph for every mask
            optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.05, muon=False),
            schedule=CosineScheduleConfig(warmup=100),
            ema=None,
        ),
    )


def pretrain_jepa() -> PretrainingRunConfig:
    """Latent prediction: hidden places are predicted as a slower copy of the encoder sees them (V-JEPA)."""
    return _other("pretrain_jepa", LatentPredictionConfig())


def pretrain_contrastive() -> PretrainingRunConfig:
    """Contrastive: two views of a clip are told from views of other episodes."""
    return _other("pretrain_contrastive", ContrastiveConfig())


def pretrain_time_contrastive() -> PretrainingRunConfig:
    """Time-contrastive: the present and what is pressed are matched with the future, among other futures."""
    return _other("pretrain_time_contrastive", TimeContrastiveConfig())


def pretrain_regression() -> PretrainingRunConfig:
    """Regression: the next frames are drawn by their mean; a baseline."""
    return _other("pretrain_regression", FrameRegressionConfig())


def pretrain_reconstruction() -> PretrainingRunConfig:
    """Reconstruction: a clip is drawn again from one short vector for every second frame."""
    return _other("pretrain_reconstruction", ClipReconstructionConfig())


def pretrain_mix() -> PretrainingRunConfig:
    """A mix: masked video in every step, contrast beside it at a tenth of its weight."""
    parts = (PartConfig(objective=MaskedVideoConfig()), PartConfig(objective=ContrastiveConfig(), weight=0.1))
    return replace(pretrain_masked(), recipe="pretrain_mix", parts=parts)


def _other(recipe: str, objective: EncoderObjectiveConfig) -> PretrainingRunConfig:
    return replace(pretrain_masked(), recipe=recipe, parts=(PartConfig(objective=objective),))


PRETRAINING: dict[str, Callable[[], PretrainingRunConfig]] = {
    "pretrain_masked": pretrain_masked,
    "pretrain_jepa": pretrain_jepa,
    "pretrain_contrastive": pretrain_contrastive,
    "pretrain_time_contrastive": pretrain_time_contrastive,
    "pretrain_regression": pretrain_regression,
    "pretrain_reconstruction": pretrain_reconstruction,
    "pretrain_mix": pretrain_mix,
}
