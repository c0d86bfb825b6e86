"""GF-Minecraft clips: entry k belongs to frame k, and entry 0 says nothing true."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from samples.h264 import write_h264
from samples.scene import Walk, walk

SIZE, FPS, FRAMES = (90, 160), 16.0, 50
CLIPS: dict[str, dict[str, Any]] = {
    "seed_1_part_1": {"biome": "forest", "initial_weather": "clear", "start_time": 0},
    "seed_2_part_2": {"biome": "plains", "initial_weather": "rain", "start_time": 6000},
    "seed_10_part_10": {"biome": "desert", "initial_weather": "clear", "start_time": 6000},
}
JUMPS, SNEAKS, SPRINTS = range(5, 9), range(12, 15), range(20, 30)  # of frames: held on the way to them
GARBAGE = {"ws": 1, "ad": 2, "scs": 3, "pitch_delta": 0.4, "yaw_delta": -0.5}  # of entry 0


def entries_of(played: Walk, detection: bool = False) -> dict[str, dict[str, Any]]:
    """Write down one walk as the data set does, entry by entry."""
    entries: dict[str, dict[str, Any]] = {}
    for k, (x, z, yaw, pitch) in enumerate(played.poses.tolist()):
        forward, back, left, right, turn, lift = played.rows[max(k - 1, 0)].tolist()
        entries[str(k)] = {
            "ws": 1 if forward else 2 if back else 0,
            "ad": 1 if left else 2 if right else 0,
            "scs": next((code for code, span in enumerate((JUMPS, SNEAKS, SPRINTS), 1) if k in span), 0),
            "pitch": -pitch,
            "yaw": (yaw + 90) % 360 - 180,
            "pitch_delta": -lift / 15,
            "yaw_delta": turn / 15,
            "pos": [x, 4.0, z],
            **(GARBAGE if k == 0 else {}),
        }
        if detection:
            found = {"delta_pos": [0.0, 0.0, 0.0], "collision": int(k % 7 == 3), "jump_invalid": k == JUMPS.start}
            entries[str(k)] |= found
    return entries


def write_game_factory(folder: Path, seed: int = 0, frames: int = FRAMES) -> dict[str, Walk]:
    """Write three clips, one more without its video, and return what was played."""
    for name in ("video", "metadata", "metadata-detection"):
        (folder / name).mkdir(parents=True)
    walks = {name: walk(seed + i, frames, SIZE, FPS) for i, name in enumerate(CLIPS)}
    for name, played in walks.items():
        write_h264(folder / "video" / f"{name}.mp4", played.frames, FPS)
        for detection, where in enumerate(("metadata", "metadata-detection")):
            clip = {**CLIPS[name], "actions": entries_of(played, bool(detection))}
            (folder / where / f"{name}.json").write_text(json.dumps(clip))
    for where in ("metadata", "metadata-detection"):
        (folder / where / "seed_3_part_3.json").write_text(json.dumps(clip))
    with (folder / "annotation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Original video name", "Start frame index", "End frame index", "Prompt"])
        writer.writerows([f"{name}.mp4", 0, np.int64(frames - 1), "A walk past brick walls."] for name in walks)
    return walks
