"""What optical flow the actions of a game should cause: a camera that they turn and shift before a scene.

A still scene at distance 1 moves by ``u = xy/f wx - (f + x²/f) wy + y wz - f Tx + x Tz`` pixels to the right and by
``v = (f + y²/f) wx - xy/f wy - x wz - f Ty + y Tz`` pixels down (Longuet-Higgins and Prazdny 1980), where x to the
right, y down and z ahead are the axes of the camera, w its turn and T its shift within a frame, and (x, y) counts from
the middle of the picture. So positive wx looks up and positive wy looks to the right.

Distances are not known: of a shift, believe the direction and not the size. A camera that circles a hero at distance 1
moves the picture as one that turns on the spot does, with another focal length, so that it needs no terms of its own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.checks.action_signals import Signal, signals_of
from hallucade.evaluation.metrics.optical_flow import Flows
from hallucade.shapes import ActionRows

TERMS = 6  # of a motion: turns wx, wy, wz, then shifts Tx, Ty, Tz


@dataclass(frozen=True, kw_only=True)
class CameraMotion(Config):
    """What one signal of the actions does to the camera in a frame, for a value of 1."""

    signal: str  # a control, or "choice=option"
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # radians: up, right, and clockwise
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # distances to the scene: right, down, ahead

    @property
    def terms(self) -> tuple[float, ...]:
        """Turns, then shifts."""
        return (*self.turn, *self.shift)


@dataclass(frozen=True, kw_only=True)
class CameraModel(Config):
    """A game's camera as `hallucade calibrate-flow` finds it.

    Raises:
        ValueError: a length that is not positive, or a signal named twice.
    """

    focal: float  # pixels, in pictures of `frame_size`
    frame_size: tuple[int, int]  # height, width in pixels
    motions: tuple[CameraMotion, ...]
    game: str | None = None
    usual_error: float = 0.0  # pixels: the mean endpoint error of real play
    worst_error: float = 0.0  # pixels: what one in 20 stretches of five pairs of real play exceeds; 0 if unknown

    def __post_init__(self) -> None:
        if not (np.isfinite(self.focal) and self.focal > 0) or min(self.frame_size) < 1:
            raise ValueError(f"focal is {self.focal} in pictures of {self.frame_size}; give positive lengths in pixels")
        names = [motion.signal for motion in self.motions]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the motion of {min(repeated)!r} is given twice; give one a signal")

    def scale_at(self, width: int) -> float:
        """Return how many pixels of pictures of another width are one of `frame_size`."""
        return width / self.frame_size[1]

    def focal_at(self, width: int) -> float:
        """Return the focal length in pixels of pictures of another width, that show as much."""
        return self.focal * self.scale_at(width)

    def expected(self, actions: ActionSpace, rows: ActionRows, frame_size: tuple[int, int]) -> Flows:
        """Return the flow that each of n actions causes, in pictures of `frame_size`.

        Raises:
            ValueError: see `check_game`.
        """
        height, width = frame_size
        basis = flow_basis(height, width, self.focal_at(width))
        return np.einsum("nk,hwdk->nhwd", self.camera_motion(actions, rows), basis).astype(np.float32)

    def camera_motion(self, actions: ActionSpace, rows: ActionRows) -> Float64[np.ndarray, "n 6"]:
        """Return turns and shifts of the camera under each of n actions.

        Raises:
            ValueError: see `check_game`.
        """
        self.check_game(actions)
        signals = {signal.name: signal for signal in signals_of(actions)}
        total = np.zeros((len(rows), TERMS))
        for motion in self.motions:
            total += signals[motion.signal].of(rows)[:, None] * np.array(motion.terms)
        return total

    def check_game(self, actions: ActionSpace) -> None:
        """Refuse the actions of another game.

        Raises:
            ValueError: the model tells of a signal that these actions do not have.
        """
        known = [signal.name for signal in signals_of(actions)]
        for motion in self.motions:
            if motion.signal not in known:
                raise ValueError(
                    f"the camera model moves by {motion.signal!r}, and these actions have {', '.join(known)}; "
                    "calibrate it on a store of this game"
                )


def flow_basis(height: int, width: int, focal: float) -> Float64[np.ndarray, "h w 2 6"]:
    """Return the flow that each term of a camera's motion causes, for a value of 1."""
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    zero = np.zeros_like(x)
    right = [x * y / focal, -(focal + x**2 / focal), y, zero - focal, zero, x]
    down = [focal + y**2 / focal, -x * y / focal, -x, zero, zero - focal, y]
    return np.stack([np.stack(right, -1), np.stack(down, -1)], 2)


def turning_signals(actions: ActionSpace) -> tuple[Signal, ...]:
    """Return the signals that are said to turn the view."""
    return tuple(signal for signal in signals_of(actions) if signal.turns is not None)


def read_camera(path: Path) -> CameraModel:
    """Read what `hallucade calibrate-flow` wrote.

    Raises:
        ValueError: there is no such file, or it is no camera model.
    """
    remedy = "write one with `hallucade calibrate-flow STORE`"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no camera model {path}; {remedy}") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a camera model ({error}); {remedy}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no camera model but a {type(found).__name__}; {remedy}")
    try:
        return CameraModel.from_json(cast("dict[str, Any]", found))
    except ValueError as error:
        raise ValueError(f"{path} is no camera model: {error}; {remedy}") from error
