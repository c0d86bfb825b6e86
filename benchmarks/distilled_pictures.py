"""Distilled runs of any recorded game beside their teacher: are pictures as right and as sharp, do they obey, how fast?

``python -m benchmarks.distilled_pictures --store STORE --runs TEACHER@16 STUDENT@2 STUDENT@1 ...`` dreams the same
validation clips with each run, in so many steps a frame, and prints a table; the first run is the measure of speed.
Of frames to the horizon: PSNR and SSIM at chosen ones, sharpness and flicker as shares of real play's, the Fréchet
distance on EfficientNet-lite0 where it is installed, and with ``--camera FILE`` (`hallucade calibrate-flow`) the angle
between the motion that actions should cause and the one that is seen, beside that of real play.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.measurement import paired_seconds
from hallucade.data.episode import Episode
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_flow import read_camera
from hallucade.evaluation.flow_score import FlowScores
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.metrics.picture_statistics import flicker, sharpness
from hallucade.evaluation.perceptual import PerceptualConfig
from hallucade.evaluation.picture_scores import PictureScores
from hallucade.recipes.load import find_checkpoint, load, read_config
from hallucade.recipes.prompts import prompt_of, validation_episodes
from hallucade.rollout import Session, World
from hallucade.samplers.choice import SamplingChoice

BATCH = 32
STRETCHES, FRAMES = 6, 16  # of frames played in turns, for their speed


def main() -> None:
    """Print a row a run, each as soon as it is measured."""
    options = _options()
    store, last = EpisodeStore(options.store), max(options.horizons)
    first: World | None = None
    for number, (run, steps) in enumerate(options.runs):
        world, recipe = dreamer(run, steps)
        first = first or world
        clips = validation_episodes(store, options.clips, options.prompt + last)
        found = pictures(world, clips, options) | {"frames/s, times the first": times_as_fast(world, first)}
        if number == 0:
            print("| run | steps |", " | ".join(found), f"|\n|{'---|' * (2 + len(found))}")
        print(f"| {recipe}, {run.name} | {steps} |", " | ".join(f"{v:.2f}" for v in found.values()), "|", flush=True)


def dreamer(run: Path, steps: int) -> tuple[World, str]:
    """Return a run that draws in so many steps a frame, and its recipe."""
    config = read_config(*find_checkpoint(run))
    if getattr(config.sampler, "levels", None) is not None:
        raise SystemExit(f"{run} is sampled at levels of its own; this table compares numbers of steps")
    return load(run, sampling=SamplingChoice(sampling_steps=steps)), config.recipe


def pictures(world: World, clips: list[Episode], options: argparse.Namespace) -> dict[str, float]:
    """Dream on from the beginnings of clips, and hold the pictures against what really came."""
    p, horizons = options.prompt, tuple(options.horizons)
    frames = np.stack([np.array(clip.frames) for clip in clips])
    rows = np.stack([np.array(clip.actions) for clip in clips])
    scores = PictureScores(horizons)
    looks = PerceptualConfig(until=(max(horizons),)).build(world.frame_size, horizons, world.device)
    flows = None if options.camera is None else FlowScores(read_camera(options.camera), world.actions)
    texture, restless = list[float](), list[float]()
    prompts = [prompt_of(clip, p) for clip in clips]
    for batch, dreamed in dream_batches(world, prompts, rows[:, p - 1 :], BATCH, options.seed):
        real, held = frames[batch, p - 1 :], rows[batch, p - 1 :]
        scores.add(dreamed, real)
        looks.add(dreamed, real[:, 1:])
        texture.append(share(sharpness, dreamed, real[:, 1:]))
        restless.append(share(flicker, dreamed, real[:, 1:]))
        if flows is not None:
            flows.add(np.concatenate([real[:, :1], dreamed], 1), real, held)
    found = scores.metrics("") | looks.metrics("")
    kept = {name: found[name] for name in found if name.startswith(("psnr@", "ssim@", "frechet"))}
    kept |= {"sharpness, of real": float(np.mean(texture)), "flicker, of real": float(np.mean(restless))}
    angles = {} if flows is None else flows.metrics("")
    return kept | {name: angles[name] for name in angles if name.startswith("flow_angle")}


def share(statistic, dreamed: UInt8[np.ndarray, "b t h w 3"], real: UInt8[np.ndarray, "b t h w 3"]) -> float:
    """Return the mean of a statistic over dreams as a share of its mean over real play."""
    mine, true = (float(statistic(torch.from_numpy(frames)).mean()) for frames in (dreamed, real))
    return mine / true


def times_as_fast(world: World, first: World) -> float:
    """Return how many frames a session plays while one of the first run plays one; whole clips of either."""
    mine, theirs = (Session(each, first.prompts[0]) for each in (world, first))
    row = world.actions.idle

    def play(session: Session) -> None:
        for _ in range(FRAMES // world.frames_per_step):
            session.step(row)

    return paired_seconds(lambda _: play(theirs), lambda _: play(mine), STRETCHES, world.device).ratio


def _run(text: str) -> tuple[Path, int]:
    name, _, steps = text.rpartition("@")
    return Path(name), int(steps)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare distilled runs of a recorded game.")
    parser.add_argument("--store", type=Path, required=True, help="recorded play")
    parser.add_argument("--runs", type=_run, nargs="+", required=True, help="RUN@STEPS; the first is the teacher")
    parser.add_argument("--camera", type=Path, help="camera model of the store")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=4, help="real frames")
    parser.add_argument("--horizons", type=int, nargs="+", default=[1, 8, 32, 64], help="frames")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
