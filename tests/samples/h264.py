"""Videos for samples: the same bytes from the same frames.

x264's macroblock tree, which its presets switch on, gives other bytes from run to run: its assembly reads memory that
nobody wrote.
"""

from fractions import Fraction
from pathlib import Path

import av
from jaxtyping import UInt8
from numpy import ndarray


def write_h264(path: Path, frames: UInt8[ndarray, "t h w 3"], fps: float) -> None:
    """Write frames of even height and width as H.264 in yuv420p, in groups of a second as games' recorders do."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {"crf": "12", "preset": "veryfast", "g": str(round(fps)), "x264-params": "mbtree=0:threads=1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
