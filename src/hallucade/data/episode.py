"""One episode of recorded play."""

from dataclasses import dataclass, field

import numpy as np

from hallucade.shapes import ActionRows, FrameArray


@dataclass(frozen=True)
class Episode:
    """n + 1 frames joined by n actions, with what else was recorded.

    Raises:
        ValueError: columns whose lengths do not fit each other.
    """

    frames: FrameArray  # n + 1 frames
    actions: ActionRows  # n raw action rows; row i is held while frame i is on screen and leads to frame i + 1
    rewards: np.ndarray | None = None  # float32 `n`
    state: np.ndarray | None = None  # simulator state, float64 `n+1 s`
    extras: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])  # n + 1 rows each

    def __post_init__(self) -> None:
        n = len(self.actions)
        wanted = {"frames": (self.frames, n + 1), "rewards": (self.rewards, n), "state": (self.state, n + 1)}
        wanted |= {f"extras[{k!r}]": (v, n + 1) for k, v in self.extras.items()}
        for name, (column, length) in wanted.items():
            if column is not None and len(column) != length:
                raise ValueError(f"episode has {n} actions, so {name} needs {length} rows; it has {len(column)}")
