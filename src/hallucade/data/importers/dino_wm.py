"""The data sets of DINO-WM (Zhou et al. 2024, arXiv:2411.04983), which NanoWM uses too: five worlds seen from a camera.

    point_maze                    states.pth, actions.pth, seq_lengths.pth, obses/episode_000.pth      t h w 3
    wall_single                   the same with door_locations.pth and wall_locations.pth              t 3 h w
    pusht_noise/train, .../val    states, velocities, rel_actions, abs_actions, seq_lengths.pkl, obses/episode_000.mp4
    deformable/rope, .../granular states, actions, 000000/obses.pth

States and actions are n episodes of at most t steps; action i was taken on seeing picture i. Actions keep the units of
their environment: the division of PushT's by 100 that DINO-WM does is a scale for its network, and its concatenation of
skipped actions is ours to add up or to average; see `dino_wm_worlds`.

Source: datasets/{point_maze,wall,pusht,deformable_env}_dset.py of gaoyuezhou/dino_wm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from hallucade.actions import ActionSpace
from hallucade.data.importers.dino_wm_episodes import as_array, video_of
from hallucade.data.importers.dino_wm_worlds import WORLDS, World, axes_of, world_of
from hallucade.data.importers.restricted_pickle import load_pickle, load_torch
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError

PARTS = {"train": "train", "val": "validation"}
COPY_AGAIN = "copy or download it again"
LAYOUT = "give a folder such as point_maze, wall_single, pusht_noise or deformable/rope"


@dataclass(frozen=True, kw_only=True)
class DinoWmConfig(ImporterConfig):
    """Point maze, wall, PushT, rope or grain."""

    format: ClassVar[str] = "dino-wm"
    about: ClassVar[str] = (
        "DINO-WM and NanoWM: point_maze, wall_single, pusht_noise, deformable/rope, deformable/granular"
    )

    actions: Literal["relative", "absolute"] = "relative"  # PushT's targets: from where the hand is, or in the court

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A folder whose files have one of the five layouts."""
        return any(world_of(part) is not None for part in _parts(path))

    def build(self) -> "DinoWm":
        """Map states and actions; no picture is read."""
        return DinoWm(self)


class Part:
    """One folder with ``states.pth``: the columns of its episodes, mapped from the disk."""

    def __init__(self, folder: Path, world: str, actions: Literal["relative", "absolute"]) -> None:
        self.folder, self.world = folder, world
        self.action_file = f"{actions[:3]}_actions.pth" if world == "pusht" else "actions.pth"
        self.actions = self._column(self.action_file, 3)
        self.states = self._column("states.pth", 4 if world == "deformable" else 3)
        self.velocities = self._optional("velocities.pth") if world == "pusht" else None
        self.lengths = self._lengths()

    @cached_property
    def extras(self) -> dict[str, np.ndarray]:
        """Columns beside the states: places of wall and door, particles."""
        if self.world == "deformable":
            return {"particles": self.states}
        if self.world != "wall_single":
            return {}
        return {name: self._column(f"{name}s.pth", None) for name in ("door_location", "wall_location")}

    def _column(self, name: str, dims: int | None) -> np.ndarray:
        path = self.folder / name
        array = as_array(load_torch(path))
        if (
            array is None
            or (array.ndim != dims if dims is not None else array.ndim < 2)
            or array.dtype.kind not in "fiu"
        ):
            what = "it holds no array" if array is None else f"it is {array.dtype} of shape {array.shape}"
            raise SourceError(path, what, f"{dims or '2 or more'} axes are needed: episodes, steps, numbers")
        if name != self.action_file:
            (episodes, steps), wanted = array.shape[:2], self.actions.shape[:2]
            if episodes != wanted[0] or steps < wanted[1]:
                ours, theirs = f"{episodes} episodes of {steps} steps", f"{wanted[0]} of {wanted[1]}"
                what = f"it has {ours}, and {self.action_file} has {theirs}"
                raise SourceError(path, what, "give files of one data set; copy the shorter one again")
        return array

    def _optional(self, name: str) -> np.ndarray | None:
        return self._column(name, 3) if (self.folder / name).exists() else None

    def _lengths(self) -> Int64[np.ndarray, "n"]:
        """Return how many steps of each episode are filled; wall and deformable fill all."""
        files = [self.folder / f"seq_lengths{suffix}" for suffix in (".pth", ".pkl")]
        file = next((file for file in files if file.exists()), None)
        count, longest = len(self.actions), int(self.actions.shape[1])
        if file is None:
            if self.world in ("point_maze", "pusht"):
                raise SourceError(files[self.world == "pusht"], "there is no such file", "download what is missing")
            return np.full(count, longest, np.int64)
        lengths = as_array(load_torch(file) if file.suffix == ".pth" else load_pickle(file))
        if lengths is None or lengths.shape != (count,) or lengths.dtype.kind not in "iu":
            raise SourceError(file, f"it is no list of {count} whole numbers, one an episode", COPY_AGAIN)
        if len(odd := np.flatnonzero((lengths < 1) | (lengths > longest))):
            what = f"episode {odd[0]} has length {lengths[odd[0]]}, and {self.action_file} has {longest} steps"
            raise SourceError(file, what, "give files of one data set")
        return lengths.astype(np.int64)

    @cached_property
    def reach(self) -> tuple[Float64[np.ndarray, "a"], Float64[np.ndarray, "a"]]:
        """The least and the greatest of each number of an action, where the arrays are filled."""
        steps: Any = np.arange(int(self.actions.shape[1]))
        rows: Any = self.actions[steps < self.lengths[:, None]].astype(np.float64)
        odd: Any = np.argwhere(~np.isfinite(rows))
        if len(odd):
            episode = int(np.searchsorted(np.cumsum(self.lengths), int(odd[0, 0]), side="right"))
            what = f"episode {episode} has an action that is {rows[tuple(odd[0])]}"
            raise SourceError(self.folder / self.action_file, what, COPY_AGAIN)
        return rows.min(0), rows.max(0)


