"""Who plays an environment: players that see a frame and the state, and choose one raw action row.

A player lives for one episode, and draws only from the generator that it is given: so an episode depends on its seed
alone.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.games.native_actions import ActionRow

CALM = 0.25  # share of a delta axis' range that a random hand's standard deviation is
STILL = 0.5  # share of the time that a random hand leaves a delta axis alone


@runtime_checkable
class Player(Protocol):
    """Chooses what is held while `frame` is on screen; `state` is None where the environment shows none."""

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator, /
    ) -> ActionRow: ...


PlayerMaker = Callable[[ActionSpace], Player]  # called once an episode


class Idle:
    """Touches nothing."""

    def __init__(self, actions: ActionSpace) -> None:
        self._row = actions.idle

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        return self._row


class RandomHold:
    """Holds every control at a random value for a random time of its own, `mean_hold` frames on average.

    Axes that move by deltas, such as a mouse, are left alone half of the time and moved gently otherwise: a view that
    always spins at full speed shows nothing.
    """

    def __init__(self, actions: ActionSpace, mean_hold: float = 8.0) -> None:
        if not mean_hold >= 1:
            raise ValueError(f"mean_hold is {mean_hold} frames; hold an action for 1 or more")
        self._controls, self._change = actions.controls, 1 / mean_hold
        self._row: ActionRow | None = None

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        drawn = np.array([_random_value(control, rng) for control in self._controls], np.float32)
        due = rng.random(len(self._controls)) < self._change
        self._row = drawn if self._row is None else np.where(due, drawn, self._row)
        return self._row


class Switching:
    """Gives the controls to one of several players, and to another one now and then.

    Args:
        players: who plays; all of them see every frame.
        weights: how likely each is to be next.
        mean_frames: between two draws.
    """

    def __init__(self, players: Sequence[Player], weights: Sequence[float], mean_frames: float = 90.0) -> None:
        self._players, self._change = players, 1 / mean_frames
        self._shares = np.array(weights) / np.sum(weights)
        self._now: int | None = None

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        rows = [player(frame, state, rng) for player in self._players]
        if self._now is None or rng.random() < self._change:
            self._now = int(rng.choice(len(rows), p=self._shares))
        return rows[self._now]


def player_maker(name: str, own: dict[str, PlayerMaker], mean_hold: float) -> PlayerMaker:
    """Return how a player is made for every episode.

    Args:
        name: "random_hold", "idle", one of `own`, or ``path/to/file.py:function``, a function of (frame, state, rng) to
            a raw action row, or a class whose instances are; a class is built anew for every episode.
        own: players that know this environment.
        mean_hold: frames, of "random_hold".

    Raises:
        ValueError: no such player, or the file holds none.
    """
    makers: dict[str, PlayerMaker] = {
        **own,
        "random_hold": lambda actions: RandomHold(actions, mean_hold),
        "idle": Idle,
    }
    if name in makers:
        return makers[name]
    file, _, function = name.partition(":")
    if not file.endswith(".py"):
        known = ", ".join(makers)
        raise ValueError(f"unknown bot {name!r}; choose one of {known}, or your own: path/to/file.py:function")
    return _from_file(Path(file), function)


def _from_file(path: Path, name: str) -> PlayerMaker:
    if not path.is_file():
        raise ValueError(f"bot file {path} does not exist")
    module_name = f"bot_{path.stem}"  # no name that another module could have
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look up their annotations there
    spec.loader.exec_module(module)
    own: dict[str, Any] = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module_name}
    own = {n: v for n, v in own.items() if callable(v)}
    found = own.get(name or path.stem)
    if found is None:
        names = [n for n in own if not n.startswith("_")]
        raise ValueError(f"{path} has no bot {name or path.stem!r}; it defines {', '.join(names) or 'none'}")
    if inspect.isclass(found):
        return lambda actions: cast("Player", found())
    return lambda actions: cast("Player", found)


def _random_value(control: Button | Choice | Axis, rng: np.random.Generator) -> float:
    match control:
        case Button():
            return float(rng.random() < 0.5)
        case Choice():
            return float(rng.integers(len(control.options)))
        case Axis(kind="value"):
            return float(rng.uniform(control.low, control.high))
        case Axis():
            value = CALM * (control.high - control.low) / 2 * rng.standard_normal()
            return 0.0 if rng.random() < STILL else float(np.clip(value, control.low, control.high))
