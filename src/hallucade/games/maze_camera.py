"""The first-person view of a maze: one ray a column of pixels, then textures by bilinear sampling.

A pinhole camera with square pixels. Looking up or down shifts the picture by ``focal * tan(pitch)`` (a shifted lens, as
in the ray casters of the nineties): the centre of the view is exact at every pitch and upright walls stay upright.
Wall and floor are blended where their edge crosses a pixel, and columns are cast twice as dense as they are shown, so
that a turn of a fraction of a degree shows everywhere.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from hallucade.games.maze_map import MazeMap
from hallucade.games.maze_rays import Hits, cast
from hallucade.games.maze_textures import LEVELS, atlas

EYE = 0.5  # height of the eye; walls are 1 high, so what is above the horizon mirrors what is below
HAZE = (14.0, 16.0, 26.0)  # colour of what is far
CLEAR = 5.0  # cells after which half of the light is lost
CHUNK_PIXELS = 2**17  # drawn at a time: more would leave the processor's cache, fewer cost a call each
NEAREST_ROW = 0.25  # pixels from the horizon: closer, the floor would be infinitely far


class Camera:
    """Draws views of `height` x `width` pixels, `field` degrees wide.

    Attributes:
        focal: distance of the picture from the eye in pixels; a small turn moves the centre by focal * angle.
    """

    def __init__(self, height: int, width: int, field: float, samples: int) -> None:
        self.height, self.width = height, width
        self.focal = width / (2 * math.tan(math.radians(field) / 2))
        columns = np.arange(width) + (np.arange(samples)[:, None] + 0.5) / samples
        self._asides = (columns - width / 2) / self.focal  # sideways part of each ray, per unit ahead: samples x width
        self._rows = (np.arange(height) + 0.5).astype(np.float32)
        self._canvas = _Canvas(max(1, CHUNK_PIXELS // (height * width)), height, width)

    def draw(
        self,
        maps: MazeMap,
        game_map: Int64[np.ndarray, "n"],
        pose: Float64[np.ndarray, "4 n"],
        out: UInt8[np.ndarray, "n h w 3"],
    ) -> None:
        """Draw n views into `out`; `pose` is x, y in cells and yaw, pitch in degrees."""
        for start in range(0, len(out), self._canvas.views):
            part = slice(start, start + self._canvas.views)
            out[part] = self._views(maps, game_map[part], pose[:, part])

    def _views(
        self, maps: MazeMap, game_map: Int64[np.ndarray, "n"], pose: Float64[np.ndarray, "4 n"]
    ) -> Float32[np.ndarray, "n h w 3"]:
        """Return up to a canvas of views, which the next call overwrites."""
        x, y, yaw, pitch = pose
        ahead_x, ahead_y = np.cos(np.radians(yaw))[:, None], np.sin(np.radians(yaw))[:, None]
        horizon = self.height / 2 + self.focal * np.tan(np.radians(pitch))
        below = self._rows - horizon.astype(np.float32)[:, None]  # n h, pixels under the horizon
        self._canvas.clear(len(x))
        floor_share = np.ones((*below.shape, self.width), np.float32)
        for aside in self._asides:
            hits = cast(maps, game_map, x, y, ahead_x - aside * ahead_y, ahead_y + aside * ahead_x)
            upright = (self.focal * EYE / hits.depth).astype(np.float32)[:, None]  # n 1 w: half a wall in pixels
            share = np.clip(upright + 0.5 - np.abs(below)[..., None], 0, 1) / len(self._asides)
            floor_share -= share
            distance = hits.depth * np.sqrt(1 + aside**2)
            share *= (hits.light / (1 + (distance / CLEAR) ** 2)).astype(np.float32)[:, None]
            self._canvas.add(*self._on_wall(hits, upright, below), light=share)
        flat = _Flat(self.focal, below, maps.floor[game_map], maps.ceiling[game_map])
        aside = self._asides.mean(0)
        floor_share *= flat.light(aside.astype(np.float32))
        rays = ahead_x - aside * ahead_y, ahead_y + aside * ahead_x
        self._canvas.add(*flat.places(x, y, *(ray.astype(np.float32) for ray in rays)), light=floor_share)
        return self._canvas.picture()

    def _on_wall(
        self, hits: Hits, upright: Float32[np.ndarray, "n 1 w"], below: Float32[np.ndarray, "n h"]
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, "n h w"]]:
        """Return each pixel's x and y in the atlas, at the level where it is about one pixel of the texture."""
        pictures = atlas()
        texels = pictures.side[0] * hits.depth / self.focal  # a pixel's height on the wall
        level = _level(texels * np.sqrt(np.maximum(hits.stretch / len(self._asides), 1)))
        side = pictures.side[level].astype(np.float32)
        atlas_x = pictures.left[hits.texture] + hits.across.astype(np.float32) * side
        slope = (side / 2)[:, None] / upright
        atlas_y = slope * below[..., None]
        atlas_y += (pictures.top[level] + side / 2)[:, None]
        return np.broadcast_to(atlas_x[:, None], atlas_y.shape), atlas_y


