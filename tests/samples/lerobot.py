"""LeRobot data sets of a small arm that pushes a block, in the layouts of v2.0, v2.1 and v3.0, with all their keys."""

import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8
from PIL import Image

Version = Literal["v2.0", "v2.1", "v3.0"]
CAMERA, WRIST = "observation.images.image", "observation.images.wrist"
SIZE, FPS = (36, 44), 5
LENGTHS = (9, 6, 13)
MOTORS = ("x", "y", "gripper")
TASKS = ("push the block left", "push the block right")
V2_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V2_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
V3_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V3_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CHUNK = 2  # episodes a folder of v2.x


class Push(NamedTuple):
    """t observations, and the action that is taken at each."""

    frames: UInt8[np.ndarray, "t h w 3"]
    actions: Float32[np.ndarray, "t 3"]  # pixels right, pixels down, gripper
    state: Float32[np.ndarray, "t 2"]  # the gripper's place after the actions before
    rewards: Float32[np.ndarray, "t"]


def push(seed: int, frames: int) -> Push:
    """Move a gripper over a table; the corner of every frame shows the frame's number in bits."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(-3, 4, (frames, 2)).astype(np.float32)
    place, shown, places = np.array([20.0, 16.0], np.float32), [], []
    for i in range(frames):
        picture = np.full((*SIZE, 3), 96, np.uint8)
        x, y = place.astype(int)
        picture[y - 3 : y + 3, x - 3 : x + 3] = 230, 40, 40
        _number(picture, i + 100 * seed)
        shown.append(picture)
        places.append(place)
        moves[i] = np.clip(place + moves[i], (6, 10), (SIZE[1] - 6, SIZE[0] - 6)) - place
        place = place + moves[i]
    grip = (np.arange(frames) % 4 == 3).astype(np.float32)
    return Push(
        np.stack(shown), np.column_stack([moves, grip]), np.stack(places), np.arange(frames, dtype=np.float32) / 8
    )


def number_of(frame: UInt8[np.ndarray, "h w 3"]) -> int:
    """Return the number that a frame shows, after whatever compression."""
    return sum(int(frame[1:3, 4 * bit + 1 : 4 * bit + 3].mean() > 128) << bit for bit in range(10))


def _number(picture: UInt8[np.ndarray, "h w 3"], number: int) -> None:
    for bit in range(10):
        picture[:4, 4 * bit : 4 * bit + 4] = 255 * (number >> bit & 1)


def write_lerobot(
    root: Path,
    version: Version,
    *,
    images: bool = False,
    wrist: bool = False,
    splits: dict[str, str] | None = None,
    start: float = 0.0,
    options: dict[str, str] | None = None,
) -> list[Push]:
    """Write a data set of three episodes and return what is in it.

    Args:
        root: the folder.
        version: of the layout.
        images: as PNG in the Parquet files, and not as video.
        wrist: a second camera.
        splits: of ``info.json``.
        start: second at which a video's first frame is shown (v3.0).
        options: of the encoder.
    """
    episodes = [push(seed, length) for seed, length in enumerate(LENGTHS)]
    cameras = [CAMERA, WRIST] if wrist else [CAMERA]
    tables = [_table(episodes, i, cameras if images else []) for i in range(len(episodes))]
    total = sum(LENGTHS)
    info: dict[str, Any] = {
        "codebase_version": version,
        "robot_type": "google_robot",
        "total_episodes": len(episodes),
        "total_frames": total,
        "total_tasks": len(TASKS),
        "chunks_size": 1000 if version == "v3.0" else CHUNK,
        "fps": FPS,
        "splits": splits or {"train": f"0:{len(episodes)}"},
        "data_path": V3_DATA if version == "v3.0" else V2_DATA,
        "video_path": None if images else V3_VIDEO if version == "v3.0" else V2_VIDEO,
        "features": _features(cameras, images),
    }
    meta = root / "meta"
    meta.mkdir(parents=True)
    (root / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- LeRobot\n---\n# a data set\n")
    if version == "v3.0":
        info |= {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
        _write_packed(root, episodes, tables, [] if images else cameras, start, options)
    else:
        info |= {"total_videos": 0 if images else len(episodes) * len(cameras), "total_chunks": 2}
        _write_separate(root, version, episodes, tables, [] if images else cameras, options)
    (meta / "info.json").write_text(json.dumps(info, indent=4))
    return episodes


def write_video(
    path: Path,
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    start: float = 0.0,
    options: dict[str, str] | None = None,
    fps: int = FPS,
) -> None:
    """Write H.264 whose first frame is shown at `start`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"crf": "16", "g": "2", **(options or {})}
        stream.codec_context.time_base = Fraction(1, fps)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = i + round(start * fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _write_separate(
    root: Path,
    version: Version,
    episodes: Sequence[Push],
    tables: Sequence[pa.Table],
    cameras: Sequence[str],
    options: dict[str, str] | None,
) -> None:
    for i, (episode, table) in enumerate(zip(episodes, tables, strict=True)):
        place = {"episode_chunk": i // CHUNK, "episode_index": i}
        data = root / V2_DATA.format(**place)
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, data)
        for camera in cameras:
            write_video(root / V2_VIDEO.format(video_key=camera, **place), _seen(episode, camera), options=options)
    _write_lines(root / "meta/episodes.jsonl", [_line(episodes, i) for i in range(len(episodes))])
    _write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(TASKS)])
    if version == "v2.0":
        (root / "meta/stats.json").write_text(json.dumps(_stats(np.concatenate([e.actions for e in episodes]))))
        return
    stats = [{"episode_index": i, "stats": _stats(episode.actions)} for i, episode in enumerate(episodes)]
    _write_lines(root / "meta/episodes_stats.jsonl", stats)


