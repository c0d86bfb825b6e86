"""Bots that choose actions for n games at once, and the mixture of them that recordings use.

A bot draws from hashes of (its seed, the game's index, a counter), so what it does in game i depends on that game alone
and never on how many others are played beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt64

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.games.base import Bot
from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.pong_bots import GoodPongBot, WeakPongBot

Streams = UInt64[np.ndarray, "n"]  # one random stream a game


class IdleBot:
    """Touches nothing."""

    def __init__(self, actions: ActionSpace, streams: Streams) -> None:
        self._rows = np.tile(actions.idle, (len(streams), 1))

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        return self._rows.copy()


class RandomHoldBot:
    """Holds a random action for a random time: 1 to 2 * `mean_hold` frames."""

    def __init__(self, actions: ActionSpace, streams: Streams, mean_hold: int = 8) -> None:
        self._actions, self._streams = actions, streams
        self._timer = Timer(streams, 1, 2 * mean_hold)
        self._rows = np.tile(actions.idle, (len(streams), 1))

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        due = self._timer.tick()
        for column, control in enumerate(self._actions.controls):
            share = uniform(random_bits(self._streams[due], self._timer.rings[due], column))
            self._rows[due, column] = _random_value(control, share)
        return self._rows.copy()


class MixedBot:
    """Gives each game to one of several bots, and to another one now and then."""

    def __init__(self, bots: Sequence[Bot], weights: Sequence[float], streams: Streams) -> None:
        self._bots, self._streams = tuple(bots), streams
        self._edges = np.cumsum(weights) / np.sum(weights)
        self._timer = Timer(streams, 30, 300)
        self._player = np.zeros(len(streams), np.int64)

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        due = self._timer.tick()
        share = uniform(random_bits(self._streams[due], self._timer.rings[due]))
        self._player[due] = np.searchsorted(self._edges, share, side="right")
        rows = np.stack([bot(state) for bot in self._bots])
        return rows[self._player, np.arange(len(state))]


class Timer:
    """Rings in every game at random times, `low` to `high` frames apart, and in the first frame."""

    def __init__(self, streams: Streams, low: int, high: int) -> None:
        self._streams, self._low, self._span = streams, low, high - low + 1
        self._left = np.zeros(len(streams), np.int64)  # frames until the next ring
        self.rings = np.zeros(len(streams), np.int64)  # so far

    def tick(self) -> Bool[np.ndarray, "n"]:
        """Advance one frame and say in which games it rings."""
        due = self._left == 0
        share = uniform(random_bits(self._streams[due], self.rings[due], -1))
        self._left[due] = self._low + (share * self._span).astype(np.int64)
        self.rings[due] += 1
        self._left -= 1
        return due


def _random_value(control: Button | Choice | Axis, share: Float64[np.ndarray, "n"]) -> np.ndarray:
    match control:
        case Button():
            return share < 0.5
        case Choice():
            return np.floor(share * len(control.options))
        case Axis():
            return control.low + share * (control.high - control.low)


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[ActionSpace, Streams], Bot]
    actions: ActionSpace | None = None  # the only action space it can play, if there is one


def make_bot(name: str, actions: ActionSpace, n: int, seed: int) -> Bot:
    """Build a bot for n games side by side; the same seed plays the same.

    Args:
        name: "good", "weak" (both know Pong), "random_hold", "idle" (both play anything), or "mixture" of all four.
        actions: of the game that it plays.
        n: games, as many as the states it will see.
        seed: game i draws from (`seed`, i).

    Raises:
        ValueError: no such bot, or one that cannot play this action space.
    """
    if name not in _BOTS:
        raise ValueError(f"unknown bot {name!r}; known bots: {', '.join(known_bots())}")
    recipe = _BOTS[name]
    if recipe.actions is not None and (difference := recipe.actions.difference(actions)):
        anything = ", ".join(n for n, r in _BOTS.items() if r.actions is None)
        raise ValueError(f"bot {name!r} does not know this game: {difference}; bots for any game: {anything}")
    return recipe.build(actions, random_bits(seed, np.arange(n)))


def known_bots() -> tuple[str, ...]:
    """Name every bot."""
    return tuple(_BOTS)


def _pong_mixture(actions: ActionSpace, streams: Streams) -> Bot:
    """Good play for long rallies, weak play for misses, random play for every paddle position and direction."""
    weights = {"good": 0.35, "weak": 0.3, "random_hold": 0.3, "idle": 0.05}
    bots = [_BOTS[name].build(actions, random_bits(streams.astype(np.int64), i)) for i, name in enumerate(weights)]
    return MixedBot(bots, list(weights.values()), streams)


def _good(actions: ActionSpace, streams: Streams) -> Bot:
    return GoodPongBot(streams)


def _weak(actions: ActionSpace, streams: Streams) -> Bot:
    return WeakPongBot(streams)


_BOTS = {
    "good": _Recipe(_good, PONG_ACTIONS),
    "weak": _Recipe(_weak, PONG_ACTIONS),
    "random_hold": _Recipe(RandomHoldBot),
    "idle": _Recipe(IdleBot),
    "mixture": _Recipe(_pong_mixture, PONG_ACTIONS),
}
