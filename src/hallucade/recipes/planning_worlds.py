"""Worlds to plan in: what a push does to a block, and a force to a ball, five steps of the simulator a frame."""

from dataclasses import replace

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.data.focus import Focus
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.models.unet import UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.pong import pong
from hallucade.recipes.run_config import RunConfig
from hallucade.training.curriculum import Stage
from hallucade.training.schedules import WarmupStableDecayConfig

PUSHES = Focus(changes=("block_x", "block_y"), share=0.5, lead=3)  # the finger moves the block


def pusht_planning() -> RunConfig:
    """A U-Net to plan pushes in, five steps of PushT a frame; records PushT.

    Two past frames say all there is to know, because block and finger stop when nothing pushes them. What follows is
    certain, so that one sampling step will do; most frames are trained from pure noise, as that step starts. Table and
    resting block are given: only what a push changes has to be drawn, on a past that is therefore not noised.
    """
    base = pong()
    assert isinstance(base.objective, NextFrameConfig)
    return replace(
        base,
        recipe="pusht_planning",
        recording=EnvironmentRecordingConfig(
            source=EnvironmentConfig(environment="pusht_relative"),
            conversion=ConversionConfig(size=(48, 48)),
            frames=100_000,
        ),
        model=UNetConfig(context=2, patch=4, widths=(48, 96), blocks=(1, 2), from_last=True),
        objective=replace(base.objective, levels=LogitNormalLevels(pure_noise_share=0.8), context_noise=0.0),
        stages=(Stage(steps=6000, frames=4, batch=32), Stage(steps=3000, frames=7, batch=16)),
        focus=PUSHES,
        trainer=replace(base.trainer, steps=9000, schedule=WarmupStableDecayConfig(warmup=100, decay=0.7)),
        sample_every=1000,
        prompt_frames=2,
    )


def point_maze_planning() -> RunConfig:
    """The same U-Net of the ball in a maze; records PointMaze. Two past frames say how fast it rolls."""
    base = pusht_planning()
    assert isinstance(base.recording, EnvironmentRecordingConfig)
    played = EnvironmentConfig(environment="point_maze", episode_length=200)
    return replace(base, recipe="point_maze_planning", recording=replace(base.recording, source=played), focus=None)
