"""Command: calibrate-flow."""

import json
import math
from pathlib import Path

from tyro.conf import Positional

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_calibration import at_an_end, calibrate, measure_play
from hallucade.evaluation.camera_check import CameraCheck, check_camera
from hallucade.evaluation.camera_flow import CameraModel
from hallucade.evaluation.page import write_whole
from hallucade.recipes.console import say, staged

SHOWN = {  # of a score, with its unit
    "epe": "error px",
    "angle_rmse": "angle °",
    "mean_angle": "mean °",
    "cosine": "cosine",
    "magnitude_ratio": "length",
}


def calibrate_flow(
    store: Positional[Path], /, out: Path | None = None, pairs: int = 2000, field: float | None = None
) -> None:
    """Find how a game's actions move its camera, for the optical-flow score.

    The camera is fitted to training episodes and judged on validation episodes, also under wrong actions: a score that
    does not tell these from real play is worth nothing.

    Args:
        store: a store's folder.
        out: the camera model to write; by default STORE.camera.json beside the store.
        pairs: pairs of frames to look at, about.
        field: degrees that a picture is wide, where it is known; by default it is found.
    """
    if pairs < 1:
        raise ValueError(f"pairs is {pairs}; look at one pair of frames or more")
    if field is not None and not 1 <= field <= 170:
        raise ValueError(f"field is {field}; a picture is 1 to 170 degrees wide")
    opened = EpisodeStore(store)
    target = out or store.resolve().with_name(f"{store.resolve().name}.camera.json")
    target.parent.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    focal = None if field is None else opened.frame_size[1] / 2 / math.tan(math.radians(field) / 2)
    with staged("calibrating") as stage:
        play = measure_play(opened, pairs, "train", progress=lambda what, share: stage(what, share / 2))
        found = calibrate(opened, play, focal)
        check = check_camera(
            found.camera, opened, max(1, pairs // 3), progress=lambda what, share: stage(what, 0.6 + 0.4 * share)
        )
    say(f"{found.pairs:,} pairs of frames; the camera tells {found.explained:.0%} of their median flow")
    _say_camera(check.camera)
    if focal is None and at_an_end(found.camera):
        say("no focal length fits better than the ends of what is looked for: give --field if you know it")
    _say_check(check)
    write_whole(target, json.dumps(check.camera.to_json(), indent=2) + "\n")
    say(f"camera model: {target}")


def _say_camera(camera: CameraModel) -> None:
    width = camera.frame_size[1]
    wide = math.degrees(2 * math.atan(width / 2 / camera.focal))
    say(f"focal length {camera.focal:.1f} pixels: a picture of {width} is {wide:.0f} degrees wide")
    for motion in camera.motions:
        turn = ", ".join(
            f"{name} {math.degrees(v):+.3f}" for name, v in zip(("up", "right", "roll"), motion.turn, strict=True)
        )
        shift = ", ".join(f"{name} {v:+.4f}" for name, v in zip(("right", "down", "ahead"), motion.shift, strict=True))
        say(f"  {motion.signal:>14}: " + (f"turns {turn} degrees" if any(motion.turn) else f"shifts {shift}"))


def _say_check(check: CameraCheck) -> None:
    say(f"{check.pairs:,} pairs of {check.split} episodes" + " " * 4 + "".join(f"{v:>10}" for v in SHOWN.values()))
    for who, score in check.scores.items():
        values = (f"{score[name]:10.2f}" if name in score else f"{'–':>10}" for name in SHOWN)
        say(f"  {who:>28}: {''.join(values)}")
