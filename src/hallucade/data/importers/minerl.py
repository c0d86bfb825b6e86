"""The MineRL data of 2019 to 2021: a folder a trajectory, also in folders by task.

    SRC/v3_some_player-6_203-2056/recording.mp4    64x64, 20 frames a second
                                 /rendered.npz     action$forward, ... `T`, action$camera `T 2` [pitch, yaw], reward `T`
                                 /metadata.json    duration_steps T, true_video_frame_count F, ...

Row i of ``rendered.npz`` leads from state i to state i + 1. The video begins before the trajectory does: its last frame
shows the last state. Positive camera pitch looks down, as everywhere in Minecraft.

Source: minerl/data/pipeline/publish.py and data_pipeline.py of minerllabs/minerl 0.4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from hallucade.actions import ActionSpace
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.file_tree import files_below
from hallucade.data.importers.foreign_json import ForeignModel, parse_json, read_bytes
from hallucade.data.importers.minecraft import minecraft_actions
from hallucade.data.importers.npz import read_npz
from hallucade.data.source import ForeignEpisode, FrameReader, ImporterConfig, Picture, SourceError
from hallucade.data.video import REMEDY, probe, read_video
from hallucade.shapes import ActionRows

BUTTONS = ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack")  # every task of MineRL has them
VIDEO, ARRAYS, METADATA = "recording.mp4", "rendered.npz", "metadata.json"


class Metadata(ForeignModel):
    """What the publisher counted; the oldest releases counted no frames."""

    duration_steps: int | None = None
    true_video_frame_count: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True, kw_only=True)
class MinerlConfig(ImporterConfig):
    """Minecraft played for the MineRL competitions."""

    format: ClassVar[str] = "minerl"
    about: ClassVar[str] = f"MineRL 0.x trajectories: folders with {VIDEO}, {ARRAYS} and {METADATA}"

    buttons: tuple[str, ...] = BUTTONS  # of the action$... arrays that are 0 or 1; some tasks also have use
    frames: Literal["end", "spread"] = "end"  # the video ends with the last state, or is stretched over all states
    max_turn: float = 15.0  # degrees a frame; faster turns are clipped and counted

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder, or one or two folders down, that holds both the video and the arrays."""
        found = (file for depth in ("", "*/", "*/*/") for file in path.glob(depth + ARRAYS))
        first = next(found, None) if path.is_dir() else None
        return first is not None and (first.parent / VIDEO).is_file()

    def build(self) -> "Minerl":
        """List the trajectories."""
        return Minerl(self)


class Minerl:
    """The trajectories of a folder."""

    fps = 20.0
    state_names = ()
    game = None
    origin = "Minecraft played for the MineRL competitions"
    licence = "as the MineRL project says"

    def __init__(self, config: MinerlConfig) -> None:
        self._config, root = config, Path(config.path)
        if not root.is_dir():
            raise SourceError(root, "there is no such folder", "check the path")
        folders = {file.parent for file in files_below(root) if file.name in (VIDEO, ARRAYS)}
        self._folders = {folder.relative_to(root).as_posix(): folder for folder in sorted(folders)}
        if not self._folders:
            raise SourceError(root, f"no folder in it has {VIDEO} or {ARRAYS}", "give the folder of a task")
        self._actions = minecraft_actions(config.buttons, config.max_turn)

    @property
    def actions(self) -> ActionSpace:
        """The buttons that were asked for, and the camera."""
        return self._actions

    @property
    def episodes(self) -> Sequence[str]:
        """The folders' paths, sorted."""
        return tuple(self._folders)

    def read(self, name: str) -> ForeignEpisode:
        """Read one trajectory's actions; its frames are decoded when they are asked for."""
        folder = self._folders[name]
        rows, rewards = self._read_actions(folder / ARRAYS)
        metadata = parse_json(Metadata, read_bytes(folder / METADATA), folder / METADATA)
        if metadata.duration_steps not in (None, len(rows)):
            what = f"duration_steps is {metadata.duration_steps} and {ARRAYS} has {len(rows)} steps: they do not belong"
            raise SourceError(folder / METADATA, what, REMEDY)
        rows, notes = clipped(self._actions, rows)
        count = metadata.true_video_frame_count or probe(folder / VIDEO).frames or 0
        return ForeignEpisode(self._frames(folder / VIDEO, count, len(rows)), rows, rewards, notes=tuple(notes))

    def _read_actions(self, path: Path) -> tuple[ActionRows, Float32[np.ndarray, "n"]]:
        names = [f"action${name}" for name in self._config.buttons]
        arrays = read_npz(path, [*names, "action$camera", "reward"])
        if arrays["reward"].ndim != 1 or len(arrays["reward"]) == 0:
            what = f"reward has shape {arrays['reward'].shape}; it must have one number a step"
            raise SourceError(path, what, "leave the trajectory out")
        steps = len(arrays["reward"])
        for name, array in arrays.items():
            _check(path, name, array, (steps, 2) if name == "action$camera" else (steps,), button=name in names)
        camera = arrays["action$camera"].astype(np.float32)  # pitch down, yaw right
        columns = [*(arrays[name] for name in names), camera[:, 1], -camera[:, 0]]
        return np.stack(columns, 1).astype(np.float32), arrays["reward"].astype(np.float32)

    def _frames(self, video: Path, count: int, steps: int) -> FrameReader:
        """Return the reader of the frames that show states 0 to `steps`, of `count` frames in the video."""
        if self._config.frames == "spread":
            return lambda: _spread(video, count, steps)
        if count <= steps:
            what = f"{count} frames cannot show {steps + 1} states"
            raise SourceError(video, what, "download it again, or stretch such videos over all states: --frames spread")
        return lambda: _last(video, count, steps)


def _last(video: Path, count: int, steps: int) -> Iterator[Picture]:
    """Yield the last `steps` + 1 of `count` frames."""
    number = -1
    for number, frame in enumerate(islice(read_video(video), count)):
        if number >= count - steps - 1:
            yield frame
    if number + 1 < count:
        what = f"{METADATA} counts {count} frames and {number + 1} can be decoded"
        raise SourceError(video, what, REMEDY)


def _spread(video: Path, count: int, steps: int) -> Iterator[Picture]:
    """Yield for each state the frame at the same share of the video."""
    repeats = np.bincount(np.round(np.linspace(0, count - 1, steps + 1)).astype(np.int64), minlength=count)
    for frame, times in zip(read_video(video), repeats, strict=False):
        for _ in range(times):
            yield frame


def _check(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...], button: bool) -> None:
    """Refuse an array that is not what the format says.

    Raises:
        SourceError: names the array and its first wrong value.
    """
    if array.dtype.kind not in "biuf" or array.shape != shape:
        what = f"{name} is {array.dtype} of shape {array.shape}; it must be numbers of shape {shape}"
        raise SourceError(path, what, "leave the trajectory out, or name other --buttons")
    wrong = ~np.isin(array, (0, 1)) if button else ~(np.abs(array) < 1e6)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        what = f"{name} is {array[index]} in step {index[0]}; it must be {'0 or 1' if button else 'a usual number'}"
        raise SourceError(path, what, "leave the trajectory out")
