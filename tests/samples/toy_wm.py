"""toy-wm's Pong: three plain arrays without episodes, drawn in other colours than the built-in game."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from hallucade.games.pong import VectorPong

BACKGROUND = (6, 24, 24)
FRAMES = 157


class Played(NamedTuple):
    """n frames; action i is held while frame i is on screen; the last one leads nowhere."""

    frames: UInt8[np.ndarray, "n 24 24 3"]
    actions: Int64[np.ndarray, "n"]
    rewards: Float32[np.ndarray, "n"]
    paddle: np.ndarray  # n: the player's centre, in pixels from the top


def play_pong(seed: int = 0, frames: int = FRAMES) -> Played:
    """Play Pong with actions that are held for some frames."""
    rng = np.random.default_rng(seed)
    game = VectorPong()
    game.reset(np.array([seed]))
    shown, paddle, rewards = [], [], []
    actions = np.repeat(rng.integers(0, 3, frames), rng.integers(2, 9, frames))[:frames].astype(np.int64)
    for action in actions:
        shown.append(game.frames()[0])
        paddle.append(game.get_state()[0, 1])
        rewards.append(game.act(np.array([[action]], np.float32))[0])
    pictures = np.stack(shown)
    pictures[(pictures == pictures[0, 0, 0]).all(-1)] = BACKGROUND
    return Played(pictures, actions, np.array(rewards, np.float32), np.array(paddle))


def write_toy_wm(folder: Path, seed: int = 0, frames: int = FRAMES) -> Played:
    """Write one recording and return it."""
    played = play_pong(seed, frames)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "frames.npy", played.frames)
    np.save(folder / "actions.npy", played.actions)
    np.save(folder / "rewards.npy", played.rewards)
    return played
