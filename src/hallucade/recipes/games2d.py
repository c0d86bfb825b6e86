"""Games seen from above or from the side, played by bots: Crafter, two of Atari, and a racing car."""

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.models.nanowm import nanowm_s2
from hallucade.recipes.nanowm import nanowm_run
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world

ATARI_SIZE = (104, 80)  # pixels: half of the console's, so that a ball two pixels wide is one


def crafter_small() -> RunConfig:
    """Crafter with eight pixels for each of its 9 x 9 cells; what lies beyond the picture is open."""
    return small_world("crafter_small", environment=EnvironmentConfig(environment="crafter"), size=(72, 72), context=4)


def atari_pong_small() -> RunConfig:
    """Atari's Pong; `pong` is this package's own."""
    return small_world(
        "atari_pong_small",
        environment=EnvironmentConfig(environment="atari_pong"),
        size=ATARI_SIZE,
        context=4,
        sampling_steps=1,
        still=True,
    )


def atari_breakout_small() -> RunConfig:
    """Atari's Breakout, whose ball is one pixel wide."""
    return small_world(
        "atari_breakout_small",
        environment=EnvironmentConfig(environment="atari_breakout"),
        size=ATARI_SIZE,
        context=4,
        sampling_steps=1,
        still=True,
    )


def car_racing_small() -> RunConfig:
    """A car on a winding road: the road ahead comes into view from above."""
    return small_world("car_racing_small", environment=EnvironmentConfig(environment="car_racing"), context=4)


def crafter_nanowm() -> RunConfig:
    """NanoWM-S/2 on eight frames of Crafter: 144 x 144 pixels, so that a patch of latents is a cell of the map."""
    recording = EnvironmentRecordingConfig(
        source=EnvironmentConfig(environment="crafter"), conversion=ConversionConfig(size=(144, 144)), frames=200_000
    )
    return nanowm_run("crafter_nanowm", nanowm_s2(frames=8), steps=50_000, recording=recording)
