"""Data of Matrix-Game and of FastVideo's world models, such as Zelda: videos with keyboard and mouse arrays.

Row i of both arrays is for the step from frame i to frame i + 1: FastVideo moves the mouse, which its recorder notes a
frame late, before it writes them. See `matrix_game_samples` for the files and `matrix_game_keys` for the columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from hallucade.actions import ActionSpace
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.matrix_game_keys import Controls
from hallucade.data.importers.matrix_game_samples import LISTS, SUFFIXES, Arrays, find_samples
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import REMEDY, probe, video_frames

MARKS = (b'"action_path"', b'"keyboard_cond"')
TAIL = 1 << 16  # bytes at the end of a Parquet file in which its columns are named


@dataclass(frozen=True, kw_only=True)
class MatrixGameConfig(ImporterConfig):
    """Videos with keyboard and mouse arrays.

    Raises:
        ValueError: degrees, a reach or a rate that is not positive.
    """

    format: ClassVar[str] = "matrix-game"
    about: ClassVar[str] = (
        "Matrix-Game and FastVideo: mp4 with .npy of keyboard and mouse, their JSON lists, or Parquet"
    )

    videos: str | None = None  # folder of the videos, for a Parquet file
    rate: float | None = None  # frames a second of the source; by default what the list or the first video says
    keys: tuple[str, ...] = ()  # names of the keyboard's columns; by default told by their number
    # FastVideo's comparison with optical flow fits 0.087 radians a unit: the 0.1 of a frame are half a degree.
    degrees: float = 5.0  # that one unit of mouse turns the view; nominal
    reach: float = 0.1  # units that the mouse moves in a frame, at most; beyond is clipped

    def __post_init__(self) -> None:
        for name, value in (("degrees", self.degrees), ("reach", self.reach), ("rate", self.rate)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; it must be positive")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A list that names actions, a Parquet file with a keyboard, or videos beside ``_action.npy``."""
        try:
            if path.is_file():
                return _is_list(path) or _is_table(path)
            lists = [file for pattern in LISTS for file in path.glob(pattern)]
            if lists or not path.is_dir():
                return any(_is_list(file) for file in lists)
            first = next(iter(sorted(path.glob("*.parquet"))), None)
            pairs = (*path.glob(f"*{SUFFIXES[0]}"), *path.glob(f"videos/*{SUFFIXES[0]}"))
            return bool(pairs) or (first is not None and _is_table(first))
        except OSError:
            return False

    def build(self) -> "MatrixGame":
        """List the samples and look at the first one's columns."""
        return MatrixGame(self)


class MatrixGame:
    """The samples, in the order of the list or of their names."""

    state_names = ()
    game = None
    licence = "not said"

    def __init__(self, config: MatrixGameConfig) -> None:
        self.config = config
        path = Path(config.path)
        self._samples, self._left_out = find_samples(path, Path(config.videos) if config.videos else None)
        first = next(iter(self._samples.values()))
        self.fps = config.rate or first.fps or probe(first.video).fps
        self.origin = f"Matrix-Game data in {path.name}, with {config.degrees:g} nominal degrees a unit of mouse"

    @property
    def episodes(self) -> Sequence[str]:
        """The videos' names without suffix."""
        return tuple(self._samples)

    @property
    def actions(self) -> ActionSpace:
        """Of the first sample; all must have the same."""
        return self._controls.actions

    def read(self, name: str) -> ForeignEpisode:
        """Read one sample's arrays; its frames are decoded when they are asked for."""
        sample = self._samples[name]
        arrays, facts = sample.arrays(), probe(sample.video)
        controls = self._controls_of(arrays)
        if controls != self._controls:
            what = f"it has {_describe(controls)}, the first sample {_describe(self._controls)}"
            raise SourceError(arrays.path, what, "import what differs into a store of its own")
        rows, notes = clipped(self.actions, controls.rows(arrays.keyboard, arrays.mouse))
        frames = min(count for count in (sample.frames, facts.frames, len(rows) + 1) if count is not None)
        if sample.frames is not None and frames < sample.frames:
            what = f"num_frames is {sample.frames}; there are {len(rows)} rows of actions and {facts.frames} frames"
            raise SourceError(arrays.path, what, f"as many rows as frames are needed; {REMEDY}")
        if frames < 2:
            raise SourceError(sample.video, "it has one frame", "an episode needs two")
        if facts.frames is not None and facts.frames > frames:
            notes.append(f"the video has {facts.frames} frames, of which {frames} have actions: the rest is left out")
        if self._left_out and name == self.episodes[0]:
            notes.append(
                f"{self._left_out} samples are left out, of which only the video or only the actions are there"
            )
        return ForeignEpisode(video_frames(sample.video), rows[: frames - 1], notes=tuple(notes))

    @cached_property
    def _controls(self) -> Controls:
        return self._controls_of(next(iter(self._samples.values())).arrays())

    def _controls_of(self, arrays: Arrays) -> Controls:
        config, width = self.config, 0 if arrays.keyboard is None else arrays.keyboard.shape[1]
        if config.keys and len(config.keys) != width:
            what = f"keyboard has {width} columns and {len(config.keys)} names are given"
            raise SourceError(arrays.path, what, "give one name a column: --keys")
        return Controls(width, arrays.mouse is not None, config.keys, config.degrees, config.reach)


def _describe(controls: Controls) -> str:
    return f"a keyboard of {controls.keyboard} columns {'and a' if controls.mouse else 'without a'} mouse"


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(TAIL)
    return path.suffix == ".json" and any(mark in head for mark in MARKS)


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return path.suffix == ".parquet" and b"keyboard_cond_bytes" in file.read()
