"""Counter-Strike: Global Offensive, the data of Pearce and Zhu: minutes of deathmatch, seen as their players saw them.

    SRC/.../hdf5_dm_july2021_1.hdf5       frame_i_x, _y, _xaux, _helperarr; 1,000 frames, 16 a second
    SRC/train/000/00/0/0.pt, SRC/test/... low resolution as DIAMOND writes it: obs, act, rew, end, trunc, info

Picture i was taken just before the state of the game was read, and action i is what changed until it was read again:
so action i is held while frame i is on screen, as here. A mouse count turns the view by 0.022 x 2.5 = 0.055 degrees
(the game's m_yaw times the recorders' sensitivity); the files hold bins of counts and not how far a scope was zoomed.

Sources: arXiv:2104.04258; config.py, dm_infer_actions.py and dm_record_data.py of
TeaPearce/Counter-Strike_Behavioural_Cloning; dataset.py and episode.py of eloialonso/diamond, branch csgo.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from hallucade.actions import ActionSpace, Button, camera_axes
from hallucade.data.importers.csgo_files import AUX_HEALTH, Recording, h5py, read_hdf5, read_pt
from hallucade.data.importers.file_tree import files_below
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.shapes import ActionRows

DEGREES = 0.055  # a mouse count
_X, _Y = (2, 4, 10, 20, 30, 60, 100, 200, 300, 500, 1000), (2, 4, 10, 20, 50, 100, 200)
MOUSE_X = np.array([*(-count for count in reversed(_X)), 0, *_X], np.float64)  # counts of each bin; + is right
MOUSE_Y = np.array([*(-count for count in reversed(_Y)), 0, *_Y], np.float64)  # + is down
KEYS = {  # in the order of the files: w, a, s, d, though a comment in their maker's code says w, s, a, d
    "forward": "KeyW",
    "left": "KeyA",
    "back": "KeyS",
    "right": "KeyD",
    "jump": "Space",
    "crouch": "KeyC",  # the left control key would close the page with W
    "walk": "ShiftLeft",
    "weapon.1": "Digit1",
    "weapon.2": "Digit2",
    "weapon.3": "Digit3",
    "reload": "KeyR",
    "fire": "Mouse0",
    "aim": "Mouse2",
}
KEY_YAW, KEY_PITCH = 60, 50  # mouse counts a frame that an arrow key moves, as in DIAMOND's player
GROUPS = {"mouse_x": (len(KEYS), MOUSE_X), "mouse_y": (len(KEYS) + len(MOUSE_X), MOUSE_Y)}  # first place, bins
WIDTH = len(KEYS) + len(MOUSE_X) + len(MOUSE_Y)
STATE_NAMES = ("health", "ammo", "team")  # team is 1 for counter-terrorists
STATE_SCALE = (100.0, 30.0, 1.0)
NUMBER = re.compile(r"(.*?)(\d+)$")


@dataclass(frozen=True, kw_only=True)
class CsgoConfig(ImporterConfig):
    """Counter-Strike deathmatch.

    Raises:
        ValueError: `degrees` is not positive.
    """

    format: ClassVar[str] = "csgo"
    about: ClassVar[str] = "Counter-Strike: hdf5_*.hdf5 in any folders, or DIAMOND's low-resolution .pt"

    test_list: str | None = None  # a file of names, such as DIAMOND's test_split.txt: those are for validation
    degrees: float = DEGREES  # that the view turns a mouse count
    facts: bool = True  # health, ammunition and team as state, kills and deaths as rewards; only .hdf5 files have them

    def __post_init__(self) -> None:
        if not 0 < self.degrees < math.inf:
            raise ValueError(f"degrees is {self.degrees} a mouse count; it must be positive")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with ``hdf5_*_N.hdf5``, directly or one folder below, or such a file."""
        pattern = "hdf5_*_[0-9]*.hdf5"
        if path.is_file():
            return path.match(pattern)
        return any(next(path.glob(places), None) is not None for places in (pattern, f"*/{pattern}"))

    def build(self) -> "Csgo":
        """List the files; none is opened.

        Raises:
            SourceError: there is none.
            ValueError: they are HDF5, and h5py is not installed.
        """
        return Csgo(self)


