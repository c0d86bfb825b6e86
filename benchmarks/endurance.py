"""Whether a dream stays as cheap as it began: time, memory and operations a frame after 10,000 frames of one session.

For the bundled Pong and for a causal transformer with a sliding window of 30 frames, whose learned and rotary positions
run far past any table of 1,024. Time is compared in turns with a session that is at frame 100, so that a busy machine
slows both.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import Details, Measurement, device, paired_seconds
from hallucade.games.pong import PONG_ACTIONS
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.recipes.load import load
from hallucade.rollout import Prompt, Session, World
from hallucade.samplers.base import SamplerConfig, seeded
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer

FRAMES = 10_000
EARLY = 100  # the frame that late ones are compared with
SETTLED = 2_000  # frames after which memory is compared
COMPARED = 200  # frames of the old session and of a young one, in turns
WINDOW = 30
STEPS = 4
CLIPS = (8, 16, 32)  # latents drawn at once, beside one by one
SIZE = 24  # pixels


def sliding() -> World:
    """Return a transformer of fresh weights: what a frame costs does not depend on what was learned."""
    config = DiffusionTransformerConfig(width=64, window=WINDOW, sink=1, learned_positions=True)
    torch.manual_seed(0)
    model = config.build(PONG_ACTIONS, (3, SIZE, SIZE)).to(device()).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    prompt = Prompt(rng.integers(0, 256, (8, SIZE, SIZE, 3), np.uint8), _keys(rng, 7))
    sampler = DDIMSamplerConfig(steps=1)
    return World(PixelTokenizer(), model, sampler.build(), PONG_ACTIONS, (SIZE, SIZE), 30.0, prompts=(prompt,))


def endure(name: str, world: World) -> None:
    """Play one session for `FRAMES` frames, and compare its end with a young one."""
    rows = _keys(np.random.default_rng(1), FRAMES)
    young, old = (Session(world, world.prompts[0]) for _ in range(2))
    for row in rows[:EARLY]:
        young.step(row)
    settled = 0
    for frame, row in enumerate(rows):
        old.step(row)
        if frame == SETTLED:
            settled = resident_bytes()
    details: Details = {"model": name, "device": world.device.type}
    grown = (resident_bytes() - settled) / 2**20
    Measurement("memory_growth", grown, "MiB", {**details, "frames": FRAMES - SETTLED}).print()
    flops = {frame: _flops(session, rows[0]) for frame, session in ((EARLY, young), (FRAMES, old))}
    at = {f"gflop_at_{frame}": count / 1e9 for frame, count in flops.items()}
    Measurement("flop_per_frame_growth", flops[FRAMES] / flops[EARLY], "ratio", {**details, **at}).print()
    seconds = paired_seconds(lambda i: old.step(rows[i]), lambda i: young.step(rows[i]), COMPARED, world.device)
    timed: Details = {"ms_old": 1e3 * seconds.first, "ms_young": 1e3 * seconds.second, "pairs": COMPARED}
    Measurement("time_per_frame_growth", seconds.ratio, "ratio", {**details, **timed}).print()


def joint(world: World) -> None:
    """Compare what a frame costs when clips are drawn at once with what it costs one by one from a cache."""
    model = world.model
    assert isinstance(model, DiffusionModel)
    sampler: SamplerConfig = DDIMSamplerConfig(steps=STEPS)
    session = Session(world.with_sampler(sampler.build()), world.prompts[0])
    for row in _keys(np.random.default_rng(2), WINDOW + 1):
        session.step(row)
    cached = _flops(session, world.actions.idle)
    for clip in CLIPS:
        for lag, schedule in ((0, "full_sequence"), (1, "pyramid")):
            config = JointSamplerConfig(steps=STEPS, lag=lag)
            latents = torch.zeros(1, WINDOW, *model.latent_shape, device=world.device)
            pressed = world.encode_actions(np.zeros((1, WINDOW - 1 + clip, world.actions.size), np.float32))
            prompt = LatentClip(latents, pressed[:, : WINDOW - 1])
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                config.build()(model, prompt, pressed[:, WINDOW - 1 :], seeded(0, 1))
            a_frame = counter.get_total_flops() / clip
            details: Details = {"schedule": schedule, "clip": clip, "steps": STEPS, "context": WINDOW}
            times = {**details, "times_cached": a_frame / cached, "gflop_cached": cached / 1e9}
            Measurement("joint_gflop_per_frame", a_frame / 1e9, "GFLOP", times).print()


def resident_bytes() -> int:
    """Return the memory that this process holds, as Linux tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _flops(session: Session, row: np.ndarray) -> int:
    with FlopCounterMode(display=False) as counter:
        session.step(row)
    return counter.get_total_flops()


def _keys(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 3, (count, PONG_ACTIONS.size)).astype(np.float32)


def main() -> None:
    transformer = sliding()
    joint(transformer)
    endure(f"transformer, window {WINDOW}", transformer)
    bundled = load()
    endure("bundled Pong", replace(bundled, prompts=bundled.prompts[:1]))


if __name__ == "__main__":
    main()
