"""Validation during training: a fixed set of dreams, their videos for eyes and for other tools, and their scores.

STEP/videos/NAME-0.mp4             the dream alone: what VBench reads in its mode "custom_input"
STEP/videos/prompts.json           what each video is, in words, for its option --prompt_file
STEP/overlay/NAME-0_overlay.mp4    the same with keys and mouse
STEP/metrics.json                  means over dreams, and each dream's own
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hallucade.config import Config
from hallucade.data.control_overlay import overlay_controls
from hallucade.data.pictures import write_mp4
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.page import write_whole
from hallucade.evaluation.ranks import from_every_rank
from hallucade.evaluation.rollout_scores import Judge, RolloutScores
from hallucade.evaluation.validation_set import ValidationCase
from hallucade.rollout import World
from hallucade.shapes import FrameArray

WIDTH = 320  # pixels of a video, at least: other tools' networks are made for such sizes
VIDEOS, OVERLAY, PROMPTS, METRICS = "videos", "overlay", "prompts.json", "metrics.json"


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Config):
    """How often training is validated, and on what.

    Raises:
        ValueError: a number below 1.
    """

    every: int | None = None  # steps; None for never
    cases: str | None = None  # JSON file of starts and actions, see docs/metrics.md; None for held-out play
    rollouts: int = 8  # stretches of held-out play, where no file is given
    frames: int = 96  # dreamed of each, where held-out episodes are that long
    camera: str | None = None  # of `hallucade calibrate-flow`; None leaves the optical-flow score out

    def __post_init__(self) -> None:
        for name in ("every", "rollouts", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; use 1 or more")


@dataclass(frozen=True)
class ValidationResult:
    """What all ranks found."""

    metrics: dict[str, float]  # means over dreams
    dreams: dict[str, dict[str, float]]  # by name
    failed: dict[str, str]  # why a dream could not be judged


def validate_dreams(
    world: World, cases: Sequence[ValidationCase], judge: Judge, folder: Path, rank: int = 0, ranks: int = 1
) -> ValidationResult:
    """Dream this rank's share of the cases, write their videos, and return what all ranks found.

    A dream that cannot be judged is reported, and does not keep the others. The noise of a case depends on its place
    in the set alone, so that the number of ranks changes nothing.
    """
    scores = RolloutScores(judge)
    dreams, failed = dict[str, dict[str, float]](), dict[str, str]()
    for number in range(rank, len(cases), ranks):
        case = cases[number]
        try:
            ((_, batch),) = dream_batches(world, [case.prompt], case.rows[None], 1, number)
            dreams[case.name] = scores.add(case.prompt.frames[-1:], batch[0], case.rows, case.truth)
            write_videos(folder, case, batch[0], world)
        except Exception as error:  # whatever it is, hours of training are worth more
            failed[case.name] = f"{type(error).__name__}: {error}"
    together = scores.across_ranks()
    for found, lost in from_every_rank((dreams, failed)):
        dreams, failed = dreams | found, failed | lost
    return ValidationResult(together.metrics(), dict(sorted(dreams.items())), failed)


def write_videos(folder: Path, case: ValidationCase, dreamed: FrameArray, world: World) -> None:
    """Write a dream as it is, and with keys and mouse; both begin with the last frame of the prompt."""
    frames = np.concatenate([case.prompt.frames[-1:], dreamed])
    scale = max(1, -(-WIDTH // frames.shape[2]))
    for part in (VIDEOS, OVERLAY):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_mp4(folder / VIDEOS / f"{case.name}-0.mp4", frames, world.fps, scale)
    marked = overlay_controls(frames, world.actions, case.rows, scale)
    write_mp4(folder / OVERLAY / f"{case.name}-0_overlay.mp4", marked, world.fps)


def write_summary(folder: Path, cases: Sequence[ValidationCase], result: ValidationResult) -> None:
    """Write the numbers, and what the videos are for tools that ask."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{case.name}-0.mp4": case.text for case in cases if case.name in result.dreams}
    write_whole(folder / PROMPTS, json.dumps(texts, indent=2) + "\n")
    found = {"mean": result.metrics, "dreams": result.dreams, "failed": result.failed}
    write_whole(folder / METRICS, json.dumps(found, indent=2) + "\n")


def warn_of_failures(step: int, result: ValidationResult) -> None:
    """Say what could not be judged; training goes on."""
    for name, reason in result.failed.items():
        warnings.warn(f"validation at step {step}: {name} could not be judged: {reason}", stacklevel=2)
