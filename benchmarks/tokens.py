"""How fast a world of codes is dreamed: frames of 64 codes, batch 1, by how they are drawn, past a full memory."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import Measurement, device, wait
from benchmarks.peak import matmul_peak
from hallucade.actions import ActionSpace, Button
from hallucade.recipes.registry import find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.rollout import Prompt, Session, World
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig

STEPS = (8, 4, 1)  # of MaskGIT
SIZE = 64  # pixels a side; 8 of them a code
ACTIONS = ActionSpace(buttons=tuple(Button(name=name) for name in ("forward", "left", "right", "fire")))
WARM_UP = 24  # frames; past the window of 16
SECONDS = 4.0


def cases() -> Iterator[tuple[str, RunConfig]]:
    """Yield each way to draw a frame, and a run that does."""
    small = find_recipe("token_small")
    for steps in STEPS:
        yield f"maskgit_{steps}", replace(small, sampler=MaskGITSamplerConfig(steps=steps))
    yield "raster", find_recipe("token_raster_small")
    yield "recurrent", find_recipe("token_gru_small")


def build_world(run: RunConfig) -> World:
    """Return a world with fresh weights: speed does not depend on what was learned."""
    tokenizer = LearnedTokenizerConfig().build().to(device()).eval()
    model = run.model.build_on(tokenizer, ACTIONS, (SIZE, SIZE)).to(device()).eval().requires_grad_(False)
    return World(tokenizer, model, run.sampler.build(), ACTIONS, (SIZE, SIZE), fps=15.0)


def measure(name: str, run: RunConfig) -> Measurement:
    """Play one session with nothing pressed, pictures included."""
    world, idle = build_world(run), ACTIONS.idle
    frames = np.random.default_rng(0).integers(0, 256, (run.prompt_frames, SIZE, SIZE, 3), dtype=np.uint8)
    session = Session(world, Prompt(frames, np.tile(idle, (len(frames) - 1, 1))))
    for _ in range(WARM_UP):
        session.step(idle)
    with FlopCounterMode(display=False) as counter:
        session.step(idle)
    gflop = counter.get_total_flops() / 1e9
    frames_per_s, own_ms = _timed(session, idle)
    peak = matmul_peak(torch.float32, world.device)
    details = {
        "drawn": name,
        "recipe": run.recipe,
        "codes_a_frame": (SIZE // 8) ** 2,
        "parameters": sum(weight.numel() for weight in world.model.parameters()),
        "batch": 1,
        "threads": torch.get_num_threads(),
        "cpu_ms_per_frame": own_ms,
        "gflop_per_frame": gflop,
        "share_of_peak": frames_per_s * gflop / peak,
        "peak_gflop_per_s": peak,
        "device": world.device.type,
    }
    return Measurement("token_frames_per_s", frames_per_s, "frames/s", details)


def _timed(session: Session, row: np.ndarray) -> tuple[float, float]:
    """Return frames a second over `SECONDS`, and milliseconds that this process was given for each, all threads."""
    first, start, own = session.frame_index, time.perf_counter(), time.process_time()
    while (seconds := time.perf_counter() - start) < SECONDS:
        session.step(row)
        wait(session.world.device)
    count = session.frame_index - first
    return count / seconds, 1e3 * (time.process_time() - own) / count


def main() -> None:
    for name, run in cases():
        measure(name, run).print()


if __name__ == "__main__":
    main()
