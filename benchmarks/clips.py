"""How fast training reads: random windows of a store whose pages are in memory, one thread."""

import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Details, Measurement
from hallucade.data.clips import ClipWindows
from hallucade.data.recorder import RecordingConfig, record

SECONDS = 3.0
FRAMES = 32  # in a window
BATCH = 64


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = record(RecordingConfig(frames=100_000), Path(folder) / "store")
        clips = ClipWindows(store, store.actions, frames=FRAMES, batch=BATCH)
        clips.batch_at(0)
        step, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < SECONDS:
            step += 1
            clips.batch_at(step)
    details: Details = {"frame_size": store.frame_size[0], "frames": FRAMES, "batch": BATCH}
    Measurement("clip_windows_per_s", step * BATCH / seconds, "windows/s", details).print()


if __name__ == "__main__":
    main()
