"""Judges an encoder by the state that can be read off its features, beside two others of its size."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hallucade.config import Config
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.linear_probe import LinearProbeConfig, ProbeScore, probe
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.evaluation.state_clips import changing_columns, state_clips
from hallucade.evaluation.supervised_encoder import supervised_encoder
from hallucade.models.video_encoder import VideoEncoder


@dataclass(frozen=True, kw_only=True)
class EncoderCheckConfig(Config):
    """Which others stand beside the encoder.

    Raises:
        ValueError: a negative number of steps.
    """

    random: bool = True  # one with fresh weights
    supervised_steps: int = 1000  # of training one on the state itself; 0 for none

    def __post_init__(self) -> None:
        if self.supervised_steps < 0:
            raise ValueError(f"supervised_steps is {self.supervised_steps}; use 0 for none, or more")


def evaluate_encoder(
    encoder: VideoEncoder,
    store: EpisodeStore,
    probing: LinearProbeConfig | None = None,
    check: EncoderCheckConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Probe an encoder on a store with a simulator's state.

    Returns:
        For each state variable ``probe/VARIABLE/r2`` and ``/error``, with ``_low`` and ``_high`` ends of their
        intervals, ``/spread``, and ``probe/mean/r2`` over all; the same under ``random/`` and ``supervised/``.

    Raises:
        ValueError: the store has no state, no validation episode that is long enough, or frames that do not suit.
    """
    probing, check = probing or LinearProbeConfig(), check or EncoderCheckConfig()
    encoder.config.slots(probing.frames)
    columns = changing_columns(store, probing.columns)
    rng = np.random.default_rng(probing.seed)
    progress("reading clips", 0.0)
    train, held_out = (
        state_clips(store, split, columns, probing.frames, count, rng)
        for split, count in (("train", probing.clips), ("validation", probing.held_out))
    )
    found = {"probe": encoder}
    if check.random:
        found["random"] = fresh_encoder(encoder, probing.seed).eval().requires_grad_(False)
    if check.supervised_steps:
        fresh, steps = fresh_encoder(encoder, probing.seed), check.supervised_steps
        found["supervised"] = supervised_encoder(fresh, store, columns, probing, steps, progress=progress)
    metrics = dict[str, float]()
    for number, (name, each) in enumerate(found.items()):
        progress(f"probing {name}", number / len(found))
        metrics |= named_scores(name, probe(each, train, held_out, columns, probing))
    protocol = {
        "clips": f"{probing.clips} of training episodes, {probing.held_out} of {len(np.unique(held_out.episodes))} "
        f"validation episodes, {probing.frames} frames each; the state is that of the last",
        "features": f"{encoder.config.width}, the mean over the last tubelet's places",
        "intervals": f"95 %, over {probing.resamples} resamples of episodes",
        "supervised": f"{check.supervised_steps} steps on the state, of 32 clips each",
        "store": str(store.path),
        "fingerprint": store.fingerprint,
    }
    return Evaluation(metrics, protocol=protocol)


def fresh_encoder(like: VideoEncoder, seed: int) -> VideoEncoder:
    """Return an encoder of the same size with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return like.config.build(like.frame_size).to(_device(like))


def named_scores(name: str, scores: Mapping[str, ProbeScore]) -> dict[str, float]:
    """Return figures by name; an interval that cannot be told is absent."""
    metrics = {f"{name}/mean/r2": float(np.mean([score.r2 for score in scores.values()]))}
    for column, score in scores.items():
        place = f"{name}/{column}"
        metrics |= {f"{place}/r2": score.r2, f"{place}/error": score.error, f"{place}/spread": score.spread}
        for figure, interval in (("r2", score.r2_interval), ("error", score.error_interval)):
            if interval is not None:
                metrics |= {f"{place}/{figure}_low": interval[0], f"{place}/{figure}_high": interval[1]}
    return metrics


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
