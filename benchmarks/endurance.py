"""Whether a dream stays as cheap as it began: time a frame and memory over 10,000 frames of one session."""

import time
from pathlib import Path

import numpy as np

from benchmarks.measurement import Details, Measurement
from hallucade.recipes.load import load
from hallucade.rollout import Session

FRAMES = 10_000
PART = 1_000  # frames at the start and at the end that are compared


def main() -> None:
    world = load()
    session = Session(world, world.prompts[0])
    rows = np.random.default_rng(0).integers(0, 3, (FRAMES, world.actions.size)).astype(np.float32)
    times = np.empty(FRAMES)
    memory = np.empty(FRAMES)
    for frame, row in enumerate(rows):
        start = time.perf_counter()
        session.step(row)
        times[frame] = time.perf_counter() - start
        memory[frame] = resident_bytes()
    first, last = float(np.median(times[PART : 2 * PART])), float(np.median(times[-PART:]))
    grown = float(memory[-1] - memory[2 * PART]) / 2**20
    time_details: Details = {"frames": FRAMES, "ms_at_start": 1e3 * first, "ms_at_end": 1e3 * last}
    Measurement("time_per_frame_growth", last / first, "ratio", time_details).print()
    memory_details: Details = {"frames": FRAMES - 2 * PART, "mib_at_end": float(memory[-1]) / 2**20}
    Measurement("memory_growth", grown, "MiB", memory_details).print()


def resident_bytes() -> int:
    """Return the memory that this process holds, as Linux tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
