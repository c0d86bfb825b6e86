"""The environments that are known by a short name."""

import gymnasium

from hallucade.games.atari import ATARI_BREAKOUT, ATARI_PONG
from hallucade.games.car_racing import CAR_RACING
from hallucade.games.crafter import CRAFTER
from hallucade.games.doom_environments import DOOM, DOOM_DEFEND_THE_LINE, DOOM_THIRD_PERSON
from hallucade.games.environment import Environment
from hallucade.games.point_maze import POINT_MAZE
from hallucade.games.pusht import PUSHT, PUSHT_RELATIVE

_ENVIRONMENTS = {
    "atari_pong": ATARI_PONG,
    "atari_breakout": ATARI_BREAKOUT,
    "doom": DOOM,
    "doom_third_person": DOOM_THIRD_PERSON,
    "doom_defend_the_line": DOOM_DEFEND_THE_LINE,
    "pusht": PUSHT,
    "pusht_relative": PUSHT_RELATIVE,
    "point_maze": POINT_MAZE,
    "crafter": CRAFTER,
    "car_racing": CAR_RACING,
}


def known_environments() -> tuple[str, ...]:
    """Name every environment with a ready description; any Gymnasium id works too."""
    return tuple(_ENVIRONMENTS)


def find_environment(name: str) -> Environment:
    """Return the environment of a short name, or describe the one of a Gymnasium id.

    Raises:
        ValueError: it is neither.
    """
    if name in _ENVIRONMENTS:
        return _ENVIRONMENTS[name]
    if name not in gymnasium.registry and ":" not in name and "-v" not in name:
        known = ", ".join(known_environments())
        raise ValueError(f"unknown environment {name!r}; known: {known}, or a Gymnasium id such as 'CartPole-v1'")
    return Environment(id=name)
