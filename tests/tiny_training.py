"""A training of a second: a linear next-frame predictor, whose dropout and noise would show any lost random state.

Its last functions run in processes of their own, for tests that kill them.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hallucade.data.clips import Clip
from hallucade.methods.base import Method, RankState
from hallucade.training.ema import EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import CosineScheduleConfig
from hallucade.training.trainer import Trainer
from hallucade.training.trainer_config import TrainerConfig

B, T, H, W, A = 6, 5, 4, 3, 2
PIXELS = H * W * 3


class TinyPredictor(nn.Module):
    adamw = ("embed",)

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(PIXELS + A, width)
        self.hidden = nn.Linear(width, width)
        self.kernel = nn.Conv1d(width, width, 3, padding=1)
        self.head = nn.Linear(width, PIXELS)

    def forward(self, pixels: Tensor, actions: Tensor) -> Tensor:
        x = torch.relu(self.hidden(self.embed(torch.cat([pixels, actions], -1))))
        return self.head(self.kernel(x.mT).mT)


class TinyMethod(Method):
    """Next-frame regression; role "model", and a "critic" that is trained on the model's output of the same step.

    The model is trained every `interval` steps.
    """

    def __init__(
        self, random: bool = True, critic: bool = False, interval: int = 1, averaged: tuple[str, ...] | None = None
    ) -> None:
        super().__init__()
        self.interval, self.averaged = interval, averaged
        self.model = TinyPredictor()
        self.critic = nn.Linear(PIXELS, 1) if critic else None
        self.random = random
        self.register_buffer("batches", torch.zeros(()))

    def roles(self) -> dict[str, nn.Module]:
        critic = {} if self.critic is None else {"critic": self.critic}
        return {"model": self.model, **critic}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
        pixels = batch.frames.flatten(2).float() / 127.5 - 1
        given = pixels[:, :-1]
        if self.random:
            noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(batch.seed))
            given = F.dropout(given + 0.1 * noise, 0.2)
        predicted = self.model(given, batch.actions)
        loss = (predicted - pixels[:, 1:]).square().mean()
        self.metrics = {"error": loss.detach().sqrt()}
        self.batches += 1
        if step % self.interval == 0:
            yield "model", loss
        if self.critic is not None:
            yield "critic", (self.critic(predicted.detach()).mean() - loss.detach()).square()


class Game(RankState):
    """A number that each rank adds up on its own; from the second batch on, it has a history of another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(0)

    def tensors(self) -> dict[str, Tensor]:
        return {"seen": self.seen} if len(self.seen) else {}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        self.seen = tensors.get("seen", torch.zeros(0)).clone()


class LastingMethod(TinyMethod):
    """Regression whose loss weighs each rank's batch by all that the rank has seen before."""

    def __init__(self) -> None:
        super().__init__(random=False)
        self.game = Game()

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Tensor]]:
        self.game.seen = torch.cat([self.game.seen, batch.actions.mean().reshape(1)])
        ((role, loss),) = super().losses(batch, step)
        yield role, loss * (1 + self.game.seen.sum())


class TinyClips:
    """Frames that drift with the action; batch and seed are a pure function of the step."""

    def __init__(self, batch: int = B, seconds: float = 0.0, size: tuple[int, int] = (H, W)) -> None:
        self.batch, self.seconds, self.size = batch, seconds, size
        self.asked: list[int] = []

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        time.sleep(self.seconds)
        self.asked.append(step)
        generator = torch.Generator().manual_seed(step)
        actions = torch.rand(self.batch, T - 1, A, generator=generator)
        start = torch.randint(0, 100, (self.batch, 1, *self.size, 3), generator=generator)
        drift = F.pad(actions[..., 0], (1, 0)).cumsum(1)[:, :, None, None, None] * 30
        frames = (start + drift).to(torch.uint8)
        share = slice(rank * self.batch // world, (rank + 1) * self.batch // world)
        return Clip(frames[share], actions[share], step * 31 + rank)


@dataclass(frozen=True, kw_only=True)
class LongCosine(CosineScheduleConfig):
    """The cosine of a longer run than the one that uses it."""

    warmup: int = 3
    steps: int

    def build(self, steps: int) -> Callable[[int], float]:
        return super().build(self.steps)


def tiny_config(**changes: object) -> TrainerConfig:
    settings: dict[str, object] = {
        "steps": 20,
        "precision": "32-true",
        "compile": False,
        "optimizer": OptimizerConfig(learning_rate=3e-3, muon_learning_rate=1e-2),
        "schedule": CosineScheduleConfig(warmup=3),
        "ema": EMAConfig(),
        "log_every": 1,
        "checkpoint_every": 5,
    }
    return TrainerConfig(**settings | changes)


def tiny_trainer(folder: Path, method: Method | None = None, clips: object = None, **changes: object) -> Trainer:
    options = {name: changes.pop(name) for name in ("callbacks", "clock", "fabric", "fingerprint") if name in changes}
    if method is None:
        torch.manual_seed(1)
        method = TinyMethod()
    return Trainer(
        tiny_config(**changes),
        method,
        clips or TinyClips(),
        folder,
        run_config={"name": "tiny"},
        progress=False,
        **options,
    )


def losses(folder: Path) -> list[tuple[int, str]]:
    """Return (step, loss as hex) of every row of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], float(row["loss/model"]).hex()) for row in rows if "loss/model" in row]


def fingerprint(folder: Path) -> str:
    """Return one hash over all tensor files of the newest checkpoint: weights, averages, momenta."""
    newest = folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text().strip()
    files = [newest / "weights.safetensors", newest / "training.safetensors", newest / "state.json"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def train_in_child(folder: str, steps: int, die_at_call: int | None = None) -> None:
    """Train, or go on training, in a process of its own.

    Args:
        folder: of the run.
        steps: of the whole run.
        die_at_call: kill the process by SIGKILL at its n-th call that makes something last on disk.
    """
    torch.set_num_threads(1)
    if die_at_call is not None:
        _arm(die_at_call)
    clips = TinyClips(seconds=0.005)
    tiny_trainer(Path(folder), clips=clips, steps=steps, checkpoint_every=7, log_every=2).train(resume=True)


def _arm(die_at_call: int) -> None:
    calls = 0

    def armed(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == die_at_call:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in ("fsync", "rename", "replace", "rmdir"):
        setattr(os, name, armed(getattr(os, name)))


def train_as_rank(rank: int, port: int, folder: str, steps: int, lasting: bool = False) -> None:
    """Train as one of two ranks, in the environment that torchrun makes; `lasting` with state of each rank."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    torch.manual_seed(rank)  # rank 1 starts from other weights, and must take those of rank 0
    method = LastingMethod() if lasting else TinyMethod(random=False)
    schedule = LongCosine(steps=8)
    tiny_trainer(Path(folder), method, steps=steps, schedule=schedule).train(resume=True)
