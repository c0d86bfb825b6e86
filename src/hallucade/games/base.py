"""What every simulator offers beyond Gymnasium: a state that can be read, set and checked, and many games at once."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from hallucade.actions import ActionSpace


@runtime_checkable
class Game(Protocol):
    """One game with a known state; also a ``gymnasium.Env`` with rgb frames as observations."""

    actions: ActionSpace
    state_names: tuple[str, ...]  # one name a state variable, with units in the class docstring
    fps: float

    def get_state(self) -> Float64[np.ndarray, "s"]:
        """Return the complete state: ``set_state`` on it continues the same game exactly."""
        ...

    def set_state(self, state: Float64[np.ndarray, "s"]) -> None:
        """Continue from `state`."""
        ...

    def frame(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the current state."""
        ...

    def act(self, row: Float32[np.ndarray, "c"]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
        """Advance one frame under a raw action row; return the next frame and the reward."""
        ...


@runtime_checkable
class VectorGame(Protocol):
    """n games of one kind side by side, for recording; game i depends on seed i only."""

    actions: ActionSpace
    state_names: tuple[str, ...]
    fps: float

    def reset(self, seeds: np.ndarray) -> None:
        """Start n = len(seeds) games."""
        ...

    def get_state(self) -> Float64[np.ndarray, "n s"]:
        """Return the complete state of every game."""
        ...

    def set_state(self, state: Float64[np.ndarray, "n s"]) -> None:
        """Continue every game from `state`; n may differ from before."""
        ...

    def frames(self) -> UInt8[np.ndarray, "n h w 3"]:
        """Draw the current state of every game."""
        ...

    def act(self, rows: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "n"]:
        """Advance every game one frame under raw action rows; return rewards."""
        ...


@runtime_checkable
class Bot(Protocol):
    """Chooses raw action rows for n games from their states."""

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]: ...
