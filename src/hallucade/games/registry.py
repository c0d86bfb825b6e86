"""Games by name."""

from collections.abc import Callable
from dataclasses import dataclass

from hallucade.games.base import Game, VectorGame
from hallucade.games.maze import Maze, MazeConfig
from hallucade.games.pong import Pong, PongConfig

FrameSize = int | tuple[int, int]  # pixels: of both sides, or height, width


def make_vector_game(name: str, frame_size: FrameSize = 24) -> VectorGame:
    """Build many games side by side, drawn at `frame_size` pixels; ``reset`` starts them.

    Raises:
        ValueError: no such game, or a size that it cannot be drawn at.
    """
    return _find(name).many(_sides(frame_size))


def make_game(name: str, frame_size: FrameSize = 24) -> Game:
    """Build one game, drawn at `frame_size` pixels.

    Raises:
        ValueError: no such game, or a size that it cannot be drawn at.
    """
    return _find(name).one(_sides(frame_size))


def known_games() -> tuple[str, ...]:
    """Name every built-in game."""
    return tuple(_GAMES)


@dataclass(frozen=True)
class _Builders:
    one: Callable[[tuple[int, int]], Game]
    many: Callable[[tuple[int, int]], VectorGame]


def _find(name: str) -> _Builders:
    if name not in _GAMES:
        raise ValueError(f"unknown game {name!r}; known games: {', '.join(known_games())}")
    return _GAMES[name]


def _sides(frame_size: FrameSize) -> tuple[int, int]:
    return (frame_size, frame_size) if isinstance(frame_size, int) else frame_size


def _square(sides: tuple[int, int]) -> int:
    height, width = sides
    if height != width:
        raise ValueError(f"frame_size is {height}x{width}; Pong's court is square, so give one number for both sides")
    return height


_GAMES = {
    "pong": _Builders(
        one=lambda sides: Pong(frame_size=_square(sides)),
        many=lambda sides: PongConfig(frame_size=_square(sides)).build(),
    ),
    "maze": _Builders(
        one=lambda sides: Maze(frame_size=sides),
        many=lambda sides: MazeConfig(frame_size=sides).build(),
    ),
    "small_maze": _Builders(  # one map only, soon learnt by heart
        one=lambda sides: Maze(frame_size=sides, maps=1),
        many=lambda sides: MazeConfig(frame_size=sides, maps=1).build(),
    ),
}
