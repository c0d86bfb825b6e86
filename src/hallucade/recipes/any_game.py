"""A first model of any game: small enough for two CPU cores, large enough to tell whether the data teaches."""

from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.models.unet import UNetConfig
from hallucade.recipes.pong import pong
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage


def unet_small() -> RunConfig:
    """A U-Net over eight past frames, for a store of your own: `hallucade train unet_small --store STORE`.

    Without a store it records the built-in maze.

    Frames must be a multiple of 8 pixels high and wide. Four sampling steps, because what comes into view when a
    camera turns is open, and one step paints the mean of all that it could be.
    """
    base = pong()
    return replace(
        base,
        recipe="unet_small",
        recording=RecordingConfig(game="maze", frame_size=64, frames=200_000),
        model=UNetConfig(context=8, patch=4, widths=(64, 128), blocks=(1, 3), attention=True),
        sampler=FlowSamplerConfig(steps=4),
        stages=(Stage(steps=4000, frames=9, batch=32), Stage(steps=2000, frames=12, batch=16)),
        focus=None,
        trainer=replace(base.trainer, steps=6000),
        sample_every=1000,
    )
