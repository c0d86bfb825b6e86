"""Counter-Strike recordings as their maker writes them, of walks whose turns are whole bins of the mouse."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from samples.scene import walk

from hallucade.games.maze import MazeConfig, VectorMaze

SIZE, FPS, FRAMES = (54, 98), 16.0, 40
DEGREES = 0.055
_X, _Y = (2, 4, 10, 20, 30, 60, 100, 200, 300, 500, 1000), (2, 4, 10, 20, 50, 100, 200)
BINS_X = np.array([*(-count for count in _X[::-1]), 0, *_X])
BINS_Y = np.array([*(-count for count in _Y[::-1]), 0, *_Y])
KEYS = ("w", "a", "s", "d", "space", "ctrl", "shift", "1", "2", "3", "r")
NAMES = ("1-200/hdf5_dm_july2021_2", "1-200/hdf5_dm_july2021_10", "201-400/hdf5_dm_july2021_201")
JUMPS, SHOTS, AIMS, RELOADS = range(3, 5), (7, 8, 21), range(12, 16), (23,)  # frames on which they are held
KILL_AT, DEATH_AT = 8, 30  # frames of which the action ends so


class Match(NamedTuple):
    """t frames; row i is held while frame i is on screen: forward, back, left, right, yaw, pitch as in `scene`."""

    frames: UInt8[np.ndarray, "t h w 3"]
    rows: Float32[np.ndarray, "t 6"]  # the last one leads nowhere
    health: Float32[np.ndarray, "t"]
    ammo: Float32[np.ndarray, "t"]


def play(seed: int, frames: int = FRAMES) -> Match:
    """Play a walk with the nearest turns that the mouse's bins have."""
    rows = walk(seed, frames + 1, (16, 16), FPS).rows.astype(np.float64)
    for column, bins in ((4, BINS_X), (5, BINS_Y)):
        degrees = bins * DEGREES
        rows[:, column] = degrees[np.abs(rows[:, column, None] - degrees).argmin(1)]
    game = VectorMaze(MazeConfig(frame_size=SIZE, speed=0.1))
    game.reset(np.array([seed]))
    shown = [game.frames()[0]]
    for row in rows[:-1].astype(np.float32):
        game.act(row[None])
        shown.append(game.frames()[0])
    rng = np.random.default_rng(seed)
    health = np.minimum.accumulate(rng.integers(1, 101, frames)).astype(np.float32)
    return Match(np.stack(shown), rows.astype(np.float32), health, rng.integers(0, 31, frames).astype(np.float32))


def vectors_of(match: Match) -> np.ndarray:
    """Return the 51 numbers a frame: keys, clicks, and one bin an axis."""
    forward, back, left, right, yaw, pitch = match.rows.T
    t = np.arange(len(match.rows))
    held = {"w": forward, "a": left, "s": back, "d": right, "space": np.isin(t, JUMPS), "r": np.isin(t, RELOADS)}
    keys = np.stack([np.asarray(held.get(key, np.zeros(len(t)))) for key in KEYS], 1)
    clicks = np.stack([np.isin(t, SHOTS), np.isin(t, AIMS)], 1)
    mouse_x = np.round(yaw / DEGREES)[:, None] == BINS_X
    mouse_y = np.round(-pitch / DEGREES)[:, None] == BINS_Y  # down is positive
    return np.concatenate([keys, clicks, mouse_x, mouse_y], 1).astype(np.float64)


def aux_of(match: Match, vectors: np.ndarray) -> np.ndarray:
    """Return the 54 numbers a frame: three past actions, latest first, each with the state before it was seen."""
    aux = np.zeros((len(vectors), 3, 18))
    for i in range(len(vectors)):
        for j in range(min(3, i)):
            past = i - j - 1
            mouse = BINS_X[vectors[past, 13:36].argmax()] / 1000, BINS_Y[vectors[past, 36:].argmax()] / 200
            # What was read just before picture i is what the player sees on it.
            state = match.health[i - j] / 100, match.ammo[i - j] / 30, 1
            aux[i, j] = [*vectors[past, :13], *mouse, *state]
    return aux.reshape(len(vectors), 54)


def write_csgo(folder: Path, seed: int = 0, frames: int = FRAMES, names: tuple[str, ...] = NAMES) -> dict[str, Match]:
    """Write recordings, by default three in two folders, and return what was played."""
    matches = {name: play(seed + i, frames) for i, name in enumerate(names)}
    for name, match in matches.items():
        vectors = vectors_of(match)
        aux, events = aux_of(match, vectors), np.zeros((frames, 2))
        events[KILL_AT, 0] = events[DEATH_AT, 1] = 1
        path = folder / f"{name}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for i in range(frames):
                file.create_dataset(f"frame_{i}_x", data=match.frames[i, :, :, ::-1])
                file.create_dataset(f"frame_{i}_xaux", data=aux[i])
                file.create_dataset(f"frame_{i}_y", data=vectors[i])
                file.create_dataset(f"frame_{i}_helperarr", data=events[i])
    return matches


def write_diamond(folder: Path, seed: int = 0, frames: int = FRAMES) -> dict[str, Match]:
    """Write two episodes for training and one for testing as DIAMOND does, and return what was played."""
    places = ("train/000/00/0/0", "train/000/00/1/1", "test/000/00/0/0")
    matches = {place: play(seed + i, frames) for i, place in enumerate(places)}
    for number, (place, match) in enumerate(matches.items()):
        episode = {
            "obs": torch.from_numpy(match.frames).permute(0, 3, 1, 2).contiguous(),
            "act": torch.from_numpy(vectors_of(match)),
            "rew": torch.zeros(frames),
            "end": torch.zeros(frames, dtype=torch.uint8),
            "trunc": torch.zeros(frames, dtype=torch.uint8),
            "info": {"original_file_id": f"{NAMES[number]}.hdf5"},
        }
        path = folder / f"{place}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(episode, path)
    for split in ("train", "test"):
        torch.save({"is_static": False, "num_episodes": 2}, folder / split / "info.pt")
    return matches
