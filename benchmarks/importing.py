"""Import of 640x360 h264 video with a table of actions to 128x72: frames a second, by workers, start-up included."""

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measurement import Details, Measurement
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.executors import executor_of
from hallucade.data.importers.folder import FolderConfig
from hallucade.data.pictures import write_mp4

VIDEOS, FRAMES, FPS = 4, 1500, 30.0
SIZE, TARGET = (360, 640), (72, 128)
LAYOUT = "axes: {dx: {low: -9, high: 9, kind: delta, turns: right}}\n"


def write_videos(folder: Path) -> None:
    """Write videos that pan over a random landscape, as busy as a game's."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    coarse = rng.integers(0, 256, (60, 160, 3), np.uint8)
    land = np.asarray(cv2.resize(coarse, (4 * width, 2 * height), interpolation=cv2.INTER_CUBIC))
    land[::40] = land[:, ::40] = 0  # edges
    folder.mkdir()
    (folder / "play.yaml").write_text(LAYOUT)
    for number in range(VIDEOS):
        moves = np.repeat(rng.integers(-9, 10, FRAMES // 10), 10)
        lefts = np.cumsum(moves) % (3 * width)
        frames = np.stack([land[100 : 100 + height, left : left + width] for left in lefts])
        write_mp4(folder / f"{number}.mp4", frames, FPS)
        (folder / f"{number}.csv").write_text("dx\n" + "\n".join(map(str, moves)))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        videos = Path(scratch) / "videos"
        write_videos(videos)
        for workers in (1, 2):
            started = time.perf_counter()
            store = collect(
                FolderConfig(path=str(videos)),
                Path(scratch) / f"store{workers}",
                ConversionConfig(size=TARGET),
                executor=executor_of(workers, VIDEOS),
            ).store
            seconds = time.perf_counter() - started
            details: Details = {
                "workers": workers,
                "from": "640x360 h264",
                "to": "128x72",
                "frames": store.total_frames,
            }
            Measurement("import_frames_per_s", store.total_frames / seconds, "frames/s", details).print()


if __name__ == "__main__":
    main()
