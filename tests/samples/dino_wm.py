"""The five data sets of DINO-WM in small: a disc in a court, which moves as its actions say."""

import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from samples.h264 import write_h264

SIZE = 32  # pixels, both sides
LENGTHS = (23, 17, 20)  # of the episodes of each part
LONGEST = 26  # steps for which the arrays have room
PARTICLES = 5
GARBAGE = 1e9  # where the arrays are not filled


class Rollout(NamedTuple):
    """t pictures of a disc and t actions, each taken on seeing its picture; the last one leads nowhere."""

    frames: UInt8[np.ndarray, "t h w 3"]
    actions: Float32[np.ndarray, "t a"]
    states: Float32[np.ndarray, "t s"]


def roll(seed: int, length: int, world: str) -> Rollout:
    """Move a disc: by forces in the maze, by steps at the wall, by targets in PushT, by pushes on the table."""
    rng = np.random.default_rng(seed)
    held = np.repeat(rng.uniform(-1, 1, (length, 2)), 4, axis=0)[:length]
    place, speed = np.array([16.0, 16.0]), np.zeros(2)
    places, speeds, actions = [], [], []
    for wish in held:
        places.append(place)
        speeds.append(speed)
        if world == "point_maze":
            actions.append(wish)
            speed = 0.8 * speed + wish
            place = np.clip(place + speed, 3, SIZE - 4)
        elif world == "wall_single":
            actions.append(wish)
            place = np.clip(place + 2 * wish, 3, SIZE - 4)
        elif world == "pusht":
            target = np.clip(16 * place + 60 * wish, 40, 470)
            actions.append(target - 16 * place)
            place = place + (target / 16 - place) / 2
        else:
            goal = np.clip(16 + 10 * wish, 3, SIZE - 4)
            actions.append(np.concatenate([place, goal]) / 8 - 2)
            place = goal
    states = np.concatenate([places, speeds], 1) if world == "point_maze" else np.array(places)
    if world == "pusht":
        block = np.tile([256.0, 300.0, 0.7], (length, 1))
        states = np.concatenate([16 * np.array(places), block], 1)
    frames = np.stack([draw(x, y) for x, y in places])
    return Rollout(frames, np.array(actions, np.float32), states.astype(np.float32))


def draw(x: float, y: float) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a soft red disc on grey."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    near = np.clip(4 - np.hypot(columns - x, rows - y), 0, 1)[..., None]
    return np.rint(near * (220, 40, 30) + (1 - near) * (200, 205, 210)).astype(np.uint8)


def write_point_maze(folder: Path, seed: int = 0) -> list[Rollout]:
    """Write the point maze: tensors `t h w 3`, lengths as a tensor."""
    rollouts = [roll(seed + i, length, "point_maze") for i, length in enumerate(LENGTHS)]
    _write_columns(folder, rollouts, "actions.pth")
    torch.save(torch.tensor(LENGTHS), folder / "seq_lengths.pth")
    _write_tensors(folder, rollouts, (0, 1, 2, 3))
    return rollouts


def write_wall(folder: Path, seed: int = 0) -> list[Rollout]:
    """Write the wall: all episodes of one length, tensors `t 3 h w`, places of wall and door a step."""
    rollouts = [roll(seed + i, LENGTHS[0], "wall_single") for i in range(len(LENGTHS))]
    _write_columns(folder, rollouts, "actions.pth", LENGTHS[0])
    for name, place in {"door": 10.0, "wall": 32.0}.items():
        places = torch.full((len(LENGTHS), LENGTHS[0]), place) + torch.arange(len(LENGTHS))[:, None]
        torch.save(places, folder / f"{name}_locations.pth")
    _write_tensors(folder, rollouts, (0, 3, 1, 2))
    return rollouts


def write_pusht(folder: Path, seed: int = 0) -> dict[str, list[Rollout]]:
    """Write PushT: two parts, videos, relative and absolute targets in pixels, lengths as a pickle."""
    parts: dict[str, list[Rollout]] = {}
    for number, part in enumerate(("train", "val")):
        rollouts = [roll(seed + 10 * number + i, length, "pusht") for i, length in enumerate(LENGTHS[number:])]
        parts[part], place = rollouts, folder / part
        _write_columns(place, rollouts, "rel_actions.pth")
        absolute = [r._replace(actions=r.actions + r.states[:, :2]) for r in rollouts]
        torch.save(_stacked([r.actions for r in absolute]), place / "abs_actions.pth")
        torch.save(
            _stacked([np.full((len(r.frames), 2), i + 1) for i, r in enumerate(rollouts)]), place / "velocities.pth"
        )
        (place / "seq_lengths.pkl").write_bytes(pickle.dumps([len(r.frames) for r in rollouts]))
        (place / "shapes.pkl").write_bytes(pickle.dumps(["T"] * len(rollouts)))
        (place / "obses").mkdir()
        for i, rollout in enumerate(rollouts):
            write_h264(place / "obses" / f"episode_{i:03d}.mp4", rollout.frames, 10.0)
    return parts


def write_deformable(folder: Path, seed: int = 0) -> list[Rollout]:
    """Write rope or grain: pushes, particles of four numbers, pictures as numpy arrays in folders of their own."""
    rollouts = [roll(seed + i, LENGTHS[1], "deformable") for i in range(len(LENGTHS))]
    folder.mkdir(parents=True)
    torch.save(_stacked([r.actions for r in rollouts], LENGTHS[1]), folder / "actions.pth")
    torch.save(torch.from_numpy(particles(len(rollouts))), folder / "states.pth")
    for i, rollout in enumerate(rollouts):
        (folder / f"{i:06d}").mkdir()
        torch.save(rollout.frames, folder / f"{i:06d}" / "obses.pth")
    return rollouts


def particles(episodes: int) -> Float32[np.ndarray, "n t p 4"]:
    """Return where each particle is, a number of its own for each."""
    shape = (episodes, LENGTHS[1], PARTICLES, 4)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _write_columns(folder: Path, rollouts: list[Rollout], actions: str, room: int = LONGEST) -> None:
    folder.mkdir(parents=True)
    torch.save(_stacked([r.actions for r in rollouts], room), folder / actions)
    torch.save(_stacked([r.states for r in rollouts], room), folder / "states.pth")


def _stacked(columns: list[np.ndarray], room: int = LONGEST) -> torch.Tensor:
    stacked = np.full((len(columns), room, columns[0].shape[1]), GARBAGE, np.float32)
    for i, column in enumerate(columns):
        stacked[i, : len(column)] = column
    return torch.from_numpy(stacked)


def _write_tensors(folder: Path, rollouts: list[Rollout], order: tuple[int, int, int, int]) -> None:
    (folder / "obses").mkdir()
    for i, rollout in enumerate(rollouts):
        pictures = torch.from_numpy(rollout.frames).permute(order).contiguous()
        torch.save(pictures, folder / "obses" / f"episode_{i:03d}.pth")
