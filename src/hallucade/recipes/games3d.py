"""Games with a view that turns: Counter-Strike from recordings, Doom in first and third person from a bot's play."""

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.models.nanowm import nanowm_l2, nanowm_s2
from hallucade.recipes.nanowm import nanowm_run
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world

CSGO = "hallucade import csgo counter-strike_deathmatch {{store}} --test-list test_split.txt --size {} {}"
DOOM_SIZE = (64, 80)  # pixels; a little is cut at the sides of 3:4
LATENT_DOOM_SIZE = (128, 160)


def csgo_small() -> RunConfig:
    """Counter-Strike at 16 frames a second, close to its own shape."""
    return small_world("csgo_small", importing=CSGO.format(64, 120), size=(64, 120))


def doom_small() -> RunConfig:
    """Doom through the marine's eyes, played by a bot that wanders."""
    return small_world("doom_small", environment=EnvironmentConfig(environment="doom"), size=DOOM_SIZE)


def doom_third_person_small() -> RunConfig:
    """Doom over the marine's shoulder: what turns the camera must leave the marine where it is."""
    return small_world(
        "doom_third_person_small", environment=EnvironmentConfig(environment="doom_third_person"), size=DOOM_SIZE
    )


def csgo_nanowm() -> RunConfig:
    """NanoWM-L/2 on sixteen frames of Counter-Strike, 100,000 steps of 48 clips at a rate of 1e-5.

    256 x 256 pixels, as NanoWM's configs have it; its documents say 320 x 512, and publish no figures. An action has 15
    features, the mouse in degrees, where NanoWM's has 51, with one for each bin of the mouse.
    """
    return nanowm_run(
        "csgo_nanowm",
        nanowm_l2(frames=16),
        steps=100_000,
        importing=f"{CSGO.format(256, 256)} --fit stretch",
        batch=48,
        accumulate=12,
        learning_rate=1e-5,
    )


def doom_nanowm() -> RunConfig:
    """NanoWM-S/2 on sixteen frames of Doom, for one GPU; nobody has published figures."""
    return _doom_nanowm("doom")


def doom_third_person_nanowm() -> RunConfig:
    """NanoWM-S/2 on sixteen frames of Doom in third person; see `doom_nanowm`."""
    return _doom_nanowm("doom_third_person")


def _doom_nanowm(environment: str) -> RunConfig:
    recording = EnvironmentRecordingConfig(
        source=EnvironmentConfig(environment=environment, env_kwargs='{"size": "320x240"}'),
        conversion=ConversionConfig(size=LATENT_DOOM_SIZE),
        frames=200_000,
    )
    return nanowm_run(f"{environment}_nanowm", nanowm_s2(frames=16), steps=50_000, recording=recording, batch=32)
