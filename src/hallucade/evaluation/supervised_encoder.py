"""An encoder that is trained on the simulator's state itself: what its size allows."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.linear_probe import BATCH, LinearProbeConfig
from hallucade.evaluation.result import Progress, silent
from hallucade.evaluation.state_clips import STEADY, state_clips
from hallucade.models.video_encoder import VideoEncoder
from hallucade.training.schedules import CosineScheduleConfig


def supervised_encoder(
    fresh: VideoEncoder,
    store: EpisodeStore,
    columns: Sequence[str],
    config: LinearProbeConfig,
    steps: int,
    batch: int = 32,
    learning_rate: float = 1e-3,
    progress: Progress = silent,
) -> VideoEncoder:
    """Train a fresh encoder on the state itself, read off its pooled features by one layer: what its size allows.

    Args:
        fresh: is changed.
        store: whose training episodes are seen.
        columns: of the state.
        config: of the probe.
        steps: of training.
        batch: clips in a step.
        learning_rate: at its highest.
        progress: is told how far it is.
    """
    rng = np.random.default_rng(config.seed + 1)
    some = state_clips(store, "train", columns, config.frames, max(BATCH, batch), rng).states
    centre, scale = some.mean(0), np.maximum(some.std(0), STEADY)
    head = torch.nn.Linear(fresh.config.width, len(columns)).to(next(fresh.parameters()).device)
    parameters = [*fresh.train().requires_grad_(True).parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.05)
    shares = CosineScheduleConfig(warmup=steps // 10).build(steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shares)
    for step in range(steps):
        clips = state_clips(store, "train", columns, config.frames, batch, rng)
        target = torch.from_numpy((clips.states - centre) / scale).float().to(head.weight.device)
        read = head(fresh.pooled(torch.from_numpy(clips.frames).to(head.weight.device))[:, -1])
        loss: Tensor = (read - target).square().mean()
        optimizer.zero_grad()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        progress("training on the state", (step + 1) / steps)
    return fresh.eval().requires_grad_(False)
