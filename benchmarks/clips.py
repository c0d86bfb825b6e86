"""How fast training reads: random windows of a store whose pages are in memory, by one thread and by two.

The first pass holds every block against its checksum; after it, reading costs what the copying costs.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from benchmarks.measurement import Details, Measurement
from hallucade.data.clips import ClipWindows
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore

SECONDS = 3.0
RECORDED = {24: 100_000, 64: 20_000}  # frame size in pixels: frames
FRAMES = 32  # in a window
BATCH = 64


def measure(store: EpisodeStore) -> None:
    """Print how long the checksums take, and then how fast windows are read."""
    clips = ClipWindows(store, store.actions, frames=FRAMES, batch=BATCH)
    for name in ("frames", "actions"):
        start = time.perf_counter()
        for index in store.indices("train"):
            store.verified(name).episode(index)
        seconds = time.perf_counter() - start
        size = sum(store.manifest.column(name).row_bytes * store.episodes[i].frames for i in store.indices("train"))
        Measurement("first_reading_mb_per_s", size / seconds / 1e6, "MB/s", {"column": name}).print()
    for readers in (1, 2):
        details: Details = {
            "frame_size": store.frame_size[0], "frames": FRAMES, "batch": BATCH, "readers": readers
        }  # fmt: skip
        Measurement("clip_windows_per_s", windows_per_s(clips, readers), "windows/s", details).print()


def windows_per_s(clips: ClipWindows, readers: int) -> float:
    """Read batches for some seconds, each reader its own."""
    deadline, start = time.perf_counter() + SECONDS, time.perf_counter()

    def read(first: int) -> int:
        for number in count():
            if time.perf_counter() >= deadline:
                return number
            clips.batch_at(first + readers * number)
        return 0

    with ThreadPoolExecutor(readers) as pool:
        batches = sum(pool.map(read, range(readers)))
    return batches * clips.batch / (time.perf_counter() - start)


def main() -> None:
    for size, frames in RECORDED.items():
        with tempfile.TemporaryDirectory() as folder:
            measure(record(RecordingConfig(frame_size=size, frames=frames), Path(folder) / "store"))


if __name__ == "__main__":
    main()
