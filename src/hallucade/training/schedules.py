"""Learning-rate schedules: pure functions from a step to the share of each group's own learning rate.

The share multiplies, so that the ratio between groups survives warm-up and decay.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from hallucade.config import Config

Schedule = Callable[[int], float]  # completed steps -> share of the learning rate


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Config):
    """Base of schedule configs."""

    warmup: int = 0  # steps of linear rise

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ValueError(f"warmup is {self.warmup} steps; use 0 or more")

    def build(self, steps: int) -> Schedule:
        """Build the schedule of a training of `steps` steps."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ConstantScheduleConfig(ScheduleConfig):
    """Warm up, then hold."""

    def build(self, steps: int) -> Schedule:
        return functools.partial(warm, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class CosineScheduleConfig(ScheduleConfig):
    """Warm up, then fall along half a cosine."""

    floor: float = 0.0  # share at the end

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("floor", self.floor)

    def build(self, steps: int) -> Schedule:
        return functools.partial(cosine, steps=steps, warmup=self.warmup, floor=self.floor)


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecayConfig(ScheduleConfig):
    """Warm up, hold, then fall; a finished run can be continued from before its decay."""

    decay: float = 0.2  # share of the steps that decay
    floor: float = 0.0  # share of the learning rate at the end

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("decay", self.decay)
        _check_share("floor", self.floor)

    def build(self, steps: int) -> Schedule:
        decay = round(steps * self.decay)
        return functools.partial(warmup_stable_decay, steps=steps, warmup=self.warmup, decay=decay, floor=self.floor)


def warm(step: int, *, warmup: int) -> float:
    """Rise linearly to 1 at `warmup` steps, starting above 0 so that no step is wasted."""
    return min(1.0, (step + 1) / (warmup + 1))


def cosine(step: int, *, steps: int, warmup: int, floor: float) -> float:
    """Rise over `warmup` steps, then fall to `floor` at `steps`. Source: arXiv:1608.03983."""
    if step < warmup:
        return warm(step, warmup=warmup)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_stable_decay(step: int, *, steps: int, warmup: int, decay: int, floor: float) -> float:
    """Rise over `warmup` steps, hold 1, and fall as 1 - sqrt over the last `decay` steps.

    Source: Hägele et al. 2024, arXiv:2405.18392, section 4.
    """
    start = max(warmup, steps - decay)
    if step < start:
        return warm(step, warmup=warmup)
    progress = min(1.0, (step - start) / max(1, steps - start))
    return floor + (1 - floor) * (1 - math.sqrt(progress))


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it is a share between 0 and 1")
