"""Small pixel models of known worlds: hours on a laptop, seconds to try, to see whether data teach before a GPU does.

Each is `unet_small` at a frame size that suits the world, with the memory and the sampling steps that it needs. Few
steps where the future is certain once the past and the action are known; four where something comes into view.
"""

from dataclasses import replace

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.models.unet import UNetConfig
from hallucade.recipes.any_game import unet_small
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage

FRAMES = 100_000  # recorded


def small_world(
    name: str,
    *,
    environment: EnvironmentConfig | None = None,
    importing: str | None = None,
    size: tuple[int, int] = (64, 64),
    context: int = 8,
    patch: int = 4,
    sampling_steps: int = 4,
    still: bool = False,
) -> RunConfig:
    """Return the small recipe of a world.

    Args:
        name: of the recipe.
        environment: what to record, and who plays it.
        importing: or the command that makes a store of others' recordings.
        size: height and width of a recorded frame, multiples of 2 * `patch` pixels.
        context: past frames that the model sees.
        patch: pixels a side that one feature covers; small things want small ones.
        sampling_steps: network calls a frame.
        still: whether the camera never moves: the model then draws the change from the last frame.
    """
    base = unet_small()
    assert isinstance(base.model, UNetConfig)
    recording = None
    if environment is not None:
        conversion = ConversionConfig(size=size)
        recording = EnvironmentRecordingConfig(source=environment, conversion=conversion, frames=FRAMES)
    return replace(
        base,
        recipe=name,
        recording=recording,
        importing=importing,
        model=replace(base.model, context=context, patch=patch, from_last=still),
        sampler=FlowSamplerConfig(steps=sampling_steps),
        stages=(
            Stage(steps=4000, frames=context + 1, batch=32),
            Stage(steps=2000, frames=context + 4, batch=16),  # through three of its own frames
        ),
        prompt_frames=context,
    )
