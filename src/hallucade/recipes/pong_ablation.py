"""The base of ablations: a small transformer that learns 64x64 Pong in minutes on one core."""

from hallucade.data.recorder import RecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer_config import TrainerConfig

STEPS = 1200


def pong_ablation() -> RunConfig:
    """A factorised transformer of 0.9M parameters that predicts x, by diffusion forcing; made to be varied.

    Patches of 16 pixels, because at this budget frames count for more than tokens: with patches of 8 and a third of the
    frames in the same time, paddles do not learn to obey.
    """
    return RunConfig(
        recipe="pong_ablation",
        recording=RecordingConfig(frame_size=64, frames=40_000),
        model=DiffusionTransformerConfig(width=96, patch=16, window=8),
        objective=DiffusionForcingConfig(
            levels=LogitNormalLevels(pure_noise_share=0.1), loss_space="x", motion_weight=9.0
        ),
        sampler=DDIMSamplerConfig(steps=4),
        stages=(Stage(steps=STEPS, frames=8, batch=8),),
        trainer=TrainerConfig(
            steps=STEPS,
            compile=False,
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-2),
            schedule=WarmupStableDecayConfig(warmup=50, decay=0.5),
            log_every=20,
            checkpoint_every=STEPS // 3,
            keep=1,
        ),
        sample_every=STEPS,
    )
