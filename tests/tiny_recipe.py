"""A user's own recipe, as the command line takes it: the demo's, shrunk until a test can wait for it."""

from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.models.unet import UNetConfig
from hallucade.recipes.pong import pong_micro
from hallucade.recipes.run_config import RunConfig
from hallucade.training.curriculum import Stage


def tiny_recipe() -> RunConfig:
    demo = pong_micro()
    return replace(
        demo,
        recipe="tiny_recipe",
        recording=RecordingConfig(frames=4_000, episode_length=120),
        model=UNetConfig(context=8, widths=(8, 16), blocks=(1, 1), condition_width=24),
        stages=(Stage(steps=24, frames=9, batch=3),),
        trainer=replace(demo.trainer, steps=24, compile=False, checkpoint_every=10),
        sample_every=24,
    )
