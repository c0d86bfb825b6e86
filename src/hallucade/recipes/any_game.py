"""A first model of any game: small enough for two CPU cores, large enough to tell whether the data teaches."""

from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
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


def transformer_small() -> RunConfig:
    """A transformer of 1.35 million parameters, for pictures up to 64x64: `hallucade train transformer_small`.

    Frames must be a multiple of 8 pixels high and wide; of small pictures `--model.patch 4` sees more. It looks back 16
    frames, twice as far as `unet_small`, but has to learn what convolutions know: that things move to what is beside
    them.
    """
    base = unet_small()
    return replace(
        base,
        recipe="transformer_small",
        model=DiffusionTransformerConfig(patch=8, window=16, context_level=0.05),
        objective=DiffusionForcingConfig(
            levels=LogitNormalLevels(pure_noise_share=0.3), loss_space="x", clean_share=0.8, motion_weight=4.0
        ),
        stages=(Stage(steps=6000, frames=20, batch=16),),
    )


def transformer_medium() -> RunConfig:
    """The same with 5.1 million parameters: hours on two CPU cores, minutes on a GPU."""
    model = DiffusionTransformerConfig(
        width=192, depth=6, heads=6, mlp_ratio=4.0, patch=8, window=16, context_level=0.05
    )
    return replace(transformer_small(), recipe="transformer_medium", model=model)
