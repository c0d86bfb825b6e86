"""The pictures of one episode of DINO-WM, as tensors in either order or as a video; see `dino_wm`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from hallucade.data.importers.restricted_pickle import load_torch
from hallucade.data.source import FrameReader, Picture, SourceError
from hallucade.data.video import probe, video_frames

COPY_AGAIN = "copy or download it again"


def as_array(content: object) -> np.ndarray | None:
    """Return a tensor, an array, or a list of numbers as an array; None for anything else."""
    if isinstance(content, torch.Tensor):
        return content.detach().numpy() if content.layout == torch.strided and content.dtype != torch.bfloat16 else None
    if isinstance(content, list | tuple):
        parts = cast("list[Any]", content)
        plain = all(isinstance(part, int | float | np.number | torch.Tensor) for part in parts)
        return np.array([_number(part) for part in parts]) if plain and parts else None
    return cast("np.ndarray", content) if isinstance(content, np.ndarray) and content.dtype.kind in "fiu" else None


def video_of(folder: Path, world: str, number: int, length: int) -> FrameReader:
    """Return a reader of the first `length` pictures of an episode.

    Raises:
        SourceError: there is neither a tensor nor a video of it, or a video with fewer pictures.
    """
    if world == "deformable":
        return _tensor_frames(folder / f"{number:06d}" / "obses.pth", length)
    video, tensor = (folder / "obses" / f"episode_{number:03d}{suffix}" for suffix in (".mp4", ".pth"))
    if tensor.exists() or not video.exists():
        return _tensor_frames(video if world == "pusht" and not tensor.exists() else tensor, length)
    declared = probe(video).frames
    if declared is not None and declared < length:
        raise SourceError(video, f"it has {declared} frames and the episode {length} steps", COPY_AGAIN)
    return video_frames(video)


def _tensor_frames(path: Path, length: int) -> FrameReader:
    if not path.exists():
        raise SourceError(path, "there is no such file", "download what is missing")
    return lambda: _frames(path, length)


def _frames(path: Path, length: int) -> Iterator[Picture]:
    """Yield pictures from `t h w 3` or `t 3 h w`, uint8 or whole numbers of 0 to 255 in another type."""
    video = as_array(load_torch(path))
    if video is None or video.ndim != 4 or 3 not in (video.shape[1], video.shape[3]):
        what = "it holds no array" if video is None else f"it is {video.dtype} of shape {video.shape}"
        raise SourceError(path, what, "pictures of shape (t, h, w, 3) or (t, 3, h, w) are needed")
    if len(video) < length:
        raise SourceError(path, f"it has {len(video)} pictures and the episode {length} steps", COPY_AGAIN)
    last = video.shape[3] == 3
    for i in range(length):
        yield _picture(video[i] if last else video[i].transpose(1, 2, 0), i, path)


def _picture(picture: np.ndarray, i: int, path: Path) -> Picture:
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    rounded = np.rint(picture)
    if not (np.isfinite(picture).all() and rounded.min() >= 0 and rounded.max() <= 255 and (rounded == picture).all()):
        what = f"picture {i} has {picture.dtype} values that are no grey levels of 0 to 255"
        raise SourceError(path, what, "save the pictures as uint8")
    return np.ascontiguousarray(rounded.astype(np.uint8))


def _number(part: Any) -> Any:
    return part.item() if isinstance(part, torch.Tensor) and part.numel() == 1 else part