class DinoWm:
    """The episodes of one world."""

    game = None
    licence = "as the OSF page of DINO-WM says"

    def __init__(self, config: DinoWmConfig) -> None:
        self._config, root = config, Path(config.path)
        found = {part: world for part in _parts(root) if (world := world_of(part)) is not None}
        if not found:
            what = "no states.pth with the files of a known world" if root.is_dir() else "there is no such folder"
            raise SourceError(root, what, LAYOUT)
        if len(set(found.values())) > 1:
            raise SourceError(root, f"train and val are of {' and '.join(found.values())}", "give one of them")
        name = next(iter(found.values()))
        self.world: World = WORLDS[f"{name}_absolute" if name == "pusht" and config.actions == "absolute" else name]
        self._parts = {
            part.name if part != root else "": Part(part, world, config.actions) for part, world in found.items()
        }
        self._check(root)
        self._names = tuple(
            f"{name}/episode_{i:03d}".lstrip("/")
            for name, part in self._parts.items()
            for i in range(len(part.lengths))
        )
        self.fps, self.origin = self.world.fps, f"{root.name} of DINO-WM: {self.world.title}"

    @property
    def state_names(self) -> tuple[str, ...]:
        """Poses and velocities in the environment's units; other numbers by their place."""
        first = next(iter(self._parts.values()))
        if first.world == "deformable":
            return ()
        names = self.world.state + (("agent_vx", "agent_vy") if first.velocities is not None else ())
        width = first.states.shape[2] + (0 if first.velocities is None else first.velocities.shape[2])
        return names if len(names) == width else tuple(f"state_{i}" for i in range(width))

    @property
    def actions(self) -> ActionSpace:
        """One axis a number, over the range that the data takes."""
        return self._actions

    @cached_property
    def _actions(self) -> ActionSpace:
        lows, highs = zip(*(part.reach for part in self._parts.values()), strict=True)
        return ActionSpace(axes=axes_of(self.world, np.min(lows, axis=0), np.max(highs, axis=0)))

    @property
    def episodes(self) -> Sequence[str]:
        """The episodes' numbers, those of ``train`` before those of ``val``."""
        return self._names

    def read(self, name: str) -> ForeignEpisode:
        """Read one episode's columns; its pictures are read when they are asked for."""
        where, _, last = name.rpartition("/")
        part, number = self._parts[where], int(last.removeprefix("episode_"))
        length = int(part.lengths[number])
        state = None if part.world == "deformable" else part.states[number, :length].astype(np.float64)
        if state is not None and part.velocities is not None:
            state = np.concatenate([state, part.velocities[number, :length]], axis=1, dtype=np.float64)
        if state is not None and not np.isfinite(state).all():
            raise SourceError(
                part.folder / "states.pth", f"episode {number} has states that are not finite", COPY_AGAIN
            )
        rows = np.array(part.actions[number, : length - 1], np.float32)
        extras = {name: np.array(column[number, :length]) for name, column in part.extras.items()}
        frames = video_of(part.folder, part.world, number, length)
        return ForeignEpisode(frames, rows, state=state, extras=extras, split=PARTS.get(where))

    def _check(self, root: Path) -> None:
        """Hold the parts against each other and against the world."""
        for part in self._parts.values():
            width, wanted = part.actions.shape[2], len(self.world.actions)
            if width != wanted:
                what = f"its actions have {width} numbers; {self.world.title} has {wanted}"
                raise SourceError(part.folder / part.action_file, what, LAYOUT)
        shapes = {(p.states.shape[2:], p.velocities is None) for p in self._parts.values()}
        if len(shapes) > 1:
            raise SourceError(root, "train and val have states of different kinds", "import them into two stores")


def _parts(path: Path) -> list[Path]:
    """Return the folders that hold ``states.pth``: the one given, or those of its two splits."""
    return [folder for folder in (path, *(path / name for name in PARTS)) if (folder / "states.pth").is_file()]
