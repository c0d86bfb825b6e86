"""The pictures on a maze's walls, pillars, floors and ceilings, painted by formulas, and the atlas that holds them.

A texture covers one cell. Every texture is kept at several sizes (mip levels), so that a far wall is drawn from an
averaged picture and does not flicker as the view moves. All repeat seamlessly in both directions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hallucade.games.counter_random import random_bits, uniform

SIDE = 64  # pixels of a texture at level 0, each level has half
LEVELS = 6
BORDER = 2  # repeated pixels around each picture, for bilinear sampling across its edge

Colour = tuple[int, int, int]
Tone = Float64[np.ndarray, "side side"]  # 0 takes a texture's dark colour, 1 its light one
Pixels = Int64[np.ndarray, "side side"]


@dataclass(frozen=True, kw_only=True)
class Texture:
    """A pattern in two colours."""

    pattern: Callable[[Pixels, Pixels], Tone]
    dark: Colour
    light: Colour


def _noise(y: Pixels, x: Pixels, name: int) -> Tone:
    """Return a random number for every distinct (y, x)."""
    return uniform(random_bits(name, y, x))


def _brick(y: Pixels, x: Pixels) -> Tone:
    row = y // 8
    shifted = (x + 8 * (row % 2)) % SIDE
    mortar = (y % 8 == 0) | (shifted % 16 == 0)
    return np.where(mortar, 0.0, 0.55 + 0.4 * _noise(row, shifted // 16, 1) + 0.05 * _noise(y, x, 2))


def _block(y: Pixels, x: Pixels) -> Tone:
    row = y // 16
    shifted = (x + 16 * (row % 2)) % SIDE
    edge = np.minimum(np.minimum(y % 16, 15 - y % 16), np.minimum(shifted % 32, 31 - shifted % 32))
    return np.clip(edge / 3, 0, 1) * (0.5 + 0.35 * _noise(row, shifted // 32, 3) + 0.15 * _noise(y // 2, x // 2, 4))


def _plank(y: Pixels, x: Pixels) -> Tone:
    board = x // 16
    grain = 0.2 * _noise(y // 8, x // 2, 5) + 0.15 * np.sin(2 * np.pi * (y / 32 + _noise(board, board, 6)))
    end = (y + 24 * board) % SIDE < 2  # boards end at different heights, so that looking up and down shows
    return np.clip(np.where((x % 16 < 2) | end, 0.0, 0.5 + 0.3 * _noise(board, board, 7) + grain), 0, 1)


def _check(y: Pixels, x: Pixels) -> Tone:
    return np.where((y // 16 + x // 16) % 2 == 0, 0.15, 0.85) + 0.1 * _noise(y // 4, x // 4, 8)


def _diagonal(y: Pixels, x: Pixels) -> Tone:
    return np.where((x + y) % 32 < 16, 0.1, 0.9) + 0.1 * _noise(y // 2, x // 2, 9)


def _weave(y: Pixels, x: Pixels) -> Tone:
    over = (y // 16 + x // 16) % 2 == 0
    along = np.where(over, y % 16, x % 16)
    return 0.2 + 0.75 * np.sin(np.pi * (along + 0.5) / 16) * (0.85 + 0.15 * _noise(y // 2, x // 2, 10))


def _dots(y: Pixels, x: Pixels) -> Tone:
    return np.where(np.hypot(y % 16 - 7.5, x % 16 - 7.5) < 5, 0.95, 0.2) - 0.15 * _noise(y // 4, x // 4, 11)


def _spiral(y: Pixels, x: Pixels) -> Tone:
    return np.where((2 * x + y) % 32 < 16, 0.0, 1.0)


def _rings(y: Pixels, x: Pixels) -> Tone:
    return np.where((y // 8) % 2 == 0, 0.0, 1.0) * np.where(x % 32 < 16, 1.0, 0.8)


def _disc(y: Pixels, x: Pixels) -> Tone:
    radius = np.hypot(y - 31.5, x - 31.5)
    return np.where((radius < 24) & ~((radius > 10) & (radius < 16)), 1.0, 0.0)


def _diamond(y: Pixels, x: Pixels) -> Tone:
    distance = np.abs(y - 31.5) + np.abs(x - 31.5)
    return np.where((distance < 28) & (distance > 12), 1.0, 0.0)


def _cross(y: Pixels, x: Pixels) -> Tone:
    arms = (np.abs(y - 31.5) < 7) | (np.abs(x - 31.5) < 7)
    return np.where(arms & (np.hypot(y - 31.5, x - 31.5) < 26), 1.0, 0.0)


def _flags(y: Pixels, x: Pixels) -> Tone:
    joint = (y % 32 < 2) | (x % 32 < 2)
    stone = 0.45 + 0.45 * _noise(y // 32, x // 32, 12) + 0.1 * _noise(y // 4, x // 4, 13)
    return np.where(joint, 0.0, stone)


def _lamps(y: Pixels, x: Pixels) -> Tone:
    lamp = (np.abs(y - 31.5) < 10) & (np.abs(x - 31.5) < 10)
    return np.where(lamp, 1.0, np.where((y % 32 < 2) | (x % 32 < 2), 0.0, 0.3 + 0.05 * _noise(y // 4, x // 4, 14)))


WALLS = (
    Texture(pattern=_brick, dark=(70, 40, 35), light=(205, 85, 60)),
    Texture(pattern=_block, dark=(25, 50, 30), light=(110, 190, 95)),
    Texture(pattern=_check, dark=(35, 60, 130), light=(120, 175, 240)),
    Texture(pattern=_plank, dark=(75, 45, 15), light=(225, 170, 85)),
    Texture(pattern=_diagonal, dark=(80, 45, 120), light=(195, 140, 235)),
    Texture(pattern=_weave, dark=(20, 70, 75), light=(110, 225, 215)),
)
EMBLEMS = (  # one a map on a few walls, each unlike every other wall
    Texture(pattern=_disc, dark=(240, 235, 220), light=(215, 30, 40)),
    Texture(pattern=_diamond, dark=(30, 30, 40), light=(255, 215, 40)),
    Texture(pattern=_cross, dark=(245, 245, 245), light=(20, 120, 60)),
    Texture(pattern=_dots, dark=(150, 20, 90), light=(255, 190, 225)),
)
PILLARS = (
    Texture(pattern=_spiral, dark=(225, 30, 35), light=(250, 245, 240)),
    Texture(pattern=_rings, dark=(25, 60, 205), light=(255, 225, 40)),
    Texture(pattern=_spiral, dark=(15, 130, 50), light=(175, 255, 120)),
    Texture(pattern=_rings, dark=(190, 20, 170), light=(90, 240, 250)),
)
FLOORS = (
    Texture(pattern=_flags, dark=(50, 45, 40), light=(150, 140, 125)),
    Texture(pattern=_check, dark=(70, 65, 75), light=(135, 130, 140)),
)
CEILINGS = (
    Texture(pattern=_lamps, dark=(40, 40, 50), light=(255, 245, 215)),
    Texture(pattern=_plank, dark=(45, 35, 30), light=(120, 95, 75)),
)
TEXTURES = (*WALLS, *EMBLEMS, *PILLARS, *FLOORS, *CEILINGS)
FIRST_EMBLEM = len(WALLS)
FIRST_PILLAR = FIRST_EMBLEM + len(EMBLEMS)
FIRST_FLOOR = FIRST_PILLAR + len(PILLARS)
FIRST_CEILING = FIRST_FLOOR + len(FLOORS)


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Every texture at every level in one image, and where each lies in it.

    The point (u, v) in [0, 1]^2 of texture k at level l is at ``left[k] + u * side[l]``, ``top[l] + v * side[l]``.
    """

    image: Float32[np.ndarray, "height width 3"]
    left: Float32[np.ndarray, "k"]
    top: Float32[np.ndarray, "l"]
    side: Float32[np.ndarray, "l"]


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Paint the atlas: a column a texture, a row a level."""
    side = SIDE >> np.arange(LEVELS)
    first = BORDER + np.concatenate([[0], np.cumsum(side + 2 * BORDER)])
    column = SIDE + 2 * BORDER
    image = np.zeros((first[-1] - BORDER, column * len(TEXTURES), 3), np.float32)
    for k, texture in enumerate(TEXTURES):
        picture = _paint(texture)
        for level in range(LEVELS):
            framed = np.pad(picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="wrap")
            top, left = first[level] - BORDER, k * column
            image[top : top + len(framed), left : left + len(framed)] = framed
            picture = (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2]) / 4
    left = BORDER + column * np.arange(len(TEXTURES)) - 0.5  # a pixel's centre is at a whole number
    return Atlas(
        image=image,
        left=left.astype(np.float32),
        top=(first[:-1] - 0.5).astype(np.float32),
        side=side.astype(np.float32),
    )


def _paint(texture: Texture) -> Float32[np.ndarray, "side side 3"]:
    y, x = np.indices((SIDE, SIDE))
    dark, light = np.array(texture.dark, np.float64), np.array(texture.light, np.float64)
    tone = np.clip(texture.pattern(y, x), 0, 1)[..., None]
    return (dark + tone * (light - dark)).astype(np.float32)
