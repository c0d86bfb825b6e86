"""How fast bots at play become a store on disk, on one core."""

import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Measurement
from hallucade.data.recorder import RecordingConfig, record

FRAMES = {("pong", 24): 250_000, ("pong", 64): 40_000, ("maze", 64): 20_000}  # game, pixels a side: frames to record


def main() -> None:
    for (game, size), frames in FRAMES.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            store = record(RecordingConfig(game=game, frame_size=size, frames=frames), Path(folder) / "store")
            seconds = time.perf_counter() - start
        Measurement(
            "record_frames_per_s", store.total_frames / seconds, "frames/s", {"game": game, "frame_size": size}
        ).print()


if __name__ == "__main__":
    main()
