"""Games with a view that turns: Counter-Strike from recordings, Doom in first and third person from a bot's play."""

from hallucade.data.environment import EnvironmentConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.small_worlds import small_world

CSGO = "hallucade import csgo counter-strike_deathmatch {{store}} --test-list test_split.txt --size {} {}"
DOOM_SIZE = (64, 80)  # pixels; a little is cut at the sides of 3:4


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
