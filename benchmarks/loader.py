"""What reading clips costs a training step of pong_micro: processor time of the reading thread, a step's share."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.measurement import Details, Measurement
from benchmarks.train import build_method
from hallucade.data.clips import Clip, ClipSource
from hallucade.data.recorder import RecordingConfig, record
from hallucade.recipes.registry import find_recipe
from hallucade.recipes.train import make_clips
from hallucade.training.trainer import Trainer

STEPS = 15  # to warm up, and as many again to measure


class TimedClips:
    """Clips, and the processor time that reading them takes from step `STEPS` on."""

    def __init__(self, clips: ClipSource) -> None:
        self.clips, self.seconds, self.batches = clips, 0.0, 0

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Read a batch."""
        start = time.thread_time()
        clip = self.clips.batch_at(step, rank, world)
        if step >= STEPS:
            self.seconds += time.thread_time() - start
            self.batches += 1
        return clip


def main() -> None:
    run = find_recipe("pong_micro")
    with tempfile.TemporaryDirectory() as folder:
        store = record(RecordingConfig(frames=150_000), Path(folder) / "store")
        clips = TimedClips(make_clips(run, store))
        config = replace(run.trainer, steps=2 * STEPS, log_every=STEPS, checkpoint_every=10 * STEPS)
        stage = run.stages[0]
        trainer = Trainer(
            config, build_method(run, store), clips, Path(folder) / "run", run_config=run.to_json(), progress=False
        )
        seconds = stage.frames * stage.batch / trainer.train().frames_per_s
    loader = clips.seconds / clips.batches
    details: Details = {"loader_ms": 1e3 * loader, "step_ms": 1e3 * seconds, "batch": stage.batch}
    Measurement("loader_share_of_step", loader / seconds, "", details).print()


if __name__ == "__main__":
    main()
