"""FastvideoWorldModel-MC: Minecraft episodes of FastVideo's recorder, from which its Matrix-Game data is cut.

    SRC/.../episode_000/manifest.json       fps, image_size_hw, action_nvec
    SRC/.../episode_000/video.mp4           f frames
    SRC/.../episode_000/data.npz            actions `f d`, positions `f 3`, yaws `f`, pitches `f` (degrees, + is down)
    SRC/.../episode_000/mg/mg_actions.json  {"0": {"action", "move_action": "WA", "view_action": "up_right"}, ...}

Entry i's keys lead from frame i to frame i + 1; its view is the turn from frame i - 1 to frame i, one step late. Turns
are therefore taken from the angles of ``data.npz``, and where that is missing from the view of the entry after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field, RootModel, ValidationError

from hallucade.actions import ActionSpace
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.foreign_json import ForeignModel, parse_json, read_bytes
from hallucade.data.importers.minecraft import STATE_NAMES, minecraft_actions
from hallucade.data.importers.npz import read_npz
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import REMEDY, video_frames

MOVES = {"W": "forward", "S": "back", "A": "left", "D": "right"}
ACTIONS = Path("mg/mg_actions.json")
Turn = Literal["", "up", "down", "left", "right", "up_left", "up_right", "down_left", "down_right"]


@dataclass(frozen=True, kw_only=True)
class WorldModelMinecraftConfig(ImporterConfig):
    """Folders episode_* of FastvideoWorldModel-MC.

    Raises:
        ValueError: a turn that is not positive.
    """

    format: ClassVar[str] = "worldmodel-mc"
    about: ClassVar[str] = (
        "FastvideoWorldModel-MC: episode_*/ with manifest.json, video.mp4, mg/mg_actions.json, data.npz"
    )

    max_turn: float = 15.0  # degrees a frame; beyond is clipped
    step: float = 0.5  # degrees a frame that a turn counts for where data.npz is missing; nominal

    def __post_init__(self) -> None:
        if not 0 < self.step <= self.max_turn:
            raise ValueError(f"step is {self.step} and max_turn {self.max_turn}; use 0 < step <= max_turn")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with ``mg_actions.json`` in an episode, at most two levels down."""
        return any(next(path.glob(f"{depth}episode_*/{ACTIONS}"), None) for depth in ("", "*/", "*/*/"))

    def build(self) -> "WorldModelMinecraft":
        """List the episodes."""
        return WorldModelMinecraft(self)


class _Manifest(ForeignModel):
    fps: float = Field(gt=0)


class _Entry(ForeignModel):
    move_action: str = Field(pattern=r"^[WS]?[AD]?$")
    view_action: Turn = ""


class _Entries(RootModel[dict[str, _Entry]]):
    pass


class WorldModelMinecraft:
    """The folders episode_*, in the order of their paths."""

    game = None
    licence = "not said"

    def __init__(self, config: WorldModelMinecraftConfig) -> None:
        self.config, root = config, Path(config.path)
        if not root.is_dir():
            raise SourceError(root, "there is no such folder", "check the path")
        folders = sorted(folder for folder in root.rglob("episode_*") if folder.is_dir())
        if not folders:
            raise SourceError(root, "there is no folder episode_* in it", "give the folder that holds them")
        self._folders = {str(folder.relative_to(root)): folder for folder in folders}
        self.fps = _fps(folders[0])
        nominal = "" if self._posed else f", without angles: each turn counts for {config.step:g} degrees"
        self.origin = f"FastvideoWorldModel-MC episodes in {root.name}{nominal}"

    @property
    def actions(self) -> ActionSpace:
        """W, S, A, D and the camera."""
        return minecraft_actions(tuple(MOVES.values()), self.config.max_turn)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The pose, if ``data.npz`` is there."""
        return STATE_NAMES if self._posed else ()

    @property
    def episodes(self) -> Sequence[str]:
        """Paths of the folders."""
        return tuple(self._folders)

    def read(self, name: str) -> ForeignEpisode:
        """Read one episode's actions; its frames are decoded when they are asked for."""
        folder = self._folders[name]
        if (fps := _fps(folder)) != self.fps:
            what = f"fps is {fps:g}, of the first episode {self.fps:g}"
            raise SourceError(folder / "manifest.json", what, "import what differs into a store of its own")
        entries = _entries(folder / ACTIONS)
        moves = np.array([[key in entry.move_action for key in MOVES] for entry in entries], np.float32)
        poses = _poses(folder / "data.npz", len(entries)) if self._posed else None
        turns = _turned(entries, self.config.step) if poses is None else _turns(poses)
        rows, notes = clipped(self.actions, np.concatenate([moves[:-1], turns], 1))
        return ForeignEpisode(video_frames(folder / "video.mp4"), rows, state=poses, notes=tuple(notes))

    @cached_property
    def _posed(self) -> bool:
        return (next(iter(self._folders.values())) / "data.npz").exists()


def _fps(folder: Path) -> float:
    path = folder / "manifest.json"
    return parse_json(_Manifest, read_bytes(path), path).fps


def _entries(path: Path) -> list[_Entry]:
    """Read the entries, which must be numbered from 0."""
    try:
        table = _Entries.model_validate_json(read_bytes(path)).root
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(path, f"{where} is {first['input']!r:.40}: {first['msg']}", REMEDY) from None
    if set(table) != {str(i) for i in range(len(table))} or len(table) < 2:
        raise SourceError(
            path, f"its {len(table)} entries are not numbered from 0 on", f"two or more are needed; {REMEDY}"
        )
    return [table[str(i)] for i in range(len(table))]


def _poses(path: Path, frames: int) -> Float64[np.ndarray, "f 5"]:
    """Return x, y, z, yaw and pitch, whose sign becomes that of this package: + is up."""
    arrays = read_npz(path, ("positions", "yaws", "pitches"))
    shapes = {"positions": (frames, 3), "yaws": (frames,), "pitches": (frames,)}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind not in "fi" or not np.isfinite(array).all():
            what = f"{name} is {array.dtype} of shape {array.shape}"
            raise SourceError(path, what, f"finite numbers of shape {shape} are needed, one row an entry of {ACTIONS}")
    angles = np.stack([arrays["yaws"], -arrays["pitches"]], 1)
    return np.concatenate([arrays["positions"], angles], 1).astype(np.float64)


def _turns(poses: Float64[np.ndarray, "f 5"]) -> Float32[np.ndarray, "n 2"]:
    """Return yaw and pitch of each step; yaw the shorter way round."""
    steps = np.diff(poses[:, 3:], axis=0)
    steps[:, 0] = (steps[:, 0] + 180) % 360 - 180
    return steps.astype(np.float32)


def _turned(entries: Sequence[_Entry], step: float) -> Float32[np.ndarray, "n 2"]:
    """Return yaw and pitch of each step as far as words say them: an entry's word is of the step before it."""
    words = [entry.view_action.split("_") for entry in entries[1:]]
    yaw = [("right" in word) - ("left" in word) for word in words]
    pitch = [("up" in word) - ("down" in word) for word in words]
    return np.array([yaw, pitch], np.float32).T * np.float32(step)
