"""Train a probe on a store's own columns, and say how well it reads what it has not seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from hallucade.config import Config
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.planning.planner import at_least
from hallucade.evaluation.planning.state_probe import REWARD, StateProbe, StateProbeConfig, as_pictures
from hallucade.evaluation.result import Progress, silent


@dataclass(frozen=True, kw_only=True)
class ProbeTrainingConfig(Config):
    """How long a probe is trained.

    Raises:
        ValueError: a number out of range.
    """

    steps: int = 2500
    batch: int = 32  # pictures
    learning_rate: float = 4e-3  # at its highest; rises over a tenth of the steps, then falls to 0
    blurred: float = 0.5  # share of pictures that are blurred, as dreams are
    noise: float = 0.03  # deviation of what is added to pictures in [0, 1]
    measured: int = 4096  # frames that centre and scale are taken from, and as many held-out ones that errors are
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "steps", 1)
        at_least(self, "batch", 1)
        at_least(self, "measured", 2)
        at_least(self, "seed", 0)
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}; choose one between 0 and 1")


@dataclass(frozen=True)
class ReadingError:
    """How far a probe is off on held-out frames, in the column's own units."""

    mean: float
    high: float  # 95 % of frames are read better
    spread: float  # the column's own deviation: what not looking at all would cost


def train_probe(
    store: EpisodeStore, config: StateProbeConfig, training: ProbeTrainingConfig, progress: Progress = silent
) -> tuple[StateProbe, dict[str, ReadingError]]:
    """Return a probe of a store's training episodes, and its errors on the validation episodes.

    Raises:
        ValueError: the store has no such column, or no validation episode.
    """
    check_columns(store, config)
    rng, generator = np.random.default_rng(training.seed), torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        probe = config.build(store.frame_size)
    values = np.concatenate([v for _, v in _drawn(store, "train", config, rng, training.measured, training.batch)])
    encoded = probe.encoded(values)
    probe.centre.copy_(torch.from_numpy(encoded.mean(0)))
    probe.scale.copy_(torch.from_numpy(np.maximum(encoded.std(0), 1e-6)))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps, pct_start=0.1
    )
    batches = _drawn(store, "train", config, rng, training.steps * training.batch, training.batch)
    for step, (frames, wanted) in enumerate(batches):
        progress("training the probe", step / training.steps)
        target = (torch.from_numpy(probe.encoded(wanted)) - probe.centre) / probe.scale
        pictures = dimmed(as_pictures(frames, probe.centre.device), training, generator)
        loss = F.smooth_l1_loss(probe(pictures), target.float(), beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    probe.eval().requires_grad_(False)
    return probe, reading_errors(probe, store, rng, training.measured)


def dimmed(
    pictures: Float32[Tensor, "n 3 h w"], training: ProbeTrainingConfig, generator: torch.Generator
) -> Float32[Tensor, "n 3 h w"]:
    """Return pictures as a dream might show them: some soft, all a little noisy."""
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    chosen = torch.rand(len(pictures), 1, 1, 1, generator=generator) < training.blurred
    noise = training.noise * torch.randn(pictures.shape, generator=generator)
    return torch.where(chosen, soft, pictures) + noise


def reading_errors(
    probe: StateProbe, store: EpisodeStore, rng: np.random.Generator, count: int
) -> dict[str, ReadingError]:
    """Measure every column on `count` frames of validation episodes."""
    read, true = list[np.ndarray](), list[np.ndarray]()
    for frames, values in _drawn(store, "validation", probe.config, rng, count, 256):
        read.append(probe.read(frames))
        true.append(values)
    values, errors = np.concatenate(true), dict[str, ReadingError]()
    for i, name in enumerate(probe.config.columns):
        off = np.concatenate(read)[:, i] - values[:, i]
        if name in probe.config.angles:
            off = (off + np.pi) % (2 * np.pi) - np.pi
        off = np.abs(off)
        errors[name] = ReadingError(float(off.mean()), float(np.quantile(off, 0.95)), float(values[:, i].std()))
    return errors


def check_columns(store: EpisodeStore, config: StateProbeConfig) -> None:
    """Refuse what a store cannot teach.

    Raises:
        ValueError: names the columns that there are.
    """
    known = (*store.state_names, REWARD)
    if strange := [name for name in config.columns if name not in known]:
        raise ValueError(f"{store.path} has no column {', '.join(strange)}; choose among {', '.join(known)}")
    for split in ("train", "validation"):
        if not any(store.episodes[i].frames > 1 for i in store.indices(split)):
            raise ValueError(f"{store.path} has no {split} episode of two frames or more; record more of them")


def _drawn(
    store: EpisodeStore, split: str, config: StateProbeConfig, rng: np.random.Generator, count: int, batch: int
) -> Iterator[tuple[UInt8[np.ndarray, "n h w 3"], Float64[np.ndarray, "n c"]]]:
    """Yield frames of a split, all but the first of each episode equally likely, with what is to be read off them."""
    episodes = [i for i in store.indices(split) if store.episodes[i].frames > 1]
    ends = np.cumsum(np.array([store.episodes[i].frames - 1 for i in episodes], np.int64))
    for start in range(0, count, batch):
        numbers = rng.integers(0, ends[-1], min(batch, count - start))
        owners = np.searchsorted(ends, numbers, side="right")
        places = numbers - np.concatenate([np.zeros(1, np.int64), ends])[owners]
        drawn = [_read(store, episodes[int(e)], int(p), config) for e, p in zip(owners, places, strict=True)]
        yield np.stack([frame for frame, _ in drawn]), np.stack([values for _, values in drawn])


def _read(
    store: EpisodeStore, index: int, place: int, config: StateProbeConfig
) -> tuple[UInt8[np.ndarray, "h w 3"], Float64[np.ndarray, "c"]]:
    """Return a frame after another one, so that there is a reward that led to it."""
    pair = store.read(index, place, 2)
    by_name = dict(zip(store.state_names, pair.state[1], strict=True)) if pair.state is not None else {}
    if REWARD in config.columns:
        if pair.rewards is None:
            raise ValueError(f"episode {index} of {store.path} has no rewards; leave out the column {REWARD!r}")
        by_name[REWARD] = pair.rewards[0]
    return pair.frames[1], np.array([by_name[name] for name in config.columns], np.float64)
