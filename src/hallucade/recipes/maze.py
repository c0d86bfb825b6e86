"""A first-person maze that plays on two CPU cores: in many steps, and in one or two that learnt from them."""

from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.any_game import unet_small
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig

TEACHER_STEPS = 16
MATCHING = DistributionMatchingConfig(least_level=0.1, most_level=0.95)


def maze() -> RunConfig:
    """One map of the built-in maze at 48x48, in sixteen steps: what a turn brings into view is open.

    A third of its frames start from pure noise, so that its weights also are where a student of few steps starts. Later
    clips go through eight of its own frames.
    """
    base = unet_small()
    stages = (Stage(steps=7000, frames=9, batch=32), Stage(steps=2500, frames=16, batch=16))
    steps = sum(stage.steps for stage in stages)
    return replace(
        base,
        recipe="maze",
        recording=RecordingConfig(game="small_maze", frame_size=48, frames=400_000),
        model=UNetConfig(context=8, patch=3, widths=(64, 128), blocks=(1, 3), attention=True),
        objective=NextFrameConfig(
            levels=LogitNormalLevels(mean=0.5, std=1.2, pure_noise_share=0.3),
            loss_space="x",
            context_noise=0.1,
            through_time=True,
            tolerance=1.0,
            motion_weight=9.0,
        ),
        sampler=FlowSamplerConfig(steps=TEACHER_STEPS),
        stages=stages,
        trainer=replace(base.trainer, steps=steps),
        sample_every=1000,
    )


def maze_distilled() -> RunConfig:
    """The maze in two steps or one, taught by `maze` in sixteen on clips that the student plays itself.

    It starts from its teacher: `hallucade distill maze_distilled --teacher MAZE --start MAZE`.
    """
    base = maze()
    steps = 300
    taught = OptimizerConfig(learning_rate=5e-5, muon=False)
    return replace(
        base,
        recipe="maze_distilled",
        objective=None,
        method=SelfForcingConfig(prompt=8, student_every=2, matching=MATCHING),
        sampler=FewStepSamplerConfig(steps=2),
        stages=(Stage(steps=steps, frames=16, batch=16),),
        trainer=replace(
            base.trainer,
            steps=steps,
            compile=False,  # would take longer than the training
            optimizer=taught,
            role_optimizers={"critic": taught},
            schedule=WarmupStableDecayConfig(warmup=20, decay=0.4),
        ),
        sample_every=100,
    )


def maze_streaming() -> RunConfig:
    """`maze_distilled`, tuned on walks of 248 frames that go on from step to step.

    It starts from the student: `hallucade distill maze_streaming --teacher MAZE --start STUDENT`.
    """
    base = maze_distilled()
    steps = 100
    return replace(
        base,
        recipe="maze_streaming",
        method=StreamingLongTuningConfig(prompt=8, student_every=2, matching=MATCHING, chunk=16, overlap=8),
        stages=(Stage(steps=steps, frames=256, batch=16),),
        trainer=replace(base.trainer, steps=steps),
    )
