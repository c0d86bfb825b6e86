"""How long and how to train, whatever is trained."""

from dataclasses import dataclass, field
from typing import Literal

from hallucade.config import Config
from hallucade.training.ema import EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import ScheduleConfig, WarmupStableDecayConfig


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Config):
    """How long and how to train; what to train is the method's, and on what the clips'."""

    steps: int
    accumulate: int = 1  # microbatches that a batch is split into
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"  # weights are float32 in both
    compile: bool | Literal["auto"] = "auto"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    role_optimizers: dict[str, OptimizerConfig] = field(default_factory=dict[str, OptimizerConfig])  # where they differ
    schedule: ScheduleConfig = field(default_factory=lambda: WarmupStableDecayConfig(warmup=100))
    ema: EMAConfig | None = field(default_factory=EMAConfig)
    offload: bool = False  # networks that only teach wait in the host's memory between their calls
    sharded: bool = False  # each rank keeps a part of every network, its momenta and averages; see `sharding`
    clip_norm: float | None = 1.0
    seed: int = 0
    log_every: int = 10  # steps
    checkpoint_every: int = 500  # steps
    keep: int = 3  # newest checkpoints kept
    milestone_every: int | None = None  # steps between checkpoints kept for good
    max_bad_steps: int = 5  # non-finite steps in a row before a rollback
    max_rollbacks: int = 2  # to the same checkpoint before giving up
    minutes: float | None = None  # stop cleanly, and resumably, after this time

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "checkpoint_every", "keep", "max_bad_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.max_rollbacks < 0:
            raise ValueError(f"max_rollbacks is {self.max_rollbacks}; use 0 to stop at once, or more")
        for name in ("clip_norm", "minutes", "milestone_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be positive, or None for no limit")
        if self.offload and self.sharded:
            raise ValueError(
                "offload and sharded are both on; parts of a teacher stay on their rank, so use one of them"
            )
        if self.sharded and self.compile is True:
            raise ValueError("compile and sharded are both on; networks in parts are not compiled, so use one of them")
