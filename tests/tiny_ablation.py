"""Ablations of a second: two networks of a few hundred parameters on noise, as the command line takes them."""

import contextlib
import sys
from pathlib import Path

from hallucade.cli import main
from hallucade.models.unet import UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.trainer_config import TrainerConfig

STEPS = 6
RECIPE = f"{Path(__file__)}:tiny_ablation"
CLIPS = "--judge.clips.clips 3 --judge.clips.prompt-frames 3 --judge.clips.horizons 1 2 3"
JUDGE = (*CLIPS.split(), "--judge.clips.perceptual.lite0", "off")


def tiny_ablation() -> RunConfig:
    return RunConfig(
        recipe="tiny_ablation",
        model=UNetConfig(context=2, patch=1, widths=(8, 8), blocks=(1, 0), condition_width=9),
        objective=NextFrameConfig(),
        stages=(Stage(steps=STEPS, frames=4, batch=2),),
        trainer=TrainerConfig(
            steps=STEPS,
            compile=False,
            optimizer=OptimizerConfig(),
            log_every=2,
            checkpoint_every=2,
            max_bad_steps=2,
            max_rollbacks=0,
        ),
        sample_every=STEPS,
        prompt_frames=3,
    )


def ablate_in_child(store: str, out: str, *options: str) -> None:
    """Run the command in a process of its own, for tests that kill it."""
    with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to the server that forked it
        main(["ablate", RECIPE, "--store", store, "--out", out, "--vary", "model.context=2,3", *options, *JUDGE])
