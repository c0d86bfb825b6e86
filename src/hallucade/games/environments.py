"""The environments that are known by a short name."""

from hallucade.games.atari import ATARI_BREAKOUT, ATARI_PONG
from hallucade.games.car_racing import CAR_RACING
from hallucade.games.crafter import CRAFTER
from hallucade.games.doom_environments import DOOM, DOOM_THIRD_PERSON
from hallucade.games.environment import Environment
from hallucade.games.point_maze import POINT_MAZE
from hallucade.games.pusht import PUSHT

_ENVIRONMENTS = {
    "atari_pong": ATARI_PONG,
    "atari_breakout": ATARI_BREAKOUT,
    "doom": DOOM,
    "doom_third_person": DOOM_THIRD_PERSON,
    "pusht": PUSHT,
    "point_maze": POINT_MAZE,
    "crafter": CRAFTER,
    "car_racing": CAR_RACING,
}


def known_environments() -> tuple[str, ...]:
    """Name every environment with a ready description; any Gymnasium id works too."""
    return tuple(_ENVIRONMENTS)


def find_environment(name: str) -> Environment:
    """Return the environment of a short name, or describe the one of a Gymnasium id."""
    return _ENVIRONMENTS.get(name) or Environment(id=name)
