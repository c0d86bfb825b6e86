"""Where validation dreams start and what is held in them: a fixed set in files, or stretches of held-out play.

    {"data": [{"image": "start.png", "actions": "keys.npy", "frames": 64, "name": "corridor", "truth": "play.mp4"}]}

Paths are relative to the file. `actions` holds raw rows as a .npy array, `truth` the frames that the same actions led
to, the image first.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.episode import Episode
from hallucade.data.video import read_video
from hallucade.rollout import Prompt, World
from hallucade.shapes import ActionRows, FrameArray

DATA = "data"  # the only key of a file


@dataclass(frozen=True, kw_only=True)
class ValidationItem(Config):
    """One entry of a validation file."""

    image: str  # what the dream starts from
    actions: str  # .npy, n x c raw rows: what is held from the image on
    frames: int | None = None  # dreamed; None for one an action
    name: str = ""  # of its videos; by default the image's name
    prompt: str = ""  # what it is, in words, for tools that ask
    truth: str | None = None  # .npy of frames or a video: what really followed


@dataclass(frozen=True)
class ValidationCase:
    """One dream to judge: where it starts, what is held, and what really followed if that is known."""

    name: str
    prompt: Prompt
    rows: ActionRows  # n
    truth: FrameArray | None = None  # the n frames after the prompt
    text: str = ""


def cases_of(episodes: Sequence[Episode], prompt_frames: int, frames: int) -> tuple[ValidationCase, ...]:
    """Return cases of recorded play, of which the first `prompt_frames` frames are the prompt."""
    return tuple(_recorded(f"play_{i:02d}", episode, prompt_frames, frames) for i, episode in enumerate(episodes))


def read_validation_set(path: Path, world: World) -> tuple[ValidationCase, ...]:
    """Read the cases of a file, for dreams of a world.

    Raises:
        ValueError: the file or one that it names is missing or damaged, a key is unknown, a picture has another size
            or an action does not exist; the message names the entry.
    """
    entries, cases = _entries(path), list[ValidationCase]()
    for number, entry in enumerate(entries, 1):
        try:
            case = _case(path.parent, ValidationItem.from_json(entry), world)
        except (ValueError, OSError) as error:
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
            raise ValueError(f"{path}, entry {number}: {reason}") from error
        if case.name in {other.name for other in cases}:
            raise ValueError(f"{path}, entry {number}: the name {case.name!r} is taken; give each a `name` of its own")
        cases.append(case)
    return tuple(cases)


def _entries(path: Path) -> list[dict[str, Any]]:
    shape = f'make it {{"{DATA}": [{{"image": ..., "actions": ...}}]}}'
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no validation file {path}; {shape}") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); {shape}") from error
    if not isinstance(found, dict) or list(cast("dict[str, Any]", found)) != [DATA]:
        raise ValueError(f"{path} is no validation file; {shape}")
    entries = cast("dict[str, Any]", found)[DATA]
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in cast("list[Any]", entries)):
        raise ValueError(f"{path} holds no list of entries; {shape}")
    return cast("list[dict[str, Any]]", entries)


def _case(folder: Path, item: ValidationItem, world: World) -> ValidationCase:
    image = _picture(folder / item.image, world.frame_size)
    rows = _rows(folder / item.actions, world.actions, item.frames)
    stride = world.tokenizer.stride  # a latent is of so many frames: the picture stands still for them
    prompt = Prompt(np.repeat(image[None], stride, 0), np.repeat(world.actions.idle[None], stride - 1, 0))
    truth = None if item.truth is None else _truth(folder / item.truth, world.frame_size, len(rows))
    name = item.name or Path(item.image).stem
    if Path(name).name != name:
        raise ValueError(f"the name {name!r} is no file name; use letters and digits")
    return ValidationCase(name, prompt, rows, truth, item.prompt)


def _picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            picture = np.array(opened.convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"there is no image {path}; paths are relative to the validation file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture that can be read; save it as PNG") from None
    _check_size(path, picture.shape[:2], size)
    return picture


def _rows(path: Path, actions: ActionSpace, frames: int | None) -> ActionRows:
    rows = _array(path, "actions")
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number):
        raise ValueError(f"{path} holds {rows.dtype} of shape {rows.shape}; save a number for each frame and control")
    actions.validate(rows)
    if frames is not None and not 1 <= frames <= len(rows):
        raise ValueError(f"frames is {frames}, and {path} holds {len(rows)} actions; dream 1 to {len(rows)} frames")
    if not len(rows):
        raise ValueError(f"{path} holds no actions; save one a frame")
    return rows[:frames].astype(np.float32)


def _truth(path: Path, size: tuple[int, int], frames: int) -> FrameArray:
    found = _array(path, "truth") if path.suffix == ".npy" else np.stack(list(read_video(path)))
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3:
        raise ValueError(f"{path} holds {found.dtype} of shape {found.shape}; save uint8 frames, t x h x w x 3")
    _check_size(path, found.shape[1:3], size)
    if len(found) <= frames:
        raise ValueError(f"{path} has {len(found)} frames for {frames} actions; give the image and one an action")
    return found[1 : frames + 1]


def _array(path: Path, what: str) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError:
        raise ValueError(f"there are no {what} {path}; paths are relative to the validation file") from None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no plain .npy array ({error}); save one with numpy.save") from error


def _check_size(path: Path, have: tuple[int, ...], want: tuple[int, int]) -> None:
    if tuple(have) != want:
        sizes = "x".join(map(str, have)), "x".join(map(str, want))
        raise ValueError(f"{path} is {sizes[0]} pixels, the model dreams {sizes[1]} (height x width); resize it")


def _recorded(name: str, episode: Episode, prompt_frames: int, frames: int) -> ValidationCase:
    p = prompt_frames
    seen, rows = np.asarray(episode.frames), np.asarray(episode.actions, np.float32)
    prompt = Prompt(np.array(seen[:p]), np.array(rows[: p - 1]))
    return ValidationCase(name, prompt, np.array(rows[p - 1 :][:frames]), np.array(seen[p:][:frames]))
