"""The environments that are known by a short name."""

from hallucade.games.environment import Environment

_ENVIRONMENTS: dict[str, Environment] = {}


def known_environments() -> tuple[str, ...]:
    """Name every environment with a ready description; any Gymnasium id works too."""
    return tuple(_ENVIRONMENTS)


def find_environment(name: str) -> Environment:
    """Return the environment of a short name, or describe the one of a Gymnasium id."""
    return _ENVIRONMENTS.get(name) or Environment(id=name)
