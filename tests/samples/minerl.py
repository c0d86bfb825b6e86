"""MineRL trajectories as the publisher writes them; their videos begin before the trajectory does."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from samples.h264 import write_h264
from samples.scene import walk

SIZE, FPS, STEPS = (64, 64), 20.0, 55
LEADS = {  # frames of the video before the trajectory, by folder
    "v3_absolute_grape_changeling-16_2277-4441": 0,
    "v3_subtle_iceberg_lettuce_nymph-6_203-2056": 7,
}
ATTACKS = range(20, 27)


class Trajectory(NamedTuple):
    """n + 1 frames joined by n actions."""

    frames: UInt8[np.ndarray, "t h w 3"]
    rows: Float32[np.ndarray, "t-1 10"]  # forward, back, left, right, jump, sneak, sprint, attack, yaw, pitch (up)
    rewards: Float32[np.ndarray, "t-1"]


def arrays_of(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """Write down one trajectory as the publisher does, array by array."""
    rows, n = trajectory.rows, len(trajectory.rows)
    names = ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack")
    return {
        "reward": trajectory.rewards,
        **{f"action${name}": rows[:, i].astype(np.int64) for i, name in enumerate(names)},
        "action$camera": np.stack([-rows[:, 9], rows[:, 8]], 1),
        "action$place": np.array(["none", "dirt"])[(np.arange(n) % 9 == 0).astype(int)],
        "observation$compass$angle": np.linspace(-90, 90, n + 1, dtype=np.float32),
        "observation$inventory$dirt": np.zeros(n + 1, np.int64),
    }


def write_minerl(folder: Path, seed: int = 0, steps: int = STEPS) -> dict[str, Trajectory]:
    """Write two trajectories of one task and return what was played; the names are those of the episodes."""
    trajectories: dict[str, Trajectory] = {}
    for number, (name, lead) in enumerate(LEADS.items()):
        played = walk(seed + number, steps + 1, SIZE, FPS)
        rows = np.zeros((steps, 10), np.float32)
        rows[:, :4], rows[:, 8:] = played.rows[:, :4], played.rows[:, 4:]
        rows[:, 7] = np.isin(np.arange(steps), ATTACKS)
        rewards = np.zeros(steps, np.float32)
        rewards[30] = 1.0
        trajectory = trajectories[f"MineRLNavigate-v0/{name}"] = Trajectory(played.frames, rows, rewards)
        path = folder / "MineRLNavigate-v0" / name
        path.mkdir(parents=True)
        loading = walk(seed + 100, lead, SIZE, FPS).frames if lead else played.frames[:0]
        write_h264(path / "recording.mp4", np.concatenate([loading, played.frames]), FPS)
        np.savez_compressed(path / "rendered.npz", **arrays_of(trajectory))
        metadata = {
            "success": True,
            "duration_ms": 50 * steps,
            "duration_steps": steps,
            "total_reward": 1.0,
            "stream_name": name,
            "true_video_frame_count": lead + steps + 1,
        }
        (path / "metadata.json").write_text(json.dumps(metadata))
    return trajectories
