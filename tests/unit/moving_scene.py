"""A first-person scene whose motion is known: a panorama that turns, with something painted on the screen."""

from dataclasses import dataclass

import cv2
import numpy as np

from hallucade.actions import ActionSpace, Axis, Button

ACTIONS = ActionSpace(
    buttons=(Button(name="right"), Button(name="fire")),
    axes=(
        Axis(name="yaw", low=-20, high=20, kind="delta", turns="right"),
        Axis(name="pitch", low=-20, high=20, kind="delta", turns="up"),
    ),
)
FIELD = 70  # degrees that a picture is wide


@dataclass(frozen=True)
class Scene:
    """How the scene looks and moves."""

    height: int = 40
    width: int = 56
    painted: float = 0.25  # share of the picture, at the bottom
    noise: float = 3.0  # grey levels
    inertia: float = 0.0  # share of the last frame's motion that goes on
    cuts: tuple[int, ...] = ()  # actions that lead to another place


def play(rng: np.random.Generator, n: int, hold: int = 8) -> np.ndarray:
    """Return n action rows; every control is held for 1 to 2 `hold` - 1 frames at a time."""
    columns = (
        _held(rng, n, hold, lambda: float(rng.random() < 0.3)),
        _held(rng, n, hold, lambda: float(rng.random() < 0.3)),
        _held(rng, n, hold, lambda: rng.choice([0, 0, 1, -1]) * rng.uniform(1, 6)),
        _held(rng, n, hold, lambda: rng.choice([0, 0, 1, -1]) * rng.uniform(1, 3)),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def film(scene: Scene, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the n + 1 frames of some actions, and the view's shift of each pair: right and up, in pixels."""
    sky, painted = _texture(rng), rng.integers(0, 256, (scene.height, scene.width, 3))
    top = round(scene.height * (1 - scene.painted))
    place, speed = np.array([sky.shape[1] / 2, sky.shape[0] / 2]), np.zeros(2)
    frames, shifts = [], np.zeros((len(rows), 2))
    for i in range(len(rows) + 1):
        view = _view(sky, place, scene) + rng.normal(0, scene.noise, (scene.height, scene.width, 3))
        view[top:] = painted[top:]
        frames.append(np.clip(view, 0, 255).astype(np.uint8))
        if i < len(rows):
            strafe = np.array([rows[i, 0], 0])
            speed += (1 - scene.inertia) * (rows[i, 2:] * [1, -1] * scene.width / FIELD + strafe - speed)
            reach = sky.shape[0] - scene.height
            moved = np.array([place[0] + speed[0], np.clip(place[1] + speed[1], scene.height, reach)])
            shifts[i] = (moved - place) * [1, -1]
            place = np.array([rng.uniform(0, sky.shape[1]), place[1]]) if i in scene.cuts else moved
    return np.stack(frames), shifts


def _held(rng: np.random.Generator, n: int, hold: int, draw: object) -> np.ndarray:
    values: list[float] = []
    while len(values) < n:
        values += [draw()] * int(rng.integers(1, 2 * hold))
    return np.array(values[:n])


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Return colours that change over every distance from 2 to 32 pixels, closed all around."""
    total = np.zeros((256, 1024, 3), np.float32)
    for size in (2, 4, 8, 16, 32):
        grain = rng.standard_normal((256 // size, 1024 // size, 3)).astype(np.float32)
        total += cv2.resize(grain, (1024, 256), interpolation=cv2.INTER_CUBIC) * size**0.5
    return total / total.std() * 45 + 128


def _view(sky: np.ndarray, place: np.ndarray, scene: Scene) -> np.ndarray:
    x = (np.arange(scene.width) - scene.width / 2 + place[0]) % sky.shape[1]
    y = np.arange(scene.height) - scene.height / 2 + place[1]
    grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(sky, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
