"""One game of many side by side, as Gymnasium plays it."""

from typing import Any, Generic, SupportsFloat, TypeVar

import gymnasium
import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from hallucade.games.base import VectorGame

Games = TypeVar("Games", bound=VectorGame)
Act = TypeVar("Act")  # what `step` takes


class SingleGame(gymnasium.Env[np.ndarray, Act], Generic[Games, Act]):
    """A game that goes on until it is truncated; `step` and its action space are those of a kind of game."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as the base class

    def __init__(self, games: Games, frame_size: tuple[int, int], render_mode: str | None) -> None:
        """Start the game of seed 0.

        Args:
            games: simulates it, one row.
            frame_size: height and width in pixels.
            render_mode: "rgb_array" for `render`, or None.

        Raises:
            ValueError: another render mode.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; {type(self).__name__} knows 'rgb_array' and None")
        self.render_mode = render_mode
        self._games = games
        self.observation_space = gymnasium.spaces.Box(0, 255, (*frame_size, 3), np.uint8)
        self._games.reset(np.zeros(1, np.int64))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, Any]]:
        """Start a game: with `seed` that of the same seed side by side, else the next of a random sequence."""
        super().reset(seed=seed, options=options)
        game = int(self.np_random.integers(2**53)) if seed is None else seed
        self._games.reset(np.array([game]))
        return self.frame(), {}

    def held(self, row: Float32[np.ndarray, "c"]) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Hold a raw action row for one frame, and return what `step` does."""
        frame, reward = self.act(row)
        return frame, reward, False, False, {}

    def act(self, row: Float32[np.ndarray, "c"]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Advance one frame under a raw action row; return the next frame and the reward."""
        reward = self._games.act(row[None])[0]
        return self.frame(), float(reward)

    def frame(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the current state."""
        return self._games.frames()[0]

    def render(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """Return the current picture in mode "rgb_array"."""
        return self.frame() if self.render_mode == "rgb_array" else None

    def get_state(self) -> Float64[np.ndarray, "s"]:
        """Return the complete state: ``set_state`` on it continues the same game exactly."""
        return self._games.get_state()[0]

    def set_state(self, state: Shaped[np.ndarray, "s"]) -> None:
        """Continue from `state`.

        Raises:
            ValueError: it is no state of this game.
        """
        self._games.set_state(state[None])