def _write_packed(
    root: Path,
    episodes: Sequence[Push],
    tables: Sequence[pa.Table],
    cameras: Sequence[str],
    start: float,
    options: dict[str, str] | None,
) -> None:
    """Write two episodes into the first file and one into the second, of data and of video."""
    lines: list[dict[str, Any]] = []
    row = 0
    for file, members in enumerate(((0, 1), (2,))):
        data = root / V3_DATA.format(chunk_index=0, file_index=file)
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables([tables[i] for i in members]), data)  # one row group, as pandas writes it
        for camera in cameras:
            film = [frame for i in members for frame in _seen(episodes[i], camera)]
            write_video(root / V3_VIDEO.format(video_key=camera, chunk_index=0, file_index=file), film, start, options)
        second = start
        for i in members:
            length = len(episodes[i].frames)
            lines.append(
                {
                    **_line(episodes, i),
                    "data/chunk_index": 0,
                    "data/file_index": file,
                    "dataset_from_index": row,
                    "dataset_to_index": row + length,
                    "meta/episodes/chunk_index": 0,
                    "meta/episodes/file_index": 0,
                    **{f"stats/action/{name}": value for name, value in _stats(episodes[i].actions)["action"].items()},
                }
            )
            for camera in cameras:
                lines[-1] |= {
                    f"videos/{camera}/chunk_index": 0,
                    f"videos/{camera}/file_index": file,
                    f"videos/{camera}/from_timestamp": second,
                    f"videos/{camera}/to_timestamp": second + length / FPS,
                }
            row, second = row + length, second + length / FPS
    listed = root / "meta/episodes/chunk-000/file-000.parquet"
    listed.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(lines), listed)
    tasks = pa.table({"task_index": pa.array([0, 1], pa.int64()), "__index_level_0__": list(TASKS)})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    (root / "meta/stats.json").write_text(json.dumps(_stats(np.concatenate([e.actions for e in episodes]))))


def _seen(episode: Push, camera: str) -> list[UInt8[np.ndarray, "h w 3"]]:
    return list(episode.frames if camera == CAMERA else episode.frames[:, ::-1, ::-1])


def _line(episodes: Sequence[Push], i: int) -> dict[str, Any]:
    return {"episode_index": i, "tasks": [TASKS[i % 2]], "length": len(episodes[i].frames)}


def _table(episodes: Sequence[Push], index: int, pictured: Sequence[str]) -> pa.Table:
    episode, n = episodes[index], len(episodes[index].frames)
    first = sum(len(before.frames) for before in episodes[:index])
    columns: dict[str, Any] = {
        camera: [{"bytes": _png(frame), "path": f"frame-{i:06d}.png"} for i, frame in enumerate(_seen(episode, camera))]
        for camera in pictured
    }
    columns |= {
        "action": pa.array(episode.actions.tolist(), pa.list_(pa.float32(), len(MOTORS))),
        "observation.state": pa.array(episode.state.tolist(), pa.list_(pa.float32())),
        "timestamp": pa.array(np.arange(n) / FPS, pa.float32()),
        "frame_index": pa.array(np.arange(n), pa.int64()),
        "episode_index": pa.array(np.full(n, index), pa.int64()),
        "index": pa.array(np.arange(first, first + n), pa.int64()),
        "task_index": pa.array(np.full(n, index % 2), pa.int64()),
        "next.reward": pa.array(episode.rewards, pa.float32()),
    }
    return pa.table(columns)


def _features(cameras: Sequence[str], images: bool) -> dict[str, Any]:
    video = {"video.fps": float(FPS), "video.codec": "h264", "video.pix_fmt": "yuv420p", "video.is_depth_map": False}
    shown = {"dtype": "image"} if images else {"dtype": "video", "info": {**video, "has_audio": False}}
    one: dict[str, Any] = {"shape": [1], "names": None}
    return {
        **{camera: {**shown, "shape": [*SIZE, 3], "names": ["height", "width", "rgb"]} for camera in cameras},
        "action": {"dtype": "float32", "shape": [len(MOTORS)], "names": {"motors": list(MOTORS)}},
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["motors"]},  # one name for two numbers
        "next.reward": {"dtype": "float32", **one},
        "timestamp": {"dtype": "float32", **one},
        **{name: {"dtype": "int64", **one} for name in ("frame_index", "episode_index", "index", "task_index")},
    }


def _stats(actions: Float32[np.ndarray, "t 3"]) -> dict[str, Any]:
    numbers = {"min": actions.min(0), "max": actions.max(0), "mean": actions.mean(0), "std": actions.std(0)}
    return {"action": {**{name: value.tolist() for name, value in numbers.items()}, "count": [len(actions)]}}


def _png(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def _write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
