"""VPT recordings with the recorder's quirks: a menu, the wheel, a stuck button, devices that say null, broken pairs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from samples.h264 import write_h264
from samples.scene import walk

SIZE, FPS, FRAMES = (90, 160), 20.0, 60
MENU_AT, MENU_FRAMES = 40, 5  # the inventory opens after this frame, for so many
JUMPS, SPRINTS, ATTACKS, USES = range(10, 13), range(14, 19), range(25, 31), range(33, 35)
WHEEL_AT, DIGIT_AT = 12, 20  # lines that show another slot
NAMES = (
    "10.0/cheeky-cornflower-setter-02e496ce4abb-20220421-092639",
    "6.9/shabby-viridian-beaver-7a3c2b9d0e11-20211003-190412",
    "treechop-f153ac423f61-20210916-183423",
)
KEYS = {
    "forward": "key.keyboard.w",
    "back": "key.keyboard.s",
    "left": "key.keyboard.a",
    "right": "key.keyboard.d",
    "jump": "key.keyboard.space",
    "sprint": "key.keyboard.left.control",
}
CLICKS = {"attack": 0, "use": 1}


class Recording(NamedTuple):
    """What happened: t frames, and on seeing each of them what was held and how far the view was turned."""

    frames: UInt8[np.ndarray, "t h w 3"]
    held: list[set[str]]
    camera: Float64[np.ndarray, "t 2"]  # degrees right, degrees up; in menus what the mouse would have turned
    poses: Float64[np.ndarray, "t 5"]  # x, y, z; yaw of Minecraft to the right, pitch up
    menu: Bool[np.ndarray, "t"]


def record(seed: int, menu_scale: float = 1.0, frames: int = FRAMES) -> Recording:
    """Play one recording of `frames` frames and a menu."""
    played = walk(seed, frames, SIZE, FPS)
    shown = np.r_[: MENU_AT + 1, np.full(MENU_FRAMES, MENU_AT), MENU_AT:frames]
    menu = np.zeros(len(shown), bool)
    menu[MENU_AT + 1 : MENU_AT + 1 + MENU_FRAMES] = True
    pictures = played.frames[shown].copy()
    pictures[menu] //= 3
    pictures[menu, SIZE[0] // 5 : -SIZE[0] // 5, SIZE[1] // 4 : -SIZE[1] // 4] = 198
    held: list[set[str]] = []
    camera = np.zeros((len(shown), 2))
    for i, frame in enumerate(shown):
        if menu[i]:
            held.append({"inventory"} if i == MENU_AT + MENU_FRAMES else set())
            camera[i] = 0.15 * 20 * menu_scale, -0.15 * 7 * menu_scale
        elif i == MENU_AT:
            held.append({"inventory"})
        else:
            row = played.rows[min(frame, frames - 2)]
            names = {name for name, value in zip(list(KEYS)[:4], row, strict=False) if value}
            spans = {"jump": JUMPS, "sprint": SPRINTS, "attack": ATTACKS, "use": USES}
            held.append(names | {name for name, span in spans.items() if i in span})
            camera[i] = row[4:]
    if len(shown) > WHEEL_AT:
        held[WHEEL_AT].add("hotbar.5")
        held[DIGIT_AT].add("hotbar.2")
    x, y, yaw, pitch = played.poses[shown].T
    poses = np.stack([x + 800, np.full(len(x), 63.0), y - 20, (yaw + 90) % 360 - 180, pitch], 1)
    return Recording(pictures, held, camera, poses, menu)


def lines_of(recording: Recording, menu_scale: float = 1.0) -> list[dict[str, Any]]:
    """Write down one recording as the recorder does, key by key."""
    slots = np.repeat([3, 4, 1], [WHEEL_AT, DIGIT_AT - WHEEL_AT, len(recording.held) - DIGIT_AT])
    lines: list[dict[str, Any]] = []
    before: list[int] = []
    for i, held in enumerate(recording.held):
        in_menu = bool(recording.menu[i])
        keys = [KEYS[name] for name in KEYS if name in held]
        keys += ["key.keyboard.escape" if in_menu else "key.keyboard.e"] if "inventory" in held else []
        keys += ["key.keyboard.2"] if i == DIGIT_AT else []
        buttons = [CLICKS[name] for name in CLICKS if name in held]
        dx, dy = recording.camera[i] * (1, -1) / 0.15 / (menu_scale if in_menu else 1)
        x, y, z, yaw, pitch = recording.poses[i].tolist()
        lines.append(
            {
                "mouse": {
                    "x": 640.0 + dx,
                    "y": 360.0 + dy,
                    "dx": float(dx),
                    "dy": float(dy),
                    "scaledX": float(dx),
                    "scaledY": float(dy),
                    "dwheel": 1.0 if i == WHEEL_AT else 0.0,
                    "buttons": buttons,
                    "newButtons": [b for b in buttons if b not in before],
                },
                "keyboard": {"keys": [*keys, "key.keyboard.left.alt"], "newKeys": [], "chars": ""},
                "isGuiOpen": in_menu,
                "isGuiInventory": in_menu,
                "hotbar": int(slots[i]),
                "yaw": yaw,
                "pitch": -pitch,
                "xpos": x,
                "ypos": y,
                "zpos": z,
                "tick": i,
                "milli": 1649575088006 + 50 * i,
                "inventory": [{"type": "oak_planks", "quantity": 59}],
                "serverTick": 6001 + i,
                "serverTickDurationMs": 36.3466,
                "stats": {"minecraft.custom:minecraft.jump": 4},
            }
        )
        before = buttons
    return lines


def stick(lines: list[dict[str, Any]]) -> None:
    """Let the recorder hold attack from the first line until the player presses it."""
    for i, line in enumerate(lines[: ATTACKS.start]):
        line["mouse"]["buttons"] = [0, *line["mouse"]["buttons"]]
        line["mouse"]["newButtons"] = [0] if i == 0 else []


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a ``.jsonl``."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_vpt(folder: Path, seed: int = 0, frames: int = FRAMES) -> dict[str, Recording]:
    """Write three recordings, one without its video and an index, and return what happened.

    The second is of recorder 6.9, begins with a stuck button and has a line with null devices; the video of the third
    ends four frames early.
    """
    recordings = {
        name: record(seed + i, 2.0 if name.startswith("6.9") else 1.0, frames) for i, name in enumerate(NAMES)
    }
    for name, recording in recordings.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        old = name.startswith("6.9")
        lines = lines_of(recording, 2.0 if old else 1.0)
        if old:
            stick(lines)
            recording.held[2].clear()
            recording.camera[2] = 0
            lines[2]["mouse"] = lines[2]["keyboard"] = None
        write_lines(folder / f"{name}.jsonl", lines)
        write_h264(folder / f"{name}.mp4", recording.frames[: -4 if name == NAMES[2] else None], FPS)
    write_lines(folder / "10.0" / "lost-video-000000000000-20220101-000000.jsonl", lines)
    relpaths = [*reversed(NAMES), "10.0/lost-both-111111111111-20220101-000000"]
    index = {"basedir": "https://openaipublic.blob.core.windows.net/minecraft-rl/data/", "relpaths": relpaths}
    (folder / "all_10xx_Jun_29.json").write_text(json.dumps(index))
    return recordings
