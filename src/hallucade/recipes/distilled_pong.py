"""Pong in many steps, in one or two that learnt from them, and tuned on games that do not end."""

from dataclasses import replace

from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.methods.consistency import ConsistencyDistillationConfig
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.pong import pong
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig

TEACHER_STEPS = 16
MATCHING = DistributionMatchingConfig(least_level=0.1, most_level=0.95)


def pong_teacher() -> RunConfig:
    """Pong in sixteen steps, to teach `pong_distilled`: the bundled network, trained on at all levels alike.

    It starts from `pong`: `hallucade train pong_teacher --start pong`. Clips go through
    twelve of its own frames, longer than a ball takes from paddle to wall.
    """
    base = pong()
    steps = 900
    return replace(
        base,
        recipe="pong_teacher",
        objective=NextFrameConfig(
            levels=LogitNormalLevels(mean=0.5, std=1.2, pure_noise_share=0.1),
            loss_space="v",
            context_noise=0.1,
            through_time=True,
            tolerance=0.5,
            motion_weight=9.0,
        ),
        sampler=FlowSamplerConfig(steps=TEACHER_STEPS),
        stages=(Stage(steps=steps, frames=20, batch=24),),
        trainer=replace(
            base.trainer,
            steps=steps,
            optimizer=OptimizerConfig(learning_rate=3e-4, muon_learning_rate=6e-3),
            schedule=WarmupStableDecayConfig(warmup=50, decay=0.8),
        ),
        sample_every=300,
    )


def pong_consistency() -> RunConfig:
    """Pong in one or two steps, taught by `pong_teacher` after the true past: what `pong_distilled` starts from.

    It starts from the teacher: `hallucade distill pong_consistency --teacher TEACHER --start TEACHER`.
    """
    base = pong_teacher()
    steps = 200
    return replace(
        base,
        recipe="pong_consistency",
        objective=None,
        method=ConsistencyDistillationConfig(steps=TEACHER_STEPS, decay=0.9, decay_start=0),
        sampler=FewStepSamplerConfig(steps=2),
        stages=(Stage(steps=steps, frames=16, batch=16),),
        trainer=replace(
            base.trainer,
            steps=steps,
            compile=False,  # would take longer than the training
            optimizer=OptimizerConfig(learning_rate=1e-4, muon_learning_rate=2e-3),
            schedule=WarmupStableDecayConfig(warmup=20, decay=0.4),
        ),
        sample_every=100,
    )


def pong_distilled() -> RunConfig:
    """Pong in one or two steps, taught by `pong_teacher` on clips that the model plays itself.

    It starts from what plays well in one step, the bundled network or `pong_consistency`:
    `hallucade distill pong_distilled --teacher TEACHER --start RUN`. Learning rates are small, since all three networks
    start alike: a critic that is shaken loose from them no longer knows the student, and both run away from the
    teacher. Levels below 0.1 tell little of 24-pixel pictures and much of the loss.
    """
    base = pong_consistency()
    small = OptimizerConfig(learning_rate=5e-5, muon=False)
    return replace(
        base,
        recipe="pong_distilled",
        method=SelfForcingConfig(prompt=8, student_every=2, matching=MATCHING),
        trainer=replace(base.trainer, optimizer=small, role_optimizers={"critic": small}),
    )


def pong_streaming() -> RunConfig:
    """`pong_distilled`, tuned on games of 248 frames that go on from step to step.

    It starts from the student: `hallucade distill pong_streaming --teacher TEACHER --start STUDENT`.
    """
    base = pong_distilled()
    steps = 100
    return replace(
        base,
        recipe="pong_streaming",
        method=StreamingLongTuningConfig(prompt=8, student_every=2, matching=MATCHING, chunk=16, overlap=8),
        stages=(Stage(steps=steps, frames=256, batch=16),),
        trainer=replace(base.trainer, steps=steps),
    )
