"""Atari games of ale-py, with the names of their buttons and of what is known of their memory.

The state is the console's whole memory, 128 bytes; bytes whose meaning is known carry a name.
Source of the addresses: Anand et al. 2019, "Unsupervised state representation learning in Atari", arXiv:1906.08226.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Choice
from hallucade.games.environment import Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls
from hallucade.games.players import RandomHold, Switching

MEMORY = 128  # bytes
PONG_MEMORY = {49: "ball_x", 50: "opponent_y", 51: "player_y", 54: "ball_y"}
BREAKOUT_MEMORY = {57: "lives", 72: "player_x", 77: "score", 99: "ball_x", 101: "ball_y"}
KEYS = {"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight", "fire": "Space"}
WORDS = ("up", "down", "left", "right", "fire")


def atari_controls(env: Env, spoken: Mapping[str, str] | None = None) -> Controls:
    """Name the actions of an Atari game as its manual does: "fire", "up_right", and idle first.

    Args:
        env: the game.
        spoken: what a direction does in this game, where the manual's word does not say it: {"right": "up"}.
    """
    meanings: list[str] = getattr(env.unwrapped, "get_action_meanings")()  # noqa: B009 - not of gymnasium.Env
    held = [[(spoken or {}).get(word, word) for word in WORDS if word.upper() in meaning] for meaning in meanings]
    options = tuple("_".join(words) or "stay" for words in held)
    keys = tuple(("+".join(KEYS[word] for word in words),) if words else () for words in held)
    actions = ActionSpace(choices=(Choice(name="action", options=options, keys=keys),))
    return Controls(actions, lambda row: int(row[0]))


def memory_readout(env: Env, known: Mapping[int, str]) -> Readout:
    """Read the console's memory, with names for the `known` addresses."""
    simulator: Any = env.unwrapped
    names = tuple(known.get(address, f"ram_{address}") for address in range(MEMORY))
    return Readout(names, lambda observation: simulator.ale.getRAM())


class PongPlayer:
    """Follows the ball with the paddle, off its centre by a new amount for every flight of the ball."""

    def __init__(self, actions: ActionSpace) -> None:
        options = actions.choices[0].options
        self._up, self._down = options.index("up"), options.index("down")
        self._aim, self._ball_x = 0.0, 0.0

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        ball_x, ball_y, player_y = state[49], state[54], state[51]
        if ball_x < self._ball_x:  # it flies away: time to choose where to hit it next
            self._aim = rng.uniform(-12, 12)
        self._ball_x = ball_x
        distance = ball_y + self._aim - player_y
        choice = 0 if abs(distance) < 4 or ball_y == 0 else (self._up if distance < 0 else self._down)
        return np.array([choice], np.float32)


class BreakoutPlayer:
    """Keeps the paddle under the ball, off its centre by an amount that drifts, and serves."""

    def __init__(self, actions: ActionSpace) -> None:
        options = actions.choices[0].options
        self._left, self._right, self._fire = (options.index(word) for word in ("left", "right", "fire"))
        self._aim = 0.0

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        assert state is not None
        ball_x, ball_y, player_x = state[99], state[101], state[72]
        if rng.random() < 0.05:
            self._aim = rng.uniform(-9, 9)
        distance = ball_x + self._aim - player_x
        steer = 0 if abs(distance) < 3 else (self._left if distance < 0 else self._right)
        return np.array([self._fire if ball_y == 0 else steer], np.float32)


def _atari(title: str, known: Mapping[int, str], player: type[Any], spoken: Mapping[str, str] | None) -> Environment:
    def mixed(actions: ActionSpace) -> Switching:
        return Switching([player(actions), RandomHold(actions)], [0.75, 0.25])

    return Environment(
        id=f"ALE/{title}-v5",
        requires="ale_py",
        about=f"Atari {title}, seen from the side or above",
        install="pip install ale-py",
        options={"repeat_action_probability": 0.0, "max_num_frames_per_episode": 10**7},
        fps=60,
        frame_skip=4,
        settling=4,
        skip_option="frameskip",
        controls=partial(atari_controls, spoken=spoken),
        readout=partial(memory_readout, known=known),
        reusable=True,
        players={"mixed": mixed, "scripted": player},
        licence="played by a program in Atari's game through ale-py (GPL-2.0); the pictures are of Atari's game",
    )


ATARI_PONG = _atari("Pong", PONG_MEMORY, PongPlayer, {"right": "up", "left": "down"})
ATARI_BREAKOUT = _atari("Breakout", BREAKOUT_MEMORY, BreakoutPlayer, None)
