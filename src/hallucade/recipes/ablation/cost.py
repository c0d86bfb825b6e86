"""What a run costs: parameters, frames, operations and seconds."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import Method
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.stages import make_clips, resolved
from hallucade.recipes.train import make_method
from hallucade.training.curriculum import Stage


@dataclass(frozen=True)
class Cost:
    """Of one training, known before it."""

    parameters: int  # of the model
    steps: int
    frames: int  # seen, in clips
    flops: float  # forward and backward

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return asdict(self)


def measure_cost(config: RunConfig, store: EpisodeStore | Mixture, latents: Sequence[LatentCache] = ()) -> Cost:
    """Build a run's model and count the operations of a step.

    One clip of each stage passes through model and objective; a batch is as many times that. What an autoencoder
    computes counts where `latents` do not take its place.

    Raises:
        ValueError: the model does not fit the store's frames, actions or clips.
    """
    config, tokenizer = resolved(config, store), config.tokenizer.build()
    method, model = make_method(config, tokenizer, {})
    flops = sum(_flops(method, config, stage, store, latents) * stage.batch * stage.steps for stage in config.stages)
    frames = sum(stage.steps * stage.batch * stage.frames for stage in config.stages)
    return Cost(sum(p.numel() for p in model.parameters()), config.trainer.steps, frames, flops)


def training_seconds(run: Path, config: RunConfig) -> float:
    """Return the time that the steps of a run took, by its log: over all resumptions, checkpoints left out."""
    seconds, before = 0.0, 0
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = cast("dict[str, Any]", json.loads(line))
        if speed := row.get("frames_per_s"):
            seconds += sum(_frames_at(config, step) for step in range(before, row["step"])) / speed
            before = row["step"]
    return seconds


def _flops(
    method: Method, config: RunConfig, stage: Stage, store: EpisodeStore | Mixture, latents: Sequence[LatentCache]
) -> int:
    single, last = (replace(each, steps=1, batch=1, init_from=None) for each in (stage, config.stages[-1]))
    pair = replace(
        config, stages=(single, last), trainer=replace(config.trainer, steps=2)
    )  # the last has the run's rate
    clip = make_clips(pair, store, latents).batch_at(0)
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH), counter:  # fused ones on CPU are not counted
        for _, loss in method.losses(clip, 0):
            loss.backward()
    return counter.get_total_flops()


def _frames_at(config: RunConfig, step: int) -> int:
    for stage in config.stages:
        if step < stage.steps:
            return stage.frames * stage.batch
        step -= stage.steps
    return 0
