"""Keys and mouse drawn over a video: which of them are held, and where the mouse moves.

Keys stand at the top left, those of directions where they are on a keyboard, the others in rows below. A mouse or a
stick has a crosshair at the top right, with an arrow as long as it moves far.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from hallucade.actions import DIRECTIONS, ActionSpace, Axis, Choice
from hallucade.data.pictures import enlarge
from hallucade.shapes import FrameArray

KEY = 30  # pixels a side, in a video 640 wide; everything here is in such pixels
MARGIN, GAP, ROUND = 15, 3, 5
RADIUS = 25  # of the crosshair
REACH = 20  # length of the arrow of the farthest movement
SMALLEST = 12  # pixels a side of a key that can still be read
HELD, FREE = (60, 200, 90, 204), (128, 128, 128, 128)  # colour and opacity
INK = (255, 255, 255, 255)
LABELS = {  # of keys whose names are long
    "Space": "sp",
    "Enter": "en",
    "ShiftLeft": "sh",
    "ControlLeft": "ct",
    "Mouse0": "m1",
    "Mouse2": "m2",
    "ArrowUp": "^",
    "ArrowDown": "v",
    "ArrowLeft": "<",
    "ArrowRight": ">",
}
IN_REACH = 4  # keys in a row below those of directions


@dataclass(frozen=True)
class _Key:
    """A key on the screen: what holds it, and where it stands."""

    column: int  # of the action row
    value: float  # that means held
    label: str
    row: int  # from the top, in keys
    place: int  # from the left, in keys


def overlay_controls(
    frames: FrameArray, actions: ActionSpace, rows: Float32[np.ndarray, "n c"], scale: int = 1
) -> UInt8[np.ndarray, "t sh sw 3"]:
    """Enlarge frames and draw over each what was held while it was on screen.

    Args:
        frames: t frames.
        actions: says what the controls are.
        rows: raw action rows; row i belongs to frame i, and frames beyond the last row are left as they are.
        scale: of the frames.
    """
    large = enlarge(frames, scale)
    keys, drawn = tuple(_keys(actions)), dict[bytes, tuple[np.ndarray, np.ndarray]]()
    for frame, row in zip(large, rows, strict=False):
        held = row.tobytes()
        if held not in drawn:
            drawn[held] = _layer(large.shape[2], large.shape[1], actions, keys, row)
        colour, cover = drawn[held]
        frame[:] = (frame * (1 - cover) + colour * cover + 0.5).astype(np.uint8)
    return large


def _keys(actions: ActionSpace) -> Iterator[_Key]:
    """Yield a key for each button and each option that is not idle."""
    others = 0
    taken = set[tuple[int, int]]()
    for column, value, name, keys in _held(actions):
        place = next((spot for key in keys if (spot := _direction(key)) is not None and spot not in taken), None)
        if place is None:
            place = (2 + others // IN_REACH, others % IN_REACH)
            others += 1
        taken.add(place)
        yield _Key(column, value, _label(name, keys), *place)


def _held(actions: ActionSpace) -> Iterator[tuple[int, float, str, tuple[str, ...]]]:
    for column, control in enumerate(actions.controls):
        if isinstance(control, Choice):
            for index, option in enumerate(control.options[1:], 1):
                yield column, float(index), option, control.keys[index] if control.keys else ()
        elif not isinstance(control, Axis):
            yield column, 1.0, control.name, control.keys


def _direction(key: str) -> tuple[int, int] | None:
    """Return row and place of a key of an inverted T."""
    if key not in DIRECTIONS:
        return None
    axis, sign = DIRECTIONS[key]
    return (1, 1 + sign) if axis == "horizontal" else (0 if sign < 0 else 1, 1)


def _label(name: str, keys: tuple[str, ...]) -> str:
    if not keys or "+" in keys[0]:
        return name
    first = keys[0]
    return LABELS.get(first) or first.removeprefix("Key").removeprefix("Digit")


def _layer(
    width: int, height: int, actions: ActionSpace, keys: tuple[_Key, ...], row: Float32[np.ndarray, "c"]
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 1"]]:
    """Return colours, and how much of the frame they cover."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw, unit = ImageDraw.Draw(image), max(width / 640, SMALLEST / KEY)
    font = ImageFont.load_default(max(8, round(KEY * unit / 2.2)))
    for key in keys:
        _draw_key(draw, key, bool(row[key.column] == key.value), unit, font)
    if actions.axes:
        _draw_crosshair(draw, width, _movement(actions, row), unit)
    layer = np.asarray(image, np.float32)
    return layer[..., :3], layer[..., 3:] / 255


def _draw_key(
    draw: ImageDraw.ImageDraw, key: _Key, held: bool, unit: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    side = KEY * unit
    left = (MARGIN + key.place * (KEY + GAP)) * unit
    top = (MARGIN + key.row * (KEY + GAP)) * unit
    draw.rounded_rectangle((left, top, left + side, top + side), ROUND * unit, fill=HELD if held else FREE)
    shown = key.label
    while len(shown) > 1 and draw.textlength(shown, font) > side - 2:
        shown = shown[:-1]
    draw.text((left + side / 2, top + side / 2), shown, INK, font, anchor="mm")


def _movement(actions: ActionSpace, row: Float32[np.ndarray, "c"]) -> tuple[float, float]:
    """Return how far the mouse or stick goes to the right and down, -1 to 1."""
    first = actions.size - len(actions.axes)
    moved = [0.0, 0.0]
    untold = [axis for axis in actions.axes if axis.turns is None]
    for column, axis in enumerate(actions.axes, first):
        share = float(row[column]) / max(abs(axis.low), abs(axis.high))
        match axis.turns:
            case "right" | "left":
                moved[0] += share if axis.turns == "right" else -share
            case "down" | "up":
                moved[1] += share if axis.turns == "down" else -share
            case None if untold.index(axis) < 2:  # the first two of a stick: across, down
                moved[untold.index(axis)] += share
            case _:
                pass
    return float(np.clip(moved[0], -1, 1)), float(np.clip(moved[1], -1, 1))


def _draw_crosshair(draw: ImageDraw.ImageDraw, width: int, moved: tuple[float, float], unit: float) -> None:
    radius, line = RADIUS * unit, max(1, round(unit * 2))
    x, y = width - (MARGIN + RADIUS) * unit, (MARGIN + RADIUS) * unit
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=FREE)
    draw.line((x - radius, y, x + radius, y), (*FREE[:3], 255), line)
    draw.line((x, y - radius, x, y + radius), (*FREE[:3], 255), line)
    dx, dy = (REACH * unit * _visible(share) for share in moved)
    if max(abs(dx), abs(dy)) <= 1:
        return
    tip, length = (x + dx, y + dy), float(np.hypot(dx, dy))
    draw.line((x, y, *tip), (*HELD[:3], 255), line + 1)
    ahead, side = (dx / length * 4 * unit, dy / length * 4 * unit), (-dy / length * 4 * unit, dx / length * 4 * unit)
    corners = [(tip[0] + ahead[0], tip[1] + ahead[1])]
    corners += [(tip[0] + sign * side[0], tip[1] + sign * side[1]) for sign in (-1, 1)]
    draw.polygon(corners, fill=(*HELD[:3], 255))


def _visible(share: float) -> float:
    """Return a share of the reach at which small movements show too: their square root."""
    return float(np.sign(share) * np.sqrt(abs(share)))
