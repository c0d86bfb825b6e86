"""Distilled runs of any recorded game beside their teacher: are pictures as right and as sharp, do they obey, how fast?

``python -m benchmarks.distilled_pictures --store STORE --runs TEACHER@16 STUDENT@2 STUDENT@1 ...`` dreams the same
validation clips with each run, in so many steps a frame, and prints a table; the first run is the measure of speed.
Of frames to the horizon: PSNR and SSIM at chosen ones, sharpness and flicker as shares of real play's, the Fréchet
distance on EfficientNet-lite0 where it is installed, and with ``--camera FILE`` (`hallucade calibrate-flow`) the angle
between the motion that actions should cause and the one that is seen, beside that of real play.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

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
from hallucade.rollout import Prompt, Session, World
from hallucade.samplers.choice import SamplingChoice

BATCH = 32
Batches = Iterator[tuple[slice, UInt8[np.ndarray, "b t h w 3"]]]
STRETCHES, FRAMES = 6, 16  # of frames played in turns, for their speed


@dataclass(frozen=True)
class Truth:
    """What really came: t + 1 frames from the last of each prompt on, joined by t actions."""

    frames: UInt8[np.ndarray, "n t+1 h w 3"]
    rows: Float32[np.ndarray, "n t c"]


def main() -> None:
    """Print a row a run, each as soon as it is measured."""
    options = _options()
    store, last = EpisodeStore(options.store), max(options.horizons)
    first: World | None = None
    for number, (run, steps) in enumerate(options.runs):
        world, recipe = dreamer(run, steps)
        first = first or world
        clips = validation_episodes(store, options.clips, options.prompt + last)
        if number == 0:
            seen = pictures(world, clips, options, through_tokenizer)
            print("| run | steps |", " | ".join(seen), "| frames/s, times the first |")
            print(f"|{'---|' * (3 + len(seen))}\n{_row('real play through the tokenizer', '', seen)} |", flush=True)
        found = pictures(world, clips, options, dreamed) | {"frames/s": times_as_fast(world, first)}
        print(_row(f"{recipe}, {run.name}", str(steps), found), flush=True)


def dreamer(run: Path, steps: int) -> tuple[World, str]:
    """Return a run that draws in so many steps a frame, and its recipe."""
    config = read_config(*find_checkpoint(run))
    if getattr(config.sampler, "levels", None) is not None:
        raise SystemExit(f"{run} is sampled at levels of its own; this table compares numbers of steps")
    return load(run, sampling=SamplingChoice(sampling_steps=steps)), config.recipe


def dreamed(world: World, prompts: list[Prompt], truth: Truth, seed: int) -> Batches:
    """Dream on from prompts under the recorded actions."""
    return dream_batches(world, prompts, truth.rows, BATCH, seed)


def through_tokenizer(world: World, prompts: list[Prompt], truth: Truth, seed: int) -> Batches:
    """Give what really came back as the tokenizer has it: what no dream of its latents can better."""
    for start in range(0, len(prompts), BATCH):
        batch = slice(start, start + BATCH)
        frames = torch.from_numpy(truth.frames[batch, 1:]).to(world.device)
        with torch.no_grad():
            yield batch, world.tokenizer.decode(world.tokenizer.encode(frames)).cpu().numpy()


def pictures(
    world: World, clips: Sequence[Episode], options: argparse.Namespace, made: Callable[..., Batches]
) -> dict[str, float]:
    """Hold pictures that were made from the beginnings of clips against what really came."""
    p, horizons = options.prompt, tuple(options.horizons)
    frames = np.stack([np.array(clip.frames) for clip in clips])[:, p - 1 :]
    rows = np.stack([np.array(clip.actions) for clip in clips])[:, p - 1 :]
    scores = PictureScores(horizons)
    looks = PerceptualConfig(until=(max(horizons),)).build(world.frame_size, horizons, world.device)
    flows = None if options.camera is None else FlowScores(read_camera(options.camera), world.actions)
    texture, restless = list[float](), list[float]()
    prompts = [prompt_of(clip, p) for clip in clips]
    for batch, shown in made(world, prompts, Truth(frames, rows), options.seed):
        real = frames[batch]
        scores.add(shown, real)
        looks.add(shown, real[:, 1:])
        texture.append(share(sharpness, shown, real[:, 1:]))
        restless.append(share(flicker, shown, real[:, 1:]))
        if flows is not None:
            flows.add(np.concatenate([real[:, :1], shown], 1), real, rows[batch])
    found = scores.metrics("") | looks.metrics("")
    kept = {name: found[name] for name in found if name.startswith(("psnr@", "ssim@", "frechet_lite0@"))}
    kept |= {"sharpness, of real": float(np.mean(texture)), "flicker, of real": float(np.mean(restless))}
    angles = {} if flows is None else flows.metrics("")
    return kept | {name: angles[name] for name in angles if name.startswith(("flow_mean_angle", "flow_magnitude"))}


def share(
    statistic: Callable[[Any], Any], dreamed: UInt8[np.ndarray, "b t h w 3"], real: UInt8[np.ndarray, "b t h w 3"]
) -> float:
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


def _row(name: str, steps: str, found: dict[str, float]) -> str:
    return f"| {name} | {steps} | {' | '.join(f'{value:.2f}' for value in found.values())} |"


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
