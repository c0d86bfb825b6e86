"""Gymnasium environments of a few pixels, one for each thing that an adapter must get right."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

HEIGHT, WIDTH = 6, 10
LENGTH = 7  # steps until a `Ticker` ends


class Ticker(gymnasium.Env[Any, Any]):
    """Draws, in its first pixel, the step number, the last action and the seed; all frames are one array."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None, end: str = "terminated", length: int = LENGTH) -> None:
        self.render_mode, self.end, self.length = render_mode, end, length
        self.observation_space = spaces.Dict(
            {
                "eye": spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8),
                "body": spaces.Box(-np.inf, np.inf, (2,)),
                "lamp": spaces.Discrete(3),
            }
        )
        self.action_space = spaces.Discrete(4, start=2)
        self._frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps, self._salt = 0, int(self.np_random.integers(256))
        return self._seen(0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._steps += 1
        over = self._steps == self.length
        info = {"stale_frame": over and self.end == "stale"}
        return self._seen(int(action)), float(self._steps), over and self.end != "truncated", over, info

    def render(self) -> np.ndarray:
        return self._frame

    def _seen(self, action: int) -> dict[str, Any]:
        self._frame[0, 0] = self._steps, action, self._salt
        return {"eye": self._frame, "body": np.array([self._steps, action], np.float32), "lamp": self._steps % 3}


class Forgetful(Ticker):
    """Goes on counting after a reset: what was played before shows."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        before = getattr(self, "_steps", 0)
        super().reset(seed=seed)
        self._steps = before
        return self._seen(0), {}


class Renderer(gymnasium.Env[Any, Any]):
    """Moves a light with a stick; frames are rendered, observations are its place."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> None:
        self.render_mode, self.shape = render_mode, tuple(shape)
        self.observation_space = spaces.Box(-100, 100, (2,))
        self.action_space = spaces.Box(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._place = np.zeros(2, np.float32)
        return self._place.copy(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._place += action
        return self._place.copy(), 1.0, False, False, {}

    def render(self) -> np.ndarray:
        frame = np.zeros(self.shape, np.uint8)
        frame[0, 0] = np.clip(self._place[0] + 100, 0, 255)
        return frame


class Blind(Renderer):
    """Has no pictures at all."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}


for kind in (Ticker, Forgetful, Renderer, Blind):
    gymnasium.register(f"tiny/{kind.__name__}-v0", entry_point=f"{__name__}:{kind.__name__}")
