"""Pong of toy-wm: nine hours of 24 x 24 pixels at 30 frames a second, in three plain arrays.

    SRC/frames.npy    n x h x w x 3 uint8 RGB
    SRC/actions.npy   n: 0 stay, 1 up, 2 down
    SRC/rewards.npy   n, optional

Action i was played on seeing frame i (toy-wm conditions frame i + 1 on it). The arrays do not say where one game ends
and the next begins, and a point is no end, so the recording is cut into episodes of equal length; where it was started
anew, one episode has a jump in it.

Source: pong1m.py and diffusion_forcing.py of wendlerc/toy-wm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.data.importers.restricted_pickle import load_npy
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError, frames_of
from hallucade.games.pong import PONG_ACTIONS

FRAMES, ACTIONS, REWARDS = "frames.npy", "actions.npy", "rewards.npy"
SIZE = 24  # pixels, both sides, of the published data
COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True, kw_only=True)
class ToyWmConfig(ImporterConfig):
    """Pong in three arrays.

    Raises:
        ValueError: episodes too short to hold an action.
    """

    format: ClassVar[str] = "toy-wm"
    about: ClassVar[str] = f"toy-wm's Pong: {FRAMES}, {ACTIONS} and perhaps {REWARDS} in one folder"

    episode_frames: int = 900  # of each episode but the last: half a minute

    def __post_init__(self) -> None:
        if self.episode_frames < 2:
            raise ValueError(f"episode_frames is {self.episode_frames}; an episode needs at least 2")

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder with both arrays, as many actions as frames, of the published size."""
        if not all((path / name).is_file() for name in (FRAMES, ACTIONS)):
            return False
        try:
            frames, actions = _array(path / FRAMES), _array(path / ACTIONS)
        except SourceError:
            return False
        return frames.shape[1:] == (SIZE, SIZE, 3) and actions.size == len(frames)

    def build(self) -> "ToyWm":
        """Map the arrays and hold their shapes against each other."""
        return ToyWm(self)


class ToyWm:
    """The recording, cut into episodes."""

    fps = 30.0
    actions: ActionSpace = PONG_ACTIONS
    state_names: tuple[str, ...] = ()
    game = None  # other colours, speeds and rules than the built-in Pong
    origin = "Pong of PufferLib, recorded for toy-wm"
    licence = "as the card of chrisxx/pong says"

    def __init__(self, config: ToyWmConfig) -> None:
        root = Path(config.path)
        if not root.is_dir():
            raise SourceError(root, "there is no such folder", f"give the folder that holds {FRAMES}")
        self._length, self._root = config.episode_frames, root
        self._frames = _array(root / FRAMES)
        if self._frames.dtype != np.uint8 or self._frames.ndim != 4 or self._frames.shape[3] != 3:
            what = f"it is {self._frames.dtype} of shape {self._frames.shape}"
            raise SourceError(root / FRAMES, what, "give frames as uint8 of shape (n, height, width, 3)")
        self._actions = self._column(ACTIONS)
        self._rewards = self._column(REWARDS) if (root / REWARDS).exists() else None

    @property
    def episodes(self) -> Sequence[str]:
        """One name a stretch, by its first frame; a last one of a single frame is left out."""
        starts = range(0, max(len(self._frames) - 1, 0), self._length)
        return tuple(f"frame_{start:09d}" for start in starts)

    def read(self, name: str) -> ForeignEpisode:
        """Return one stretch; its frames stay on the disk until they are asked for."""
        start = int(name.removeprefix("frame_"))
        frames = self._frames[start : start + self._length]
        rows = slice(start, start + len(frames) - 1)
        actions = np.asarray(self._actions[rows], np.float32)
        if len(odd := np.flatnonzero(~np.isin(actions, (0, 1, 2)))):
            what = f"action {start + odd[0]} is {actions[odd[0]]:g}"
            raise SourceError(self._root / ACTIONS, what, "give 0 for stay, 1 for up, 2 for down")
        rewards = None if self._rewards is None else np.asarray(self._rewards[rows], np.float32)
        if rewards is not None and len(odd := np.flatnonzero(~np.isfinite(rewards))):
            raise SourceError(self._root / REWARDS, f"reward {start + odd[0]} is {rewards[odd[0]]}", COPY_AGAIN)
        return ForeignEpisode(frames_of(frames), actions[:, None], rewards)

    def _column(self, name: str) -> np.ndarray:
        path = self._root / name
        column = _array(path)
        column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
        if column.ndim != 1 or column.dtype.kind not in "iufb":
            what = f"it is {column.dtype} of shape {column.shape}"
            raise SourceError(path, what, "give one number a frame, of shape (n,)")
        if len(column) != len(self._frames):
            what = f"it has {len(column)} entries and {FRAMES} has {len(self._frames)} frames"
            raise SourceError(path, what, "give files of one recording; copy the shorter one again")
        return column


def _array(path: Path) -> np.ndarray:
    array = load_npy(path)
    if not isinstance(array, np.ndarray):
        raise SourceError(path, f"it holds a {type(array).__name__} and no array", COPY_AGAIN)
    return cast("np.ndarray", array)
