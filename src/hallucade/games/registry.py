"""Games by name."""

from collections.abc import Callable

from hallucade.games.base import Game, VectorGame
from hallucade.games.pong import Pong, PongConfig, VectorPong


def make_vector_game(name: str, frame_size: int = 24) -> VectorGame:
    """Build many games side by side, drawn at `frame_size` pixels; ``reset`` starts them.

    Raises:
        ValueError: no such game.
    """
    return _VECTOR_GAMES[_known(name)](frame_size)


def make_game(name: str, frame_size: int = 24) -> Game:
    """Build one game, drawn at `frame_size` pixels.

    Raises:
        ValueError: no such game.
    """
    return _GAMES[_known(name)](frame_size)


def known_games() -> tuple[str, ...]:
    """Name every built-in game."""
    return tuple(_GAMES)


def _known(name: str) -> str:
    if name not in _GAMES:
        raise ValueError(f"unknown game {name!r}; known games: {', '.join(known_games())}")
    return name


def _pong(frame_size: int) -> Game:
    return Pong(frame_size=frame_size)


def _vector_pong(frame_size: int) -> VectorGame:
    return VectorPong(PongConfig(frame_size=frame_size))


_GAMES: dict[str, Callable[[int], Game]] = {"pong": _pong}
_VECTOR_GAMES: dict[str, Callable[[int], VectorGame]] = {"pong": _vector_pong}
