"""Videos as frames: read with PyAV, one frame after the other, in RGB, the way up that a player shows them."""

import os
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
        decoded, ended = 0, True
        for frame in _decode(container, stream, path):
            time = float((frame.pts or 0) * (frame.time_base or Fraction(0))) if start > 0 or stop is not None else 0.0
            if stop is not None and time >= stop - slack:
                ended = False
                break
            if time >= start - slack or start <= 0:
                decoded += 1
                yield upright(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame.rotation)
        declared = stream.frames
        if ended and start <= 0 and declared and decoded < declared:
            what = f"the file declares {declared} frames and only {decoded} can be decoded: it is cut short"
            raise SourceError(path, what, REMEDY)
        if decoded == 0:
            raise SourceError(path, f"there is no frame from second {start:g} on", REMEDY)


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
        raise SourceError(path, f"this is no video that can be read ({error.strerror})", REMEDY) from error
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "check its permissions") from error


def _stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise SourceError(path, "the file has no video in it", "give a file with pictures")
    stream = container.streams.video[0]
    if cast("Any", stream).codec_context is None:  # a header that ends before it names the codec
        raise SourceError(path, "the video's header is cut short", REMEDY)
    return stream


def _decode(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    number = 0
    try:
        for frame in container.decode(stream):
            yield frame
            number += 1
    except av.error.FFmpegError as error:
        raise SourceError(path, f"the video is damaged after frame {number} ({error.strerror})", REMEDY) from error
