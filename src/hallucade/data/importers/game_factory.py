"""GF-Minecraft, the data of GameFactory: clips of 2,000 frames in which a script pressed random keys.

    SRC/video/seed_1_part_1.mp4                 640x360, 16 frames a second
    SRC/metadata/seed_1_part_1.json             biome, initial_weather, start_time, actions {"0": ..., "1": ...}
    SRC/metadata-detection/seed_1_part_1.json   the same with collision and jump_invalid

Action k belongs to frame k: it was held on the way from frame k - 1 to frame k, so action 0 belongs to nothing. A delta
of 1 is 15 degrees; positive pitch looks down. SRC/annotation.csv describes pieces of clips in words; a store has no
place for them.

Source: the card of the data set KlingTeam/GameFactory-Dataset.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationError

from hallucade.actions import ActionSpace
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.foreign_json import ForeignModel, parse_json, read_bytes
from hallucade.data.importers.minecraft import STATE_NAMES, minecraft_actions
from hallucade.data.importers.pairs import left_out, paired_files
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import probe, video_frames

DEGREES = 15.0  # of a delta of 1
BUTTONS = ("forward", "back", "left", "right", "jump", "sneak", "sprint")
CODES = {"ws": (1, 2), "ad": (1, 2), "scs": (1, 2, 3)}  # that press those buttons, in the same order; 0 is nothing
HEAD = 1 << 12  # bytes in which a clip's properties stand before its actions
Delta = Annotated[float, Field(ge=-1e6, le=1e6)]


class Entry(ForeignModel):
    """What was held on the way to one frame, and where the player is in it."""

    ws: Literal[0, 1, 2]
    ad: Literal[0, 1, 2]
    scs: Literal[0, 1, 2, 3]
    yaw_delta: Delta
    pitch_delta: Delta
    pos: Annotated[list[float], Field(min_length=3, max_length=3)]
    yaw: float
    pitch: float
    collision: bool | int = 0
    jump_invalid: bool | int = 0


class Properties(ForeignModel):
    """What a clip can be chosen by."""

    biome: str | None = None
    initial_weather: str | None = None
    start_time: str | int | float | None = None


class Clip(Properties):
    """One file."""

    actions: dict[str, Entry]


@dataclass(frozen=True, kw_only=True)
class GameFactoryConfig(ImporterConfig):
    """Minecraft played by a script, in chosen weather."""

    format: ClassVar[str] = "game-factory"
    about: ClassVar[str] = "GF-Minecraft: video/NAME.mp4 with metadata/NAME.json"

    biome: tuple[str, ...] = ()  # forest, plains, desert; none means any
    weather: tuple[str, ...] = ()  # clear, rain, thunder; none means any
    start_time: tuple[str, ...] = ()  # as the files write it; none means any
    include: tuple[str, ...] = ()  # patterns such as seed_1_*; none means any
    exclude: tuple[str, ...] = ()  # patterns
    metadata: Literal["metadata", "metadata-detection"] = "metadata"  # the second adds collision and jump_invalid
    max_turn: float = DEGREES  # degrees a frame; faster turns are clipped and counted

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with ``video`` and ``metadata``, in which a file has actions under ws, ad and scs."""
        first = next((path / "metadata").glob("*.json"), None) if (path / "video").is_dir() else None
        if first is None:
            return False
        with first.open("rb") as file:
            return {b'"actions"', b'"ws"', b'"ad"', b'"scs"'} <= set(re.findall(rb'"\w+"', file.read(HEAD)))

    def build(self) -> "GameFactory":
        """List the clips that are complete and wanted."""
        return GameFactory(self)


