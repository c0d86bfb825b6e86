"""Pages that are complete in themselves: styles, pictures and videos inside, nothing from elsewhere."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np
from jaxtyping import UInt8

from hallucade.data.pictures import mp4_bytes
from hallucade.shapes import FrameArray

PAGE = Path(__file__).with_name("page.html")  # styles, and the places of title, heading and body


def page(title: str, heading: str, about: Mapping[str, object], sections: Iterable[tuple[str, str]]) -> str:
    """Return a whole page.

    Args:
        title: of the browser's tab.
        heading: above everything.
        about: pairs at the top.
        sections: (title, html); one without html is left out, one without a title has no heading.
    """
    body = "".join(
        f"<section>{f'<h2>{escape(name)}</h2>' if name else ''}{html}</section>" for name, html in sections if html
    )
    template = Template(PAGE.read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), heading=escape(heading), about=pairs(about), body=body)


def pairs(values: Mapping[str, object]) -> str:
    """Return names and values below each other."""
    rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>" if rows else ""


def figure(title: str, caption: str, content: str) -> str:
    """Return a framed figure; `content` is html."""
    return f"<figure><figcaption><b>{escape(title)}</b> {escape(caption)}</figcaption>{content}</figure>"


def video(frames: FrameArray, fps: float) -> str:
    """Return a video that plays by itself, over and over."""
    data = base64.b64encode(mp4_bytes(frames, fps)).decode("ascii")
    source = f'src="data:video/mp4;base64,{data}" width="{frames.shape[2]}"'
    return f"<video {source} autoplay loop muted playsinline controls></video>"


def picture(pixels: UInt8[np.ndarray, "h w 3"], alt: str) -> str:
    """Return a picture, pixel for pixel."""
    _, png = cv2.imencode(".png", pixels[:, :, ::-1])
    data = base64.b64encode(png.tobytes()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" width="{pixels.shape[1]}" alt="{escape(alt)}">'


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException:  # a full disk above all: it needs the room
        part.unlink(missing_ok=True)
        raise
