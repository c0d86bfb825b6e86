"""What an evaluation found: numbers, curves and videos, ready for `hallucade.evaluation.report`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hallucade.shapes import FrameArray

Progress = Callable[[str, float], None]  # (what is running, share of the whole that is done, 0 to 1)


def silent(stage: str, share: float) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Curve:
    """One line of a plot: y at x, of equal length."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), f"curve {self.name!r} has {len(self.x)} x and {len(self.y)} y"


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


@dataclass(frozen=True)
class Video:
    """Frames ready to be encoded, see `hallucade.evaluation.comparison_video`."""

    title: str
    frames: FrameArray
    fps: float
    caption: str = ""


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
        )