class GameFactory:
    """The clips of a folder."""

    fps = 16.0
    state_names = STATE_NAMES
    game = None
    origin = "Minecraft played by a script (GameFactory, GF-Minecraft)"
    licence = "as the card of KlingTeam/GameFactory-Dataset says"

    def __init__(self, config: GameFactoryConfig) -> None:
        self._config, root = config, Path(config.path)
        self._actions = minecraft_actions(BUTTONS, config.max_turn)
        self._files, self._missing = paired_files(root / "video", root / config.metadata, ".json")
        if not self._files:
            what = f"no video has a .json of its name in {config.metadata}"
            raise SourceError(root, what, "give the folder that holds video and metadata")
        self._wanted = tuple(name for name in self._files if self._is_wanted(name))

    @property
    def actions(self) -> ActionSpace:
        """Seven buttons and the camera."""
        return self._actions

    @property
    def episodes(self) -> Sequence[str]:
        """The names of the clips that pass the filters, sorted."""
        return self._wanted

    def read(self, name: str) -> ForeignEpisode:
        """Read one clip's actions; its frames are decoded when they are asked for."""
        video, file = self._files[name]
        entries = in_order(parse_json(Clip, read_bytes(file), file).actions, file)
        frames = probe(video).frames
        rows, notes = clipped(self._actions, np.array([row_of(entry) for entry in entries[1:]], np.float32))
        if frames is not None and frames > len(entries):
            notes.append(f"the video has {frames} frames and actions {len(entries)} entries: the rest is left out")
        extras: dict[str, np.ndarray] = {}
        if self._config.metadata == "metadata-detection":
            extras["collision"] = np.array([bool(entry.collision) for entry in entries], np.uint8)
            extras["jump_invalid"] = np.array([bool(entry.jump_invalid) for entry in entries], np.uint8)
        seed = re.match(r"seed_(\d{1,15})_", Path(name).name)
        return ForeignEpisode(
            video_frames(video),
            rows,
            state=np.array([[*entry.pos, entry.yaw, -entry.pitch] for entry in entries], np.float64),
            extras=extras,
            seed=int(seed[1]) if seed else None,
            notes=(*left_out(self._missing, name == self.episodes[0]), *notes),
        )

    def _is_wanted(self, name: str) -> bool:
        config = self._config
        if config.include and not any(fnmatchcase(name, pattern) for pattern in config.include):
            return False
        if any(fnmatchcase(name, pattern) for pattern in config.exclude):
            return False
        wanted = {"biome": config.biome, "initial_weather": config.weather, "start_time": config.start_time}
        if not any(wanted.values()):
            return True
        try:
            clip = read_properties(self._files[name][1])
        except SourceError:
            return True  # whoever reads it is told what is wrong, and may skip it
        return all(not choice or _is_one_of(getattr(clip, field), choice) for field, choice in wanted.items())


def in_order(actions: dict[str, Entry], path: Path) -> list[Entry]:
    """Return entries "0", "1", ... as a list.

    Raises:
        SourceError: there are fewer than two, or one of them is missing.
    """
    if len(actions) < 2:
        what = f"actions has {len(actions)} entries; an action leads from a frame to the next"
        raise SourceError(path, what, "leave the clip out")
    missing = next((k for k in range(len(actions)) if str(k) not in actions), None)
    if missing is not None:
        what = f"actions has {len(actions)} entries and none of them is {str(missing)!r}"
        raise SourceError(path, what, "download it again; without it nobody knows which action is whose")
    return [actions[str(k)] for k in range(len(actions))]


def row_of(entry: Entry) -> tuple[float, ...]:
    """Return the raw row of one entry."""
    pressed = [float(getattr(entry, name) == code) for name, codes in CODES.items() for code in codes]
    return *pressed, entry.yaw_delta * DEGREES, -entry.pitch_delta * DEGREES


def _is_one_of(value: str | float | None, choice: Sequence[str]) -> bool:
    return str(value).casefold() in {option.casefold() for option in choice}


def read_properties(path: Path) -> Properties:
    """Read what a clip can be chosen by, without its actions where they stand behind, as they do in every clip.

    Raises:
        SourceError: the file is missing or damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    before = head.split(b'"actions"')[0].rstrip().rstrip(b",")
    try:
        found = Properties.model_validate_json(before + b"}")
    except ValidationError:
        found = Properties()
    if None in (found.biome, found.initial_weather, found.start_time):
        return parse_json(Properties, read_bytes(path), path)
    return found