class Csgo:
    """The recordings of a folder, one file each."""

    fps = 16.0
    game = None
    origin = "Counter-Strike: Global Offensive deathmatch, watched (Pearce and Zhu)"
    licence = "personal projects and open research, no commercial use (their README)"

    def __init__(self, config: CsgoConfig) -> None:
        self._config, self._root = config, Path(config.path)
        files = [self._root] if self._root.is_file() else files_below(self._root, ".hdf5")
        self._packed = not files  # DIAMOND's
        if not self._packed:
            h5py()
        files = files or [file for file in files_below(self._root, ".pt") if file.stem.isdigit()]
        if not files:
            what = "there is no .hdf5 in it, nor a numbered .pt" if self._root.exists() else "there is no such folder"
            raise SourceError(self._root, what, "give the folder that holds hdf5_dm_july2021_1.hdf5 and so on")
        base = self._root.parent if self._root.is_file() else self._root
        named = {file.relative_to(base).with_suffix("").as_posix(): file for file in files}
        self._files = dict(sorted(named.items(), key=lambda item: _order(item[0])))
        self.state_names = STATE_NAMES if config.facts and not self._packed else ()

    @property
    def actions(self) -> ActionSpace:
        """Eleven keys, two mouse buttons, and the view in degrees a frame."""
        degrees = self._config.degrees
        farthest_x, farthest_y = degrees * MOUSE_X[-1], degrees * MOUSE_Y[-1]
        return ActionSpace(
            buttons=tuple(Button(name=name, keys=(key,)) for name, key in KEYS.items()),
            axes=camera_axes(farthest_x, farthest_y, degrees * KEY_YAW, degrees * KEY_PITCH),
        )

    @property
    def episodes(self) -> Sequence[str]:
        """The files' paths without suffix, by their numbers."""
        return tuple(self._files)

    def read(self, name: str) -> ForeignEpisode:
        """Read one file's actions; its frames are read when they are asked for."""
        file = self._files[name]
        recording = read_pt(file) if self._packed else read_hdf5(file, self._config.facts)
        rows = rows_of(recording, file, self._config.degrees)[:-1]  # the last one leads to no frame of the file
        return ForeignEpisode(
            recording.frames, rows, rewards_of(recording), state_of(recording, file), split=self._split(name, recording)
        )

    def _split(self, name: str, recording: Recording) -> str | None:
        if self._config.test_list is not None:
            file = Path(recording.original or f"{name}.hdf5").name
            return "validation" if file in self._tests else "train"
        parts = Path(name).parts
        return {"train": "train", "test": "validation"}.get(parts[0]) if self._packed and len(parts) > 1 else None

    @cached_property
    def _tests(self) -> frozenset[str]:
        path = Path(self._config.test_list or "")
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(path, f"cannot read the test list ({error})", "check --test-list") from error
        if not names or not all(name.endswith(".hdf5") for name in names):
            raise SourceError(path, "it is no list of names such as hdf5_dm_july2021_3.hdf5", "check --test-list")
        return frozenset(Path(name).name for name in names)


def rows_of(recording: Recording, file: Path, degrees: float) -> ActionRows:
    """Turn the vectors of a file into rows.

    Args:
        recording: of n frames.
        file: named in errors.
        degrees: that the view turns a mouse count.

    Raises:
        SourceError: a vector is not 51 wide, or is not what its maker writes: keys of 0 and 1, one bin an axis.
    """
    vectors = recording.vectors
    if vectors.ndim != 2 or vectors.shape[1] != WIDTH:
        what = f"{recording.field(0)} has shape {vectors.shape[1:]}, not ({WIDTH},)"
        raise SourceError(file, what, "give files of the data set, not of another one")
    if len(odd := np.argwhere((vectors != 0) & (vectors != 1))):
        frame, place = odd[0].tolist()
        what = f"{recording.field(frame)} is {vectors[frame, place]:g} in place {place}, where only 0 and 1 can be"
        raise SourceError(file, what, "copy or download it again")
    turns: list[np.ndarray] = []
    for axis, (first, bins) in GROUPS.items():
        chosen = vectors[:, first : first + len(bins)]
        if len(odd := np.flatnonzero(chosen.sum(1) != 1)):
            what = f"{recording.field(int(odd[0]))} has {chosen[odd[0]].sum():g} of the bins of {axis} set, not one"
            raise SourceError(file, what, "copy or download it again")
        turns.append(bins[chosen.argmax(1)] * degrees)
    rows = [vectors[:, : len(KEYS)], turns[0][:, None], -turns[1][:, None]]  # the mouse down turns the view down
    return np.concatenate(rows, axis=1).astype(np.float32)


def state_of(recording: Recording, file: Path) -> np.ndarray | None:
    """Return health, ammunition and team on each frame; a file has those of frame i - 1, read just before picture i."""
    if recording.aux is None:
        return None
    state = recording.aux[:, AUX_HEALTH : AUX_HEALTH + len(STATE_NAMES)].astype(np.float64) * STATE_SCALE
    if not np.isfinite(state).all():
        raise SourceError(file, "xaux has values that are not finite", "copy it again, or import with --no-facts")
    state[0] = state[min(1, len(state) - 1)]  # nothing came before the first frame, so the file has zeros
    return state


def rewards_of(recording: Recording) -> np.ndarray | None:
    """Return 1 for a kill and -1 for a death; they are seen when the state is read again, so they follow action i."""
    if recording.events is None:
        return None
    return (recording.events[:-1, 0] - recording.events[:-1, 1]).astype(np.float32)


def _order(name: str) -> tuple[str, int, str]:
    """Sort by the words of the file's name, its number, and its folder."""
    match = NUMBER.match(Path(name).name)
    split = Path(name).parts[0] if Path(name).name.isdigit() else ""
    return (split + match[1], int(match[2]), name) if match else (name, 0, name)
