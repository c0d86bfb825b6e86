"""What pre-trained encoders know of a game: its simulator's state, read off their features by a linear map.

``python -m benchmarks.pretraining --store STORE --runs FOLDER`` trains an encoder by each recipe (those that the folder
holds are not trained again), probes all of them on the same clips, a random and a supervised one of the same size
beside them, and prints JSON: the share of the variance of each state variable that is explained, and the mean error in
its own units, each with its interval over held-out episodes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.encoder_quality import fresh_encoder, named_scores
from hallucade.evaluation.linear_probe import LinearProbeConfig, probe
from hallucade.evaluation.state_clips import changing_columns, state_clips
from hallucade.evaluation.supervised_encoder import supervised_encoder
from hallucade.models.encoder_folder import ABOUT, KEPT, EncoderFolder
from hallucade.models.video_encoder import VideoEncoder
from hallucade.recipes.load import default_device
from hallucade.recipes.pretraining import PRETRAINING
from hallucade.recipes.pretraining_run import train_encoder
from hallucade.recipes.train import trained_for

RECIPES = ("pretrain_masked", "pretrain_jepa", "pretrain_contrastive")


@dataclass(frozen=True)
class Options:
    """What is compared."""

    store: Path
    runs: Path
    recipes: tuple[str, ...]
    steps: int
    width: int
    depth: int
    supervised_steps: int
    probing: LinearProbeConfig


def main(options: Options) -> dict[str, dict[str, float]]:
    """Return every figure by encoder."""
    store = EpisodeStore(options.store)
    encoders: dict[str, Callable[[], VideoEncoder]] = {name: _trained(name, store, options) for name in options.recipes}
    first = encoders[options.recipes[0]]()
    columns = changing_columns(store, options.probing.columns)
    probing = replace(options.probing, columns=columns)

    def supervised() -> VideoEncoder:
        return supervised_encoder(fresh_encoder(first, 0), store, columns, probing, options.supervised_steps)

    encoders |= {"random": lambda: fresh_encoder(first, 0).eval(), "supervised": supervised}
    rng = np.random.default_rng(probing.seed)
    train, held_out = (
        state_clips(store, split, columns, probing.frames, count, rng)
        for split, count in (("train", probing.clips), ("validation", probing.held_out))
    )
    found: dict[str, dict[str, float]] = {}
    for name, build in encoders.items():
        scores = named_scores(name, probe(build(), train, held_out, columns, probing))
        found[name] = {key.removeprefix(f"{name}/"): round(value, 4) for key, value in scores.items()}
        sys.stderr.write(f"{name}: {found[name]['mean/r2']:.3f} of the variance explained, the mean over variables\n")
    return found


def _trained(name: str, store: EpisodeStore, options: Options) -> Callable[[], VideoEncoder]:
    """Return what gives the encoder of a recipe, trained now if it is not there."""
    run = options.runs / name
    if not (run / KEPT / ABOUT).is_file():
        config = trained_for(PRETRAINING[name](), options.steps)
        config = replace(config, encoder=replace(config.encoder, width=options.width, depth=options.depth))
        start = time.perf_counter()
        train_encoder(config, store, run, resume=run.exists())
        sys.stderr.write(f"{name}: trained for {time.perf_counter() - start:.0f} s\n")
    return lambda: EncoderFolder.open(run).load().to(default_device())


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=tuple(PRETRAINING))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--supervised-steps", type=int, default=1000)
    parser.add_argument("--columns", nargs="+", default=())
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--held-out", type=int, default=2000)
    given = parser.parse_args()
    probing = LinearProbeConfig(columns=tuple(given.columns), clips=given.clips, held_out=given.held_out)
    recipes = tuple(given.recipes)
    return Options(
        given.store, given.runs, recipes, given.steps, given.width, given.depth, given.supervised_steps, probing
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(_options()), indent=1) + "\n")
