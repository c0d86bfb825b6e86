"""How fast training reads: random windows of a store whose pages are in memory, by one thread, checksums on."""

import tempfile
import time
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
    """Print the speed while blocks are verified, and once they are."""
    clips = ClipWindows(store, store.actions, frames=FRAMES, batch=BATCH)
    details: Details = {"frame_size": store.frame_size[0], "frames": FRAMES, "batch": BATCH}
    first = range(max(1, len(clips) // BATCH // FRAMES))  # as many frames as there are
    start = time.perf_counter()
    for step in first:
        clips.batch_at(step)
    seconds = time.perf_counter() - start
    Measurement("unverified_clip_windows_per_s", len(first) * BATCH / seconds, "windows/s", details).print()
    step, start = first.stop, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS:
        clips.batch_at(step)
        step += 1
    Measurement("clip_windows_per_s", (step - first.stop) * BATCH / seconds, "windows/s", details).print()


def main() -> None:
    for size, frames in RECORDED.items():
        with tempfile.TemporaryDirectory() as folder:
            measure(record(RecordingConfig(frame_size=size, frames=frames), Path(folder) / "store"))


if __name__ == "__main__":
    main()
