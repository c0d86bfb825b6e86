"""Videos as frames: read with PyAV, one frame after the other, in RGB, the way up that a player shows them."""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import Float64, UInt8

from hallucade.data.source import FrameReader, Picture, SourceError

REMEDY = "copy or download it again"
CUT = "the file is cut short: its index is missing or incomplete"
SLACK = 1.0  # seconds by which a last frame may come before the end that a file declares
THREADS = 2  # of one decoder: more do not help at these sizes, and episodes are read side by side


@dataclass(frozen=True)
class VideoFacts:
    """What a video file says of itself."""

    size: tuple[int, int]  # height, width in pixels, before any turn that the file asks for
    fps: float  # on average
    frames: int | None  # as declared; None if the file does not say


def probe(path: str | os.PathLike[str]) -> VideoFacts:
    """Read a video's header.

    Raises:
        SourceError: the file is missing, empty, or no video.
    """
    with _open(Path(path)) as container:
        stream = _stream(container, Path(path))
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise SourceError(path, "the video does not say how many frames a second it has", REMEDY)
        height, width = stream.codec_context.height, stream.codec_context.width
        return VideoFacts((height, width), float(rate), stream.frames or None)


def frame_times(path: str | os.PathLike[str]) -> Float64[np.ndarray, "f"]:
    """Return when each frame is shown, in seconds from the first one, without decoding any.

    Where frames are stored that are never shown, there are more times than frames.

    Raises:
        SourceError: the file is missing, empty, no video, or damaged.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _stream(container, path)
        try:
            stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        except av.error.FFmpegError as error:
            raise SourceError(path, f"the video is damaged ({error.strerror})", REMEDY) from error
        ticks = np.sort(np.array(stamps, np.int64))
        return (ticks - ticks[:1]) * float(stream.time_base or 1)


def read_video(path: str | os.PathLike[str], start: float = 0.0, stop: float | None = None) -> Iterator[Picture]:
    """Yield the frames whose time is from `start` to before `stop`, in seconds, in RGB.

    Times are the file's own, as a player would show them, and half a frame of rounding is forgiven. A picture that a
    phone has filmed on its side is turned upright, as its file asks.

    Raises:
        SourceError: the file is missing, empty, no video, damaged, or cut short.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _stream(container, path)
        stream.codec_context.thread_count = THREADS
        stream.thread_type = "AUTO"
        slack = 0.5 / float(stream.average_rate or stream.guessed_rate or 1000)
        if start > 0:
            assert stream.time_base is not None
            container.seek(int((start - slack) / stream.time_base), stream=stream)
        decoded, ended, time = 0, True, 0.0
        for frame in _decode(container, stream, path):
            time = float((frame.pts or 0) * (frame.time_base or Fraction(0)))
            if stop is not None and time >= stop - slack:
                ended = False
                break
            if time >= start - slack or start <= 0:
                decoded += 1
                yield upright(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame.rotation)
        if ended and start <= 0 and (missing := _missing(stream, decoded, time)):
            raise SourceError(path, f"{missing}: it is cut short", REMEDY)
        if decoded == 0:
            what = f"there is no frame from second {start:g} on" if start > 0 else "there is no whole frame in it"
            raise SourceError(path, what, REMEDY)


def upright(picture: Picture, degrees: int) -> UInt8[np.ndarray, "uh uw 3"]:
    """Turn a picture by the next quarter of `degrees`, counted against the clock."""
    quarters = round(degrees / 90) % 4
    return picture if quarters == 0 else np.ascontiguousarray(np.rot90(picture, quarters))


def video_frames(path: str | os.PathLike[str], start: float = 0.0, stop: float | None = None) -> FrameReader:
    """Return a reader of the frames of a video, for `ForeignEpisode`; see `read_video`."""
    return lambda: read_video(path, start, stop)


def _open(path: Path) -> InputContainer:
    try:
        if path.stat().st_size == 0:
            raise SourceError(path, "the file is empty", REMEDY)
        return av.open(os.fspath(path))
    except FileNotFoundError:
        raise SourceError(path, "there is no such file", "check the path, or download what is missing") from None
    except av.error.FFmpegError as error:
        cut = _is_cut(path) or isinstance(error, av.error.EOFError)
        what = CUT if cut else f"this is no video that can be read ({error.strerror})"
        raise SourceError(path, what, REMEDY) from error
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "check its permissions") from error


def _stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        if _is_cut(path):
            raise SourceError(path, CUT, REMEDY)
        raise SourceError(path, "the file has no video in it", "give a file with pictures")
    stream = container.streams.video[0]
    if cast("Any", stream).codec_context is None:  # a header that ends before it names the codec
        raise SourceError(path, CUT, REMEDY)
    return stream


def _is_cut(path: Path) -> bool:
    """Say whether a file is an MP4 or MOV that ends inside one of its boxes, or before its index, the box "moov".

    Recorders write the index last, so a recording that was stopped hard or a download that broke off has none.
    """
    kinds, place, size = list[bytes](), 0, path.stat().st_size
    with path.open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            length, kind, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            kinds.append(kind)
            place += size - place if length == 0 else max(8, long if length == 1 else length)
    return kinds[:1] == [b"ftyp"] and (place != size or b"moov" not in kinds)


def _missing(stream: VideoStream, decoded: int, last: float) -> str | None:
    """Say what the file declares beyond the frames that were decoded, the last of them at second `last`."""
    if stream.frames:
        short = f"the file declares {stream.frames} frames and only {decoded} can be decoded"
        return short if decoded < stream.frames else None
    length = _seconds(stream.metadata.get("DURATION", ""))  # Matroska and WebM count no frames
    return f"the file lasts {length:g} seconds and its last frame is at {last:g}" if last < length - SLACK else None


def _seconds(clock: str) -> float:
    """Return "00:01:02.500" in seconds; 0 where it is no time."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", clock)
    return 0.0 if match is None else 3600 * float(match[1]) + 60 * float(match[2]) + float(match[3])


def _decode(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    number = 0
    try:
        for frame in container.decode(stream):
            yield frame
            number += 1
    except av.error.FFmpegError as error:
        raise SourceError(path, f"the video is damaged after frame {number} ({error.strerror})", REMEDY) from error
