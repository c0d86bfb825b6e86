"""The check for every game, simulator or not: dreams beside recorded clips that training never saw."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import ClipWindows
from hallucade.data.conversion import RATE_SLACK
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_flow import read_camera
from hallucade.evaluation.comparison_video import comparison_video
from hallucade.evaluation.flow_score import FlowScores
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.perceptual import PerceptualConfig
from hallucade.evaluation.picture_scores import PictureScores
from hallucade.evaluation.result import Curve, Evaluation, Plot, Progress, Video, silent
from hallucade.rollout import Prompt, World

SPLIT = "validation"


@dataclass(frozen=True, kw_only=True)
class ClipCheckConfig(Config):
    """Which clips are dreamed again.

    Raises:
        ValueError: a number that leaves nothing to measure.
    """

    clips: int = 64
    prompt_frames: int = 8
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    batch: int = 64
    shown: int = 4  # clips in the video
    seed: int = 0
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    camera: str | None = None  # of `hallucade calibrate-flow`; None leaves the optical-flow score out

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1:
            raise ValueError(f"horizons are {self.horizons}; give one or more, from 1 up")
        for name in ("clips", "prompt_frames", "batch", "shown"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")

    @property
    def horizon(self) -> int:
        """Frames dreamed."""
        return max(self.horizons)

    def flow_scores(self, actions: ActionSpace) -> FlowScores | None:
        """Return what gathers the optical-flow score, if a camera is given.

        Raises:
            ValueError: it is missing, no camera model, or that of another game.
        """
        if self.camera is None:
            return None
        camera = read_camera(Path(self.camera))
        camera.check_game(actions)
        return FlowScores(camera, actions)


def evaluate_clips(
    world: World, store: EpisodeStore, config: ClipCheckConfig | None = None, progress: Progress = silent
) -> Evaluation:
    """Dream the futures of recorded clips under their own actions; metrics are named ``clips/psnr@8``.

    Raises:
        ValueError: the store holds other pictures, other actions or no episode of the validation split that is long
            enough; or weights or a camera that are asked for are missing.
    """
    config = config or ClipCheckConfig()
    check_same_game(world, store)
    looks = config.perceptual.build(world.frame_size, config.horizons, world.device)
    flows = config.flow_scores(world.actions)
    window = config.prompt_frames + config.horizon
    windows = ClipWindows(store, world.actions, frames=window, batch=config.clips, seed=config.seed, split=SPLIT)
    frames, rows = windows.windows.gather(windows.ids_at(0))
    p = config.prompt_frames
    prompts = [Prompt(f[:p], r[: p - 1]) for f, r in zip(frames, rows, strict=True)]
    scores, shown, done = PictureScores(config.horizons), list[np.ndarray](), 0
    for batch, dreamed in dream_batches(world, prompts, rows[:, p - 1 :], config.batch, config.seed):
        scores.add(dreamed, frames[batch, p - 1 :])
        looks.add(dreamed, frames[batch, p:])
        if flows is not None:
            real = frames[batch, p - 1 :]
            flows.add(np.concatenate([real[:, :1], dreamed], 1), real, rows[batch, p - 1 :])
        shown.append(dreamed[: config.shown])
        done += len(dreamed)
        progress("dreaming recorded clips", done / len(prompts))
    if looks.wants_others:
        for others in _other_clips(windows, config.batch):
            looks.add_other(others[:, p:])
    metrics = scores.metrics("clips/") | looks.metrics("clips/")
    metrics |= {} if flows is None else flows.metrics("clips/")
    real, held = frames[: config.shown, p - 1 :], rows[: config.shown, p - 1 :]
    dreams = np.concatenate([real[:, :1], np.concatenate(shown)[: config.shown]], 1)
    video = Video(
        "Recorded clips and their dreams",
        comparison_video({"real": real, "dream": dreams}, world.actions, held),
        world.fps,
        f"From {p} real frames, under the recorded actions.",
    )
    protocol = (
        f"{len(prompts)} windows of {window} frames of the {SPLIT} split, seed {config.seed}; prompt of {p} frames"
    )
    plot, found = _plot(metrics, config.horizons), {"Clips": protocol, **looks.protocol()}
    return Evaluation(metrics, (plot,), (video,), found, tuple(looks.notes()))


def check_same_game(world: World, store: EpisodeStore) -> None:
    """Refuse a store that the world cannot be judged by.

    Raises:
        ValueError: other pictures, another rate or other actions.
    """
    if store.frame_size != world.frame_size:
        have, want = ("x".join(map(str, size)) for size in (store.frame_size, world.frame_size))
        raise ValueError(f"the store holds {have} pixels, the model dreams {want}; record or import at that size")
    if abs(store.fps / world.fps - 1) > RATE_SLACK:
        raise ValueError(
            f"the store holds {store.fps:g} frames a second, the model dreams {world.fps:g}; use a store of that rate"
        )
    if difference := world.actions.difference(store.actions):
        raise ValueError(f"the store's actions are not the model's: {difference}; choose the store it was trained on")


def _other_clips(windows: ClipWindows, batch: int) -> Iterator[UInt8[np.ndarray, "b t h w 3"]]:
    """Yield as many windows that are not among the first ones, or nothing where there are too few."""
    ids = windows.ids_at(1)
    if np.isin(ids, windows.ids_at(0)).any():
        return
    for start in range(0, len(ids), batch):
        yield windows.windows.gather(ids[start : start + batch])[0]


def _plot(metrics: dict[str, float], horizons: tuple[int, ...]) -> Plot:
    curves = [
        Curve(label, tuple(map(float, horizons)), tuple(metrics[f"clips/{name}@{h}"] for h in horizons))
        for name, label in (("psnr", "whole picture"), ("psnr_moving", "moving region"))
        if all(f"clips/{name}@{h}" in metrics for h in horizons)
    ]
    return Plot(
        "Likeness to recorded clips",
        "frames dreamed",
        "PSNR, dB",
        tuple(curves),
        "A still background earns decibels for nothing: the moving region is what counts.",
    )
