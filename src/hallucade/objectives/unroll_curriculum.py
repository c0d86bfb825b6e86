"""How far training lets a model go on from its own frames: pure functions of the step.

A model that only ever sees true frames has not met its own mistakes, and in a dream it meets nothing else.
"""

import math
from dataclasses import dataclass, replace

from hallucade.config import Config


@dataclass(frozen=True, kw_only=True)
class UnrollRamp(Config):
    """How many frames of a clip's past are the model's own: none, then one more at a time.

    Raises:
        ValueError: negative numbers, or a ramp without a step.
    """

    start: int = 0  # step at which the ramp begins
    steps: int = 3000  # that it takes
    most: int = 8  # frames at its end; 0 for teacher forcing alone

    def __post_init__(self) -> None:
        if self.start < 0 or self.most < 0 or self.steps < 1:
            raise ValueError(
                f"an unroll ramp from step {self.start} to {self.most} frames in {self.steps} steps; start and most "
                "are 0 or more, steps 1 or more"
            )

    def at(self, step: int) -> int:
        """Return the frames of this step."""
        return int(min(max((step - self.start) / self.steps, 0.0), 1.0) * self.most)

    @property
    def full_from(self) -> int:
        """The step from which on there are most."""
        return self.start + self.steps if self.most else 0

    def lasting(self, steps: int, planned: int) -> "UnrollRamp":
        """Return the ramp of a training of `steps` steps in place of `planned`."""
        return replace(self, start=_scaled(self.start, steps, planned), steps=_scaled(self.steps, steps, planned, 1))


@dataclass(frozen=True, kw_only=True)
class ScheduledSampling(Config):
    """How often one of those frames is the true one after all: an inverse sigmoid that falls with the step.

    ``1 / (1 + exp((step - middle) / slope))``, held between two bounds. Source: Bengio et al. 2015, arXiv:1506.03099,
    section 2.4.

    Raises:
        ValueError: bounds that are no shares or cross each other, or a slope that is not positive.
    """

    middle: int = 3000  # step at which it is one half
    slope: float = 1000.0  # steps
    least: float = 0.15
    most: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most <= 1:
            raise ValueError(f"least is {self.least} and most {self.most}; they are shares, the first no larger")
        if self.slope <= 0:
            raise ValueError(f"slope is {self.slope} steps; it is positive: a small one falls at once")

    def at(self, step: int) -> float:
        """Return the share of this step."""
        steepness = min(max((step - self.middle) / self.slope, -50.0), 50.0)  # beyond, the exponential overflows
        return min(max(1 / (1 + math.exp(steepness)), self.least), self.most)

    def lasting(self, steps: int, planned: int) -> "ScheduledSampling":
        """Return the schedule of a training of `steps` steps in place of `planned`."""
        return replace(self, middle=_scaled(self.middle, steps, planned), slope=self.slope * steps / planned)


def _scaled(step: int, steps: int, planned: int, least: int = 0) -> int:
    return max(round(step * steps / planned), least)
