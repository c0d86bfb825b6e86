"""What an environment is to a recorder: how it is made, what its controls are called, and what of it is recorded.

`environments` names the ready ones. Any other Gymnasium environment with rgb frames is described by its id alone.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np

from hallucade.games.native_actions import Controls
from hallucade.games.players import PlayerMaker

SIMULATED = "played by a program in a simulator"
STALE = "stale_frame"  # key of an environment's info: the game is over and there is no new frame
Env = gymnasium.Env[Any, Any]

# Set where they are not: pygame opens no window and greets nobody.
QUIET = {"SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}


@dataclass(frozen=True)
class Readout:
    """What a simulator shows beside its frames, after every step."""

    names: tuple[str, ...]  # one a state variable
    state: Callable[[Any], np.ndarray]  # from the last observation, or from the simulator itself
    extras: Callable[[], dict[str, np.ndarray]] = dict[str, np.ndarray]  # arrays of fixed shape


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A Gymnasium environment and what a recording of it needs to know."""

    id: str  # Gymnasium's, "PongNoFrameskip-v4"; "module:Name-v0" imports the module first
    about: str = ""  # one line for people
    install: str = ""  # the command that installs what it needs
    requires: str = ""  # the module that must be there
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])  # keyword arguments of ``gymnasium.make``
    fps: float | None = None  # of the environment's own steps; None asks its metadata
    frame_skip: int = 1  # steps a frame, unless a recording asks for another number
    settling: int = 0  # frames without an action before the first one that is shown: a screen that is no game yet
    skip_option: str | None = None  # the environment's own option that skips frames, faster than stepping through them
    picture: Literal["observation", "render"] | None = None  # None takes the observation if it is one
    prepare: Callable[[Env], None] | None = None  # called once it is made
    controls: Callable[[Env], Controls] | None = None  # None names them after the action space
    readout: Callable[[Env], Readout] | None = None  # None records what of the observation is no picture
    players: Mapping[str, PlayerMaker] = field(default_factory=dict[str, PlayerMaker])  # the first is the default
    reusable: bool = False  # whether ``reset(seed)`` forgets everything that was played before, to the bit
    variables: Mapping[str, str] = field(default_factory=dict[str, str])  # environment variables, where not set
    licence: str = ""

    def make(self, frame_skip: int, **options: Any) -> Env:
        """Make the environment; `options` go over its own.

        Raises:
            ValueError: it is not installed, not known, or refuses the options.
        """
        for name, value in {**QUIET, **self.variables}.items():
            os.environ.setdefault(name, value)
        self._require()
        skip = {} if self.skip_option is None else {self.skip_option: frame_skip}
        arguments: dict[str, Any] = {
            "disable_env_checker": True,
            "render_mode": "rgb_array",
            **self.options,
            **skip,
            **options,
        }
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", ".*render_mode.*", UserWarning
                )  # a game that draws nothing says so later
                env = gymnasium.make(self.id, **arguments)
        except (gymnasium.error.Error, TypeError, ImportError) as error:
            raise ValueError(f"environment {self.id!r} cannot be made: {_one_line(error)}{self._hint()}") from error
        if self.prepare is not None:
            self.prepare(env)
        return env

    def _require(self) -> None:
        module = self.requires or self.id.rpartition(":")[0]
        try:
            if module:
                importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"environment {self.id!r} needs module {error.name or module!r}{self._hint()}") from error

    def _hint(self) -> str:
        return f"; install it: {self.install}" if self.install else "; check its name, its package and its options"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
