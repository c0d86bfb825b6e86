"""What an evaluation found: numbers, curves and videos, ready for `hallucade.evaluation.report`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from hallucade.shapes import FrameArray

Progress = Callable[[str, float], None]  # (what is running, share of the whole that is done, 0 to 1)


def silent(stage: str, share: float) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Curve:
    """One line of a plot: y at x, of equal length, within `low` and `high` if there is an interval."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), f"curve {self.name!r} has {len(self.x)} x and {len(self.y)} y"
        assert len(self.low) == len(self.high), f"curve {self.name!r} has {len(self.low)} low and {len(self.high)} high"
        assert len(self.low) in (0, len(self.x)), f"the interval of curve {self.name!r} is not as long as the curve"


@dataclass(frozen=True)
class Plot:
    """Curves over one axis, with what a reader needs to judge them."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    caption: str = ""
    target: float | None = None  # drawn as a horizontal line
    log: bool = False  # y on a logarithmic axis
    log_x: bool = False
    section: str = "Over the frames"  # of the report


@dataclass(frozen=True)
class Video:
    """Frames ready to be encoded, see `hallucade.evaluation.comparison_video`."""

    title: str
    frames: FrameArray
    fps: float
    caption: str = ""


@dataclass(frozen=True)
class Still:
    """A picture, pixel for pixel."""

    title: str
    pixels: UInt8[np.ndarray, "h w 3"]
    caption: str = ""
    section: str = "Over the frames"  # of the report


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found.

    A metric that could not be measured is absent; no value is NaN or infinite.
    """

    metrics: Mapping[str, float]
    plots: tuple[Plot, ...] = ()
    videos: tuple[Video, ...] = ()
    protocol: Mapping[str, str] = field(default_factory=dict[str, str])  # seeds, windows and counts, in words
    notes: tuple[str, ...] = ()  # what was not measured and why, and what must not be read into a number
    stills: tuple[Still, ...] = ()

    def joined(self, other: "Evaluation") -> "Evaluation":
        """Return both as one; names must not repeat."""
        repeated = set(self.metrics) & set(other.metrics)
        assert not repeated, f"measured twice: {sorted(repeated)}"
        return Evaluation(
            {**self.metrics, **other.metrics},
            self.plots + other.plots,
            self.videos + other.videos,
            {**self.protocol, **other.protocol},
            self.notes + other.notes,
            self.stills + other.stills,
        )
