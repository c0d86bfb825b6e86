"""A plain folder of videos with tables of actions, as a user would make it."""

import csv
import json
from pathlib import Path

from samples.scene import Walk, walk

from hallucade.data.pictures import write_mp4

SIZE, FPS, FRAMES = (64, 96), 20.0, 61
LAYOUT = """
licence: mine
buttons:
  forward: {keys: [KeyW]}
  back: {column: keys, value: s, keys: [KeyS]}
choices:
  strafe: {options: [none, left, right], keys: {left: [KeyA], right: [KeyD]}}
axes:
  yaw: {column: mouse.dx, scale: 0.25, low: -6, high: 6, kind: delta, turns: right}
  pitch: {column: mouse.dy, scale: -0.25, low: -6, high: 6, kind: delta, turns: up}
state: [x, y]
reward: score
menu: paused
"""


def rows_of(played: Walk) -> list[dict[str, object]]:
    """One row a frame; mouse counts are quarter degrees, down is positive; the last row's action leads nowhere."""
    rows: list[dict[str, object]] = []
    for i, pose in enumerate(played.poses):
        forward, back, left, right, yaw, pitch = played.rows[min(i, len(played.rows) - 1)].tolist()
        rows.append(
            {
                "forward": int(forward),
                "keys": ["s", "shift"] if back else [],
                "strafe": "left" if left else "right" if right else "none",
                "mouse": {"dx": 4 * yaw, "dy": -4 * pitch},
                "x": float(pose[0]),
                "y": float(pose[1]),
                "score": i % 3,
                "paused": 40 <= i < 44,
            }
        )
    return rows


def write_folder(folder: Path, seed: int = 0) -> list[Walk]:
    """Write three episodes, one in each notation, and return what was played."""
    names = ["a_walk.csv", "b_walk.jsonl", "validation/c_walk.json"]
    walks = [walk(seed + i, FRAMES, SIZE, FPS) for i in range(len(names))]
    (folder / "validation").mkdir(parents=True)
    (folder / "play.yaml").write_text(LAYOUT)
    for name, played in zip(names, walks, strict=True):
        path = folder / name
        rows = rows_of(played)
        write_mp4(path.with_suffix(".mp4"), played.frames, FPS)
        if path.suffix == ".json":
            path.write_text(json.dumps(rows))
        elif path.suffix == ".jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        else:
            _write_csv(path, rows)
    return walks


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    """CSV has no nesting: the names carry the dots, and of several keys only one is told."""
    flat = [
        {
            **{k: v for k, v in row.items() if k not in ("mouse", "keys")},
            "keys": "s" if row["keys"] else "",
            "mouse.dx": row["mouse"]["dx"],
            "mouse.dy": row["mouse"]["dy"],
        }
        for row in rows
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, flat[0].keys())
        writer.writeheader()
        writer.writerows(flat)
