"""How fast one dream runs, without a server: batch 1, by model and sampling steps."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import Measurement, device, wait
from benchmarks.peak import matmul_peak
from benchmarks.train import cases
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.recipes.run_config import RunConfig
from hallucade.rollout import Prompt, Session, World
from hallucade.samplers.flow import FlowSamplerConfig

MODELS = ("pong", "transformer")
STEPS = (1, 2, 4)
WARM_UP = 40  # frames; past the transformer's window of 32
SECONDS = 3.0


def build_world(run: RunConfig, store: EpisodeStore) -> World:
    """Return a world with fresh weights: speed does not depend on what was learned."""
    tokenizer = run.tokenizer.build()
    model = run.model.build(store.actions, tokenizer.latent_shape(*store.frame_size)).to(device()).eval()
    return World(tokenizer, model, run.sampler.build(), store.actions, store.frame_size, store.fps)


def measure(run: RunConfig, world: World, prompt: Prompt, steps: int) -> Measurement:
    """Play one session with nothing pressed."""
    session = Session(world.with_sampler(FlowSamplerConfig(steps=steps).build()), prompt)
    idle = np.zeros(world.actions.size, np.float32)
    for _ in range(WARM_UP):
        session.step(idle)
    with FlopCounterMode(display=False) as counter:
        session.step(idle)
    gflop = counter.get_total_flops() / world.frames_per_step / 1e9
    frames_per_s = _timed(session, idle)
    peak = matmul_peak(torch.float32, world.device)
    details = {
        "recipe": run.recipe,
        "steps": steps,
        "batch": 1,
        "gflop_per_frame": gflop,
        "share_of_peak": frames_per_s * gflop / peak,
        "peak_gflop_per_s": peak,
        "device": world.device.type,
    }
    return Measurement("rollout_frames_per_s", frames_per_s, "frames/s", details)


def _timed(session: Session, row: np.ndarray) -> float:
    """Return frames per second over `SECONDS`, each frame finished before the next begins."""
    first, start = session.frame_index, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS:
        session.step(row)
        wait(session.world.device)
    return (session.frame_index - first) / seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = record(RecordingConfig(frames=10_000), Path(folder) / "store")
        for name in MODELS:
            run = cases()[name].run
            start = store.read(0, 0, run.prompt_frames)
            prompt = Prompt(start.frames, start.actions)
            world = build_world(run, store)
            for steps in STEPS:
                measure(run, world, prompt, steps).print()


if __name__ == "__main__":
    main()
