"""Matrix-Game and FastVideo samples of a walk through the maze: pairs, lists, validation JSON, Parquet, recordings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from samples.scene import Walk, walk

from hallucade.data.pictures import write_mp4

SIZE, FPS = (44, 80), 25.0
LENGTHS = (21, 17, 33)  # frames
DEGREES = 50.0  # a unit of mouse, so that the walker's turns are at most 0.1 units
WORDS = {(-1, -1): "down_left", (-1, 0): "left", (-1, 1): "up_left", (0, -1): "down", (0, 0): "", (0, 1): "up"}
WORDS |= {(1, -1): "down_right", (1, 0): "right", (1, 1): "up_right"}


def walks() -> list[Walk]:
    """Return the walks of every layout."""
    return [walk(seed, length, SIZE, FPS) for seed, length in enumerate(LENGTHS)]


def arrays_of(walked: Walk, keyboard: int = 4) -> dict[str, np.ndarray]:
    """Return keyboard and mouse, with one row more than leads anywhere, as in the real files."""
    rows = np.concatenate([walked.rows, np.zeros((1, 6), np.float32)])
    keys = np.zeros((len(rows), keyboard), np.float32)
    first = 11 if keyboard >= 23 else 0
    keys[:, first : first + min(keyboard, 4)] = rows[:, : min(keyboard, 4)]
    return {"keyboard": keys, "mouse": (rows[:, [5, 4]] / DEGREES).astype(np.float32)}


def write_pairs(root: Path, walked: Sequence[Walk], keyboard: int = 4) -> None:
    """Write ``000000.mp4`` and ``000000_action.npy``."""
    root.mkdir(parents=True, exist_ok=True)
    for i, one in enumerate(walked):
        write_mp4(root / f"{i:06d}.mp4", one.frames, FPS)
        np.save(root / f"{i:06d}_action.npy", arrays_of(one, keyboard))  # pyright: ignore[reportArgumentType]


def write_lists(root: Path, walked: Sequence[Walk], *, captions: bool = False) -> None:
    """Write pairs into ``videos/`` and list them in shards, as metadata or as captions."""
    write_pairs(root / "videos", walked)
    for shard, members in enumerate(((0, 1), (2,))):
        entries = [_entry(i, len(walked[i].frames), captions) for i in members]
        name = f"{'video2caption' if captions else 'metadata'}_{shard}.json"
        (root / name).write_text(json.dumps(entries, indent=4))


def write_validation(root: Path, walked: Sequence[Walk]) -> Path:
    """Write a validation JSON: an entry with a file of actions, one with the actions inside, one without a video."""
    write_pairs(root / "clips", walked[:2])
    inside = {name: np.round(rows, 4).tolist() for name, rows in arrays_of(walked[1]).items()}
    common = {"caption": "walk", "image_path": "first.jpg", "num_inference_steps": 40, "height": 352, "width": 640}
    entries: list[dict[str, Any]] = [
        {**common, "video_path": "clips/000000.mp4", "action_path": "clips/000000_action.npy", "num_frames": 21},
        {
            **common,
            "video_path": "clips/000001.mp4",
            "keyboard_cond": inside["keyboard"],
            "mouse_cond": inside["mouse"],
        },
        {**common, "video_path": None, "action_path": "clips/000001_action.npy", "num_frames": 9},
    ]
    path = root / "validation.json"
    path.write_text(json.dumps({"data": entries}))
    return path


def write_parquet(root: Path, walked: Sequence[Walk]) -> Path:
    """Write FastVideo's training rows, whose videos are in ``videos/``."""
    write_pairs(root / "videos", walked)
    rows = [_row(i, one) for i, one in enumerate(walked)]
    path = root / "combined_parquet_dataset/worker_0/data_chunk_0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


def write_recordings(root: Path, walked: Sequence[Walk], *, poses: bool = True) -> None:
    """Write FastvideoWorldModel-MC: angles of Minecraft (pitch + is down), words for turns one entry late."""
    for i, one in enumerate(walked):
        folder = root / f"walking/episode_{i:03d}"
        (folder / "mg").mkdir(parents=True)
        write_mp4(folder / "video.mp4", one.frames, FPS)
        manifest = {"fps": FPS, "image_size_hw": list(SIZE), "action_nvec": [3, 3, 4, 25, 25, 8, 244, 36]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        moves = np.concatenate([one.rows[:, :4], np.zeros((1, 4), np.float32)])
        actions = np.zeros((len(moves), 8), np.int64)
        actions[:, 0], actions[:, 1] = moves[:, 0] + 2 * moves[:, 1], moves[:, 2] + 2 * moves[:, 3]
        turns = np.concatenate([np.zeros((1, 2)), one.rows[:, 4:]])
        (folder / "mg/mg_actions.json").write_text(
            json.dumps({str(t): _words(actions[t], moves[t], turns[t]) for t in range(len(moves))}, indent=2)
        )
        if poses:
            x, y, yaw, pitch = one.poses.T
            places = np.stack([x, 0 * x + 64, y], 1)
            np.savez(folder / "data.npz", actions=actions, positions=places, yaws=yaw, pitches=-pitch)


def _words(action: np.ndarray, moves: Float32[np.ndarray, "4"], turn: np.ndarray) -> dict[str, Any]:
    yaw, pitch = np.sign(turn).astype(int).tolist()
    keys = "".join(key for key, held in zip("WSAD", moves, strict=True) if held)
    return {"action": action.tolist(), "move_action": keys, "view_action": WORDS[yaw, pitch]}


def _entry(i: int, frames: int, caption: bool) -> dict[str, Any]:
    if caption:
        files = {"path": f"{i:06d}.mp4", "cap": [""], "action_path": f"{i:06d}_action.npy"}
        facts = {"resolution": {"width": 640, "height": 352}, "fps": 25, "duration": round(frames / 25, 2)}
        return {**files, **facts, "num_frames": frames}
    files = {"video_path": f"videos/{i:06d}.mp4", "action_path": f"videos/{i:06d}_action.npy"}
    return {**files, "num_frames": frames, "width": 640, "height": 352, "episode_id": i}


def _row(i: int, walked: Walk) -> dict[str, Any]:
    arrays = arrays_of(walked)
    latents = np.zeros((4, (len(walked.frames) + 3) // 4, 3, 5), np.float32)
    tensors = {"vae_latent": latents, "keyboard_cond": arrays["keyboard"], "mouse_cond": arrays["mouse"]}
    row: dict[str, Any] = {"id": f"{i:06d}", "file_name": f"{i:06d}", "caption": "", "media_type": "video"}
    for name, tensor in tensors.items():
        row |= {
            f"{name}_bytes": tensor.tobytes(),
            f"{name}_shape": list(tensor.shape),
            f"{name}_dtype": str(tensor.dtype),
        }
    return {**row, "width": 640, "height": 352, "num_frames": latents.shape[1], "duration_sec": 0.5, "fps": FPS}
