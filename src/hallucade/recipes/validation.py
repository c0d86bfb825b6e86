"""The trainer's validation callback: what is dreamed, by averaged weights, and what becomes of it in the run folder."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from hallucade.data.episode import Episode
from hallucade.evaluation.camera_flow import read_camera
from hallucade.evaluation.metrics.lite0 import Lite0, lite0_installed
from hallucade.evaluation.rollout_scores import Judge
from hallucade.evaluation.validation import (
    ValidationConfig,
    ValidationResult,
    validate_dreams,
    warn_of_failures,
    write_summary,
)
from hallucade.evaluation.validation_set import ValidationCase, cases_of, read_validation_set
from hallucade.rollout import World
from hallucade.training.trainer import Trainer

VALIDATION = "validation"


class Validation:
    """A trainer callback: dream the cases and log their scores as ``validation/...``; failures never end a run."""

    every_rank = True

    def __init__(self, world: World, cases: Sequence[ValidationCase], judge: Judge, folder: Path, every: int) -> None:
        self.every = every
        self._world, self._cases, self._judge, self._folder = world, cases, judge, folder

    def __call__(self, step: int, trainer: Trainer) -> None:
        folder = self._folder / f"step_{step:08d}"
        fabric = trainer.fabric
        with trainer.ema_weights():
            result = validate_dreams(
                self._world, self._cases, self._judge, folder, fabric.global_rank, fabric.world_size
            )
        if fabric.is_global_zero:
            self._report(step, trainer, folder, result)

    def _report(self, step: int, trainer: Trainer, folder: Path, result: ValidationResult) -> None:
        warn_of_failures(step, result)
        try:
            write_summary(folder, self._cases, result)
        except OSError as error:
            warnings.warn(f"validation at step {step}: {folder}: {error.strerror}", stacklevel=2)
        failed = {"failed": float(len(result.failed))} if result.failed else {}
        trainer.log({f"{VALIDATION}/{name}": value for name, value in {**result.metrics, **failed}.items()})


def make_validation(
    config: ValidationConfig, world: World, episodes: Sequence[Episode], prompt_frames: int, run_folder: Path
) -> Validation:
    """Return the callback of a config that says how often.

    Args:
        config: what to dream.
        world: with the network that is trained.
        episodes: held-out play, for configs that name no file.
        prompt_frames: of it that a dream starts from.
        run_folder: where it goes.

    Raises:
        ValueError: the file of cases or the camera model cannot be used.
    """
    assert config.every is not None
    cases = cases_of(episodes, prompt_frames, config.frames)
    if config.cases is not None:
        cases = read_validation_set(Path(config.cases), world)
    camera = None if config.camera is None else read_camera(Path(config.camera))
    if camera is not None:
        camera.check_game(world.actions)  # better now than after hours of training
    network = Lite0.load(*world.frame_size) if lite0_installed() else None
    judge = Judge(world.actions, world.fps, camera, network)
    return Validation(world, cases, judge, run_folder / VALIDATION, config.every)
