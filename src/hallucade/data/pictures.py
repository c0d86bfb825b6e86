"""Pictures and videos of play: contact sheets, pressed controls, rows to compare, PNG and MP4.

Everything is uint8 RGB; frames are enlarged by whole factors without smoothing, so that a pixel stays a pixel.
"""

import io
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from hallucade.actions import ActionSpace
from hallucade.shapes import FrameArray

Picture = UInt8[np.ndarray, "h w 3"]

GAP = 2  # pixels between pictures
PAPER = (56, 56, 64)
INK = (236, 236, 236)
TEXT_HEIGHT = 14  # pixels of a line of text, with its margins
ARROWS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}  # control names that are drawn as arrows
NO_FRAMES = "a video of no frames; pass one or more"
CRF = 8  # x264's quality: 0 is lossless, 23 its default; 8 leaves no visible ringing around enlarged pixels


def enlarge(frames: UInt8[np.ndarray, "*t h w 3"], scale: int) -> UInt8[np.ndarray, "*t sh sw 3"]:
    """Repeat every pixel `scale` times both ways."""
    if scale < 1:
        raise ValueError(f"scale is {scale}; it must be 1 or more")
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


def contact_sheet(frames: FrameArray, columns: int = 8, scale: int = 1) -> UInt8[np.ndarray, "sh sw 3"]:
    """Lay frames out in rows, in reading order."""
    if columns < 1:
        raise ValueError(f"{columns} columns; use 1 or more")
    large = enlarge(frames, scale)
    t, h, w, _ = large.shape
    columns = min(columns, max(t, 1))
    rows = -(-t // columns)
    sheet = _paper(rows * (h + GAP) - GAP, columns * (w + GAP) - GAP)
    for i, frame in enumerate(large):
        top, left = i // columns * (h + GAP), i % columns * (w + GAP)
        sheet[top : top + h, left : left + w] = frame
    return sheet


def overlay_keys(
    frames: FrameArray, actions: ActionSpace, rows: Float32[np.ndarray, "n c"], scale: int = 1
) -> UInt8[np.ndarray, "t sh sw 3"]:
    """Enlarge frames and write under each what was held while it was on screen: arrows for directions, else names.

    Args:
        frames: t frames.
        actions: names the controls.
        rows: raw action rows, t or t - 1: no action may follow the last frame.
        scale: of the frames; the text keeps its size.
    """
    t = len(frames)
    if len(rows) not in (t, t - 1):
        raise ValueError(f"{len(rows)} action rows for {t} frames; pass {t - 1} or {t}")
    large = enlarge(frames, scale)
    strips = {row.tobytes(): _strip(large.shape[2], actions.keys_of(row)) for row in rows}
    idle = _strip(large.shape[2], ())
    under = [strips[row.tobytes()] for row in rows] + [idle] * (t - len(rows))
    return np.concatenate([large, np.stack(under)], axis=1)


def stack_rows(rows: Mapping[str, UInt8[np.ndarray, "t _h _w 3"]]) -> UInt8[np.ndarray, "t sh sw 3"]:
    """Put videos under each other, each below its name: ``stack_rows({"real": a, "dream": b})``.

    Raises:
        ValueError: none, or videos of different lengths.
    """
    lengths = {name: len(frames) for name, frames in rows.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"rows have lengths {lengths}; pass one or more, cut to the same length")
    width = max(frames.shape[2] for frames in rows.values())
    t = next(iter(lengths.values()))
    parts: list[np.ndarray] = []
    for name, frames in rows.items():
        title = _titled(width, name)
        parts.append(np.broadcast_to(title, (t, *title.shape)))
        parts.append(_widened(frames, width))
    return np.concatenate(parts, axis=1)


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write one picture."""
    Image.fromarray(picture).save(path, format="PNG")


def write_video(path: str | os.PathLike[str], frames: Iterable[Picture], fps: float, scale: int = 1) -> None:
    """Write frames as the file's ending says: .mp4, or .gif for places that show no video.

    Frames are taken one at a time and not kept: a dream of any length can be written while it is dreamed.

    Raises:
        ValueError: another ending, or no frames.
    """
    match Path(path).suffix.lower():
        case ".mp4":
            write_mp4(path, frames, fps, scale)
        case ".gif":
            write_gif(path, frames, fps, scale)
        case other:
            raise ValueError(f"cannot write a video as {other or 'a file without ending'!r}; name it .mp4 or .gif")


def write_gif(path: str | os.PathLike[str], frames: Iterable[Picture], fps: float, scale: int = 1) -> None:
    """Write an endless animation; GIF counts hundredths of a second, so 30 fps plays as 33.

    Raises:
        ValueError: no frames.
    """
    pictures = (Image.fromarray(enlarge(frame, scale)).quantize(64, dither=Image.Dither.NONE) for frame in frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(NO_FRAMES)
    pause = 10 * max(2, round(100 / fps))  # milliseconds; browsers slow down what asks for less than 20
    with _whole(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=pictures, duration=pause, loop=0)


def write_mp4(path: str | os.PathLike[str], frames: Iterable[Picture], fps: float, scale: int = 1) -> None:
    """Write a video that browsers play: H.264, yuv420p; frames are taken one at a time and not kept.

    Raises:
        ValueError: no frames.
    """
    with _whole(path) as file:
        _encode_mp4(file, frames, fps, scale)


def mp4_bytes(frames: Iterable[Picture], fps: float, scale: int = 1) -> bytes:
    """Return a video that browsers play.

    Raises:
        ValueError: no frames.
    """
    buffer = io.BytesIO()
    _encode_mp4(buffer, frames, fps, scale)
    return buffer.getvalue()


def _encode_mp4(target: BinaryIO | io.BytesIO, frames: Iterable[Picture], fps: float, scale: int) -> None:
    """Encode a video; odd sizes repeat their last row or column, as yuv420p needs even ones."""
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(NO_FRAMES)
    h, w = first.shape[0] * scale, first.shape[1] * scale
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = w + w % 2, h + h % 2, "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "veryfast", "tune": "animation"}
        for frame in chain((first,), pictures):
            large = np.pad(enlarge(frame, scale), ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def _whole(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Open a file to write that replaces what is there once it is whole, and leaves nothing if it never is."""
    part = Path(path).with_name(Path(path).name + ".part")
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _paper(height: int, width: int) -> Picture:
    return np.full((max(height, 1), max(width, 1), 3), PAPER, np.uint8)


def _titled(width: int, text: str) -> Picture:
    """Return a line of text on paper, cut at `width`."""
    image = Image.new("RGB", (width, TEXT_HEIGHT), PAPER)
    ImageDraw.Draw(image).text((2, TEXT_HEIGHT // 2), text, INK, ImageFont.load_default(10), anchor="lm")
    return np.array(image)


def _strip(width: int, held: tuple[str, ...]) -> Picture:
    """Draw the held controls side by side."""
    image = Image.new("RGB", (width, TEXT_HEIGHT), PAPER)
    draw, font, left = ImageDraw.Draw(image), ImageFont.load_default(10), 2.0
    for name in held:
        if name in ARROWS:
            draw.polygon(_arrow(left, *ARROWS[name]), fill=INK)
            left += TEXT_HEIGHT
        else:
            draw.text((left, TEXT_HEIGHT // 2), name, INK, font, anchor="lm")
            left += draw.textlength(name, font) + 4
    return np.array(image)


def _arrow(left: float, dx: int, dy: int) -> list[tuple[float, float]]:
    """Return the corners of an arrow head that points along (dx, dy)."""
    size, x, y = TEXT_HEIGHT / 2 - 2, left + TEXT_HEIGHT / 2 - 2, TEXT_HEIGHT / 2
    tip = (x + dx * size, y + dy * size)
    base = [(x - dx * size + side * dy * size, y - dy * size + side * dx * size) for side in (-1, 1)]
    return [tip, *base]


def _widened(frames: FrameArray, width: int) -> UInt8[np.ndarray, "t h sw 3"]:
    t, h, w, _ = frames.shape
    wide = np.broadcast_to(_paper(h, width), (t, h, width, 3)).copy()
    wide[:, :, :w] = frames
    return wide