class _Canvas:
    """Adds up light in memory that it keeps: asking the system for fresh memory takes as long as drawing."""

    def __init__(self, views: int, height: int, width: int) -> None:
        self.views = views
        self._haze = np.tile(np.array(HAZE, np.float32) + 0.5, width)
        self._memory = np.empty((3, views * height, width, 3), np.float32)
        self._shape = (-1, height, width, 3)

    def clear(self, views: int) -> None:
        """Begin so many pictures with haze alone."""
        rows = views * self._shape[1]
        self._sum, self._sampled, self._light = self._memory[:, :rows]
        self._sum.reshape(rows, -1)[:] = self._haze

    def add(
        self, x: Float32[np.ndarray, "n h w"], y: Float32[np.ndarray, "n h w"], light: Float32[np.ndarray, "n h w"]
    ) -> None:
        """Add what the atlas shows at (x, y), between its pixels too, times `light`."""
        rows = self._sum.shape[:2]
        cv2.remap(atlas().image, x.reshape(rows), y.reshape(rows), cv2.INTER_LINEAR, dst=self._sampled)
        # Written out three times, because numpy is slow at a last axis of 3.
        cv2.cvtColor(light.reshape(rows), cv2.COLOR_GRAY2BGR, dst=self._light)
        self._sampled *= self._light
        self._sum += self._sampled

    def picture(self) -> Float32[np.ndarray, "n h w 3"]:
        """Return the sums, to be cut to whole numbers: a half is in them."""
        return np.minimum(self._sum, 255, out=self._sum).reshape(self._shape)


class _Flat:
    """Floor and ceiling: what every row of pixels would show if there were no walls."""

    def __init__(
        self,
        focal: float,
        below: Float32[np.ndarray, "n h"],
        floor: Int64[np.ndarray, "n"],
        ceiling: Int64[np.ndarray, "n"],
    ) -> None:
        pictures = atlas()
        self._depth = (focal * EYE / np.maximum(np.abs(below), NEAREST_ROW)).astype(np.float32)  # n h
        texture = np.where(below > 0, floor[:, None], ceiling[:, None])
        texels = pictures.side[0] * self._depth / focal
        level = _level(texels * np.sqrt(np.maximum(self._depth / EYE, 1)))
        self._side = pictures.side[level][..., None]
        self._left, self._top = pictures.left[texture][..., None], pictures.top[level][..., None]

    def places(
        self,
        x: Float64[np.ndarray, "n"],
        y: Float64[np.ndarray, "n"],
        ray_x: Float32[np.ndarray, "n w"],
        ray_y: Float32[np.ndarray, "n w"],
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, "n h w"]]:
        """Return x and y in the atlas of where the ray of every pixel meets the floor or the ceiling."""
        return self._place(x, ray_x, self._left), self._place(y, ray_y, self._top)

    def light(self, aside: Float32[np.ndarray, "w"]) -> Float32[np.ndarray, "n h w"]:
        """Return the light that is left of every pixel, by its true distance."""
        squared = (self._depth / CLEAR) ** 2
        light = squared[..., None] * (1 + aside**2)
        light += 1
        return np.reciprocal(light, out=light)

    def _place(
        self, start: Float64[np.ndarray, "n"], ray: Float32[np.ndarray, "n w"], first: Float32[np.ndarray, "n h 1"]
    ) -> Float32[np.ndarray, "n h w"]:
        """Return one coordinate in the atlas of every pixel: textures repeat in every cell."""
        place = self._depth[..., None] * ray[:, None]
        place += start.astype(np.float32)[:, None, None]
        place -= np.floor(place)
        place *= self._side
        place += first
        return place


def _level(texels: np.ndarray) -> Int64[np.ndarray, "..."]:
    """Return the level at which a pixel that covers so many texels of level 0 covers about one."""
    return np.clip(np.rint(np.log2(np.maximum(texels, 1))), 0, LEVELS - 1).astype(np.int64)
