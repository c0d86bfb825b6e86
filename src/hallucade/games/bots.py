"""Bots that choose actions for n games at once, and the mixture of them that recordings use.

A bot draws from hashes of (its seed, the game's index, a counter), so what it does in game i depends on that game alone
and never on how many others are played beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt64

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.games.base import Bot
from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.maze import MAZE_ACTIONS
from hallucade.games.maze_bots import WanderBot
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.pong_bots import GoodPongBot, WeakPongBot
from hallucade.games.timer import Timer

Streams = UInt64[np.ndarray, "n"]  # one random stream a game
STILL = 0.4  # share of the random movements of a mouse that are none
NOD = 2.5  # times an axis's range that one random movement turns the view up or down


class IdleBot:
    """Touches nothing."""

    def __init__(self, actions: ActionSpace, streams: Streams) -> None:
        self._rows = np.tile(actions.idle, (len(streams), 1))

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        return self._rows.copy()


class RandomHoldBot:
    """Holds a random action for a random time: 1 to 2 * `mean_hold` frames.

    A mouse moves slowly more often than fast, and turns the view down again after up: nobody plays gazing at the sky.
    """

    def __init__(self, actions: ActionSpace, streams: Streams, mean_hold: int = 8) -> None:
        self._actions, self._streams = actions, streams
        self._timer = Timer(streams, 1, 2 * mean_hold)
        self._rows = np.tile(actions.idle, (len(streams), 1))
        self._sums = np.zeros_like(self._rows)  # of the rows so far: where a delta axis has gone

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        due = self._timer.tick()
        for column, control in enumerate(self._actions.controls):
            share = uniform(random_bits(self._streams[due], self._timer.rings[due], column))
            value = _random_value(control, share)
            if isinstance(control, Axis) and control.kind == "delta" and control.turns in ("up", "down"):
                farthest = NOD * control.high / (self._timer.left[due] + 1)
                value = np.where(self._sums[due, column] > 0, -1, 1) * np.minimum(np.abs(value), farthest)
            self._rows[due, column] = value
        self._sums += self._rows
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


def _random_value(control: Button | Choice | Axis, share: Float64[np.ndarray, "n"]) -> np.ndarray:
    match control:
        case Button():
            return share < 0.5
        case Choice():
            return np.floor(share * len(control.options))
        case Axis(kind="delta"):
            signed = 2 * share - 1
            farthest = np.where(signed < 0, control.low, control.high)
            return np.where(np.abs(signed) < STILL, 0, farthest * np.abs(signed) ** 5)
        case Axis():
            return control.low + share * (control.high - control.low)


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[ActionSpace, Streams], Bot]
    games: tuple[ActionSpace, ...] = ()  # the action spaces that it can play; () for any


def make_bot(name: str, actions: ActionSpace, n: int, seed: int) -> Bot:
    """Build a bot for n games side by side; the same seed plays the same.

    Args:
        name: "good", "weak" (both know Pong), "wander" (knows the maze), "random_hold", "idle" (both play anything), or
            "mixture": of those that can play, in the shares that a recording needs.
        actions: of the game that it plays.
        n: games, as many as the states it will see.
        seed: game i draws from (`seed`, i).

    Raises:
        ValueError: no such bot, or one that cannot play this action space.
    """
    if name not in _BOTS:
        raise ValueError(f"unknown bot {name!r}; known bots: {', '.join(known_bots())}")
    if not _plays(name, actions):
        difference = _BOTS[name].games[0].difference(actions)
        anything = ", ".join(n for n, recipe in _BOTS.items() if not recipe.games)
        raise ValueError(f"bot {name!r} does not know this game: {difference}; bots for any game: {anything}")
    return _BOTS[name].build(actions, random_bits(seed, np.arange(n)))


def known_bots(actions: ActionSpace | None = None) -> tuple[str, ...]:
    """Name every bot, or every bot that can play an action space."""
    return tuple(name for name in _BOTS if actions is None or _plays(name, actions))


def _plays(name: str, actions: ActionSpace) -> bool:
    games = _BOTS[name].games
    return not games or any(game.difference(actions) is None for game in games)


def _good(actions: ActionSpace, streams: Streams) -> Bot:
    return GoodPongBot(streams)


def _weak(actions: ActionSpace, streams: Streams) -> Bot:
    return WeakPongBot(streams)


def _wander(actions: ActionSpace, streams: Streams) -> Bot:
    return WanderBot(streams)


def _mixture(actions: ActionSpace, streams: Streams) -> Bot:
    weights = PONG_MIXTURE if PONG_ACTIONS.difference(actions) is None else MAZE_MIXTURE
    bots = [_BOTS[name].build(actions, random_bits(streams.astype(np.int64), i)) for i, name in enumerate(weights)]
    return MixedBot(bots, list(weights.values()), streams)


# Good play for long rallies, weak play for misses, random play for every paddle position and direction.
PONG_MIXTURE = {"good": 0.35, "weak": 0.3, "random_hold": 0.3, "idle": 0.05}
# Wandering to see the places, random play for every action and for what is seen with the nose to a wall.
MAZE_MIXTURE = {"wander": 0.8, "random_hold": 0.15, "idle": 0.05}

_BOTS = {
    "good": _Recipe(_good, (PONG_ACTIONS,)),
    "weak": _Recipe(_weak, (PONG_ACTIONS,)),
    "random_hold": _Recipe(RandomHoldBot),
    "idle": _Recipe(IdleBot),
    "mixture": _Recipe(_mixture, (PONG_ACTIONS, MAZE_ACTIONS)),
    "wander": _Recipe(_wander, (MAZE_ACTIONS,)),
}
