"""The ways of a trained teacher on recorded play, for a run with `OdeInitialisationConfig` to learn from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import diffusion_roles, latent_clip
from hallucade.methods.trajectories import TrajectoryConfig, TrajectorySource, record_trajectories
from hallucade.models.base import LatentClip
from hallucade.recipes.networks import MODEL, read_network
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.stages import make_clips, resolved


def record_run_trajectories(
    config: RunConfig,
    store: EpisodeStore | Mixture,
    teacher: Path,
    folder: Path,
    trajectories: TrajectoryConfig,
    entries: int,
    *,
    latents: Sequence[LatentCache] = (),
    device: torch.device | None = None,
    rank: int = 0,
    world: int = 1,
    progress: Callable[[int], None] = lambda entry: None,
) -> None:
    """Fill a folder with the ways of a run's network, one entry a batch of the student's clips; resumes.

    Args:
        config: the student's recipe: its clips and its tokenizer.
        store: recorded play.
        teacher: the teacher's run folder.
        folder: new, or one that the same call began.
        trajectories: which way the teacher goes.
        entries: batches to record.
        latents: one cache a store; nothing is encoded then.
        device: where the teacher computes; the CPU by default.
        rank: which of `world` processes this is.
        world: processes that fill the folder together.
        progress: told of each entry that is done.

    Raises:
        ValueError: the teacher is of another game or tokenizer, or the folder holds other ways.
        CheckpointError: the teacher's folder cannot be read.
    """
    config, given = resolved(config, store), read_network(teacher)
    source = config.source
    assert source is not None
    if (given.source.actions, given.source.frame_size) != (source.actions, source.frame_size):
        raise ValueError(f"{teacher} knows other actions or frames than the store; record on play of the same game")
    if not given.tokenizer.agrees(config.tokenizer):
        raise ValueError(f"{teacher} has another tokenizer than {config.recipe}; latents of two tokenizers do not mix")
    device = device or torch.device("cpu")
    tokenizer = config.tokenizer.build().to(device).eval()
    network = diffusion_roles({MODEL: given.build(tokenizer).to(device).eval()})[MODEL]
    clips = make_clips(config, store, latents)

    def clip_at(entry: int) -> LatentClip:
        batch = clips.batch_at(entry)
        parts = {"frames": batch.frames, "actions": batch.actions, "latents": batch.latents}
        moved = {name: part.to(device) for name, part in parts.items() if part is not None}
        return latent_clip(tokenizer, replace(batch, **moved))

    play = "+".join([store.fingerprint, *(cache.fingerprint for cache in latents), *map(str, config.stages)])
    whose = TrajectorySource(given.origin.weights, play, entries, config.trainer.seed)
    record_trajectories(folder, network, clip_at, trajectories, whose, rank=rank, world=world, progress=progress)
