"""A first-person maze that plays on two CPU cores: in many steps, and in one or two that learnt from them."""

from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.models.unet import UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.any_game import unet_small
from hallucade.recipes.distilled_pong import TEACHER_STEPS, pong_distilled, pong_streaming
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage


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
    """The maze in two steps or one, taught by `maze` in sixteen on clips that the student plays itself, as Pong's is.

    It starts from its teacher: `hallucade distill maze_distilled --teacher MAZE --start MAZE`.
    """
    return _taught_as(pong_distilled(), "maze_distilled", steps=300)


def maze_streaming() -> RunConfig:
    """`maze_distilled`, tuned on walks of 248 frames that go on from step to step.

    It starts from the student: `hallucade distill maze_streaming --teacher MAZE --start STUDENT`.
    """
    return _taught_as(pong_streaming(), "maze_streaming", steps=100)


def _taught_as(student: RunConfig, name: str, *, steps: int) -> RunConfig:
    return replace(
        maze(),
        recipe=name,
        objective=None,
        method=student.method,
        sampler=student.sampler,
        stages=tuple(replace(stage, steps=steps) for stage in student.stages),
        trainer=replace(student.trainer, steps=steps),
        sample_every=student.sample_every,
    )
