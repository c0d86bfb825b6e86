"""An mp4 that grows frame by frame and holds many episodes end to end."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from hallucade.data.source import Picture

GROUP = 2  # frames from one key frame to the next: a reader that jumps decodes at most two


class Film:
    """A video file that is being written, in H.264 without reordered frames.

    Args:
        path: of the file.
        size: height, width; odd ones are kept in 4:4:4, which not every browser plays.
        fps: frames a second.
        crf: quality, 0 (large) to 51 (coarse).
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float, crf: int) -> None:
        self._path = Path(path)
        rate = Fraction(fps).limit_denominator(1001)
        self._container = av.open(os.fspath(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = pixel_format(size)
        self._stream.options = {"crf": str(crf), "g": str(GROUP), "bf": "0"}
        self.frames = 0

    @property
    def size(self) -> int:
        """Bytes on the disk so far; the encoder keeps the last frames back."""
        return self._path.stat().st_size

    def add(self, frame: Picture, *, first: bool) -> None:
        """Append a frame; the first one of an episode is a key frame, so that a reader can start there."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self.frames
        if first:
            picture.pict_type = PictureType.I
        self._mux(picture)
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._mux(None)
        self._container.close()

    def abandon(self) -> None:
        """Let go of a file that could not be written."""
        self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        self._container.mux(self._stream.encode(picture))


def pixel_format(size: tuple[int, int]) -> str:
    """Return how the colours of frames of `size` are kept: with a quarter of them where both sides are even."""
    return "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
