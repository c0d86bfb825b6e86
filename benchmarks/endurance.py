"""Whether a dream stays as cheap as it began: time a frame and memory over 10,000 frames of one session."""

import time
from pathlib import Path

import numpy as np

from benchmarks.measurement import Details, Measurement
from hallucade.recipes.load import load
from hallucade.rollout import Session, World

FRAMES = 10_000
SETTLED = 2_000  # frames after which memory is compared
COMPARED = 500  # frames of the old session and of a fresh one, taken in turns: a noisy machine slows both


def main() -> None:
    world = load()
    rows = np.random.default_rng(0).integers(0, 3, (FRAMES, world.actions.size)).astype(np.float32)
    session = Session(world, world.prompts[0])
    settled = 0
    for frame, row in enumerate(rows):
        session.step(row)
        if frame == SETTLED:
            settled = resident_bytes()
    grown = (resident_bytes() - settled) / 2**20
    Measurement("memory_growth", grown, "MiB", {"frames": FRAMES - SETTLED}).print()
    old, fresh = in_turns(world, session, rows[:COMPARED])
    details: Details = {"frames": FRAMES, "ms_old": 1e3 * old, "ms_fresh": 1e3 * fresh}
    Measurement("time_per_frame_growth", old / fresh, "ratio", details).print()


def in_turns(world: World, old: Session, rows: np.ndarray) -> tuple[float, float]:
    """Return the median seconds a frame of an old session and of a fresh one, stepped in turns."""
    sessions = (old, Session(world, world.prompts[0]))
    seconds = np.empty((len(rows), 2))
    for turn, row in enumerate(rows):
        for which, session in enumerate(sessions):
            start = time.perf_counter()
            session.step(row)
            seconds[turn, which] = time.perf_counter() - start
    medians = np.median(seconds, axis=0)
    return float(medians[0]), float(medians[1])


def resident_bytes() -> int:
    """Return the memory that this process holds, as Linux tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
