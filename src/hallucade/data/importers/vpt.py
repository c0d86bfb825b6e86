"""Recordings of OpenAI's Minecraft contractors: the VPT data and the BASALT 2022 data.

    SRC/ID.mp4       640x360 at 20 frames a second, also in folders by version: SRC/10.0/ID.mp4
    SRC/ID.jsonl     one object a frame: mouse, keyboard, isGuiOpen, hotbar, xpos, ypos, zpos, yaw, pitch, ...

SRC may also be an index file ``{"basedir", "relpaths"}`` that lies beside them. Line i is what the player did on seeing
frame i. Mouse counts become degrees as fractions (360 to 2400 counts); the mouse moves the view down for positive dy.

Source: the README of openai/Video-Pre-Training, "Contractor Demonstrations", and its notes on stuck buttons.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from hallucade.actions import ActionSpace
from hallucade.data.importers.clipping import clipped
from hallucade.data.importers.foreign_json import CamelModel, ForeignModel, parse_json, read_bytes
from hallucade.data.importers.minecraft import HOTBAR, STATE_NAMES, minecraft_actions
from hallucade.data.importers.pairs import left_out, paired_files
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import REMEDY, probe, video_frames
from hallucade.shapes import ActionRows

DEGREES = 360 / 2400  # that one count of the mouse turns the view
MENU_SCALE = {"5.7": 0.5, "5.8": 0.5, "6.7": 2.0, "6.8": 2.0, "6.9": 2.0}  # of counts in menus, by recorder version
BUTTONS = (
    *("forward", "back", "left", "right", "jump", "sneak", "sprint"),
    *("attack", "use", "drop", "inventory", *HOTBAR, "swapHands", "pickItem"),
)
KEYBOARD = {
    "key.keyboard.w": "forward",
    "key.keyboard.s": "back",
    "key.keyboard.a": "left",
    "key.keyboard.d": "right",
    "key.keyboard.space": "jump",
    "key.keyboard.left.shift": "sneak",
    "key.keyboard.left.control": "sprint",
    "key.keyboard.q": "drop",
    "key.keyboard.e": "inventory",
    "key.keyboard.f": "swapHands",
    **{f"key.keyboard.{slot}": name for slot, name in enumerate(HOTBAR, 1)},
}
ESCAPE = "key.keyboard.escape"  # in a menu it does what the inventory key does: the menu closes
MOUSE = {0: "attack", 1: "use", 2: "pickItem"}
Counts = Annotated[float, Field(ge=-1e6, le=1e6)]
SNIFF = 1 << 16  # bytes of a first line that are looked at


class Mouse(CamelModel):
    """Counts since the last frame, and the buttons that are down."""

    dx: Counts
    dy: Counts
    buttons: list[int]
    new_buttons: list[int] = Field(default_factory=list[int])


class Keyboard(CamelModel):
    """The keys that are down."""

    keys: list[str]


class Step(CamelModel):
    """One line; some recorder versions write null for a device that had nothing to say."""

    mouse: Mouse | None
    keyboard: Keyboard | None
    is_gui_open: bool
    hotbar: Annotated[int, Field(ge=0, le=8)] | None = None
    xpos: float | None = None
    ypos: float | None = None
    zpos: float | None = None
    yaw: float | None = None
    pitch: float | None = None  # positive looks down

    @property
    def pose(self) -> tuple[float | None, ...]:
        """Position and view in the order of `STATE_NAMES`, pitch up."""
        return self.xpos, self.ypos, self.zpos, self.yaw, None if self.pitch is None else -self.pitch


class Index(ForeignModel):
    """A list of recordings, as OpenAI publishes it."""

    basedir: str
    relpaths: list[str]


@dataclass(frozen=True, kw_only=True)
class VptConfig(ImporterConfig):
    """Minecraft played by contractors."""

    format: ClassVar[str] = "vpt"
    about: ClassVar[str] = "OpenAI VPT and BASALT Minecraft: ID.mp4 with ID.jsonl, or an index file beside them"

    max_turn: float = 15.0  # degrees a frame; faster turns are clipped and counted
    state: bool = True  # keep position and view, if the files have them

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """An index with relative paths, or a folder with a ``.jsonl`` of mouse and keyboard."""
        if path.is_file():
            return path.suffix == ".json" and {b'"basedir"', b'"relpaths"'} <= _words(path)
        first = next((file for pattern in ("*.jsonl", "*/*.jsonl") for file in path.glob(pattern)), None)
        return first is not None and {b'"mouse"', b'"keyboard"', b'"isGuiOpen"'} <= _words(first)

    def build(self) -> "Vpt":
        """List the recordings that are complete."""
        return Vpt(self)


class Vpt:
    """The recordings of a folder or an index, one an episode."""

    fps = 20.0
    game = None
    origin = "Minecraft played by contractors (OpenAI VPT, BASALT)"
    licence = "as openai/Video-Pre-Training says"

    def __init__(self, config: VptConfig) -> None:
        self._config, path = config, Path(config.path)
        self._actions = minecraft_actions(BUTTONS, config.max_turn)
        self._stems, self._missing = _indexed(path) if path.is_file() else paired_files(path, path, ".jsonl")
        if not self._stems:
            what = f"there is no ID.mp4 with its ID.jsonl ({len(self._missing)} have only one of them)"
            raise SourceError(path, what, "give the folder that holds them")
        self.state_names = STATE_NAMES if config.state and self._has_poses() else ()

    @property
    def actions(self) -> ActionSpace:
        """Twenty-two buttons and the camera."""
        return self._actions

    @property
    def episodes(self) -> Sequence[str]:
        """The paths of the recordings without suffix, sorted."""
        return tuple(self._stems)

    def read(self, name: str) -> ForeignEpisode:
        """Read one recording's actions; its frames are decoded when they are asked for."""
        video, file = self._stems[name]
        steps = tuple(read_steps(file))
        if len(steps) < 2:
            raise SourceError(file, "it has 1 line; an action leads from a frame to the next", "leave it out")
        frames = probe(video).frames
        rows, repairs = rows_of(steps, PurePosixPath(name).parent.name or video.parent.name)
        rows, clips = clipped(self._actions, rows[:-1])  # no frame is known that the last one leads to
        notes = [*left_out(self._missing, name == self.episodes[0]), *repairs, *clips]
        if frames is not None and frames > len(steps):
            notes.append(f"the video has {frames} frames and the .jsonl {len(steps)} lines: the rest is left out")
        return ForeignEpisode(
            video_frames(video),
            rows,
            state=_poses(steps, file) if self.state_names else None,
            menu=np.array([step.is_gui_open for step in steps]),
            notes=tuple(notes),
        )

    def _has_poses(self) -> bool:
        """Look at the first line of the first recording that can be read: BASALT's had to leave poses out."""
        for _, file in self._stems.values():
            try:
                return None not in next(read_steps(file)).pose
            except SourceError:
                continue
        return False


def read_steps(path: Path) -> Iterator[Step]:
    """Yield the lines of a recording.

    Raises:
        SourceError: the file is missing or empty; or names the line and the field that is wrong.
    """
    try:
        with path.open("rb") as file:
            lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
            if (first := next(lines, None)) is None:
                raise SourceError(path, "the file is empty", REMEDY)
            for number, line in chain([first], lines):
                yield parse_json(Step, line, path, f"line {number}: ")
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "check its permissions") from error


def rows_of(steps: Sequence[Step], version: str = "") -> tuple[ActionRows, list[str]]:
    """Return one raw row a line, and what was repaired in them.

    Repairs: the attack button that the recorder holds from the first line until it is really pressed; hotbar slots
    that the wheel chose; the menu's mouse scale of some recorder versions.

    Args:
        steps: the lines of one recording.
        version: the recorder's, such as "6.9"; anything else counts as current.
    """
    stuck = _stuck(steps)
    scale = MENU_SCALE.get(version, 1.0)
    rows = np.zeros((len(steps), len(BUTTONS) + 2), np.float32)
    before: set[str] = set()
    wheeled = 0
    for i, step in enumerate(steps):
        held = _held(step)
        if i < stuck:
            held.discard("attack")
        slot = _new_slot(steps[i - 1], step) if i else None
        if slot is not None and slot not in held | before:
            held.add(slot)
            wheeled += 1
        before = held
        rows[i, [BUTTONS.index(name) for name in held]] = 1
        if step.mouse is not None:
            degrees = DEGREES * (scale if step.is_gui_open else 1)
            rows[i, -2:] = step.mouse.dx * degrees, -step.mouse.dy * degrees
    notes = [f"attack hangs in the first {stuck} frames: it is released"] if stuck else []
    notes += [f"hotbar slots chosen by the wheel, whose buttons are pressed: {wheeled}"] if wheeled else []
    return rows, notes


def _held(step: Step) -> set[str]:
    keys = step.keyboard.keys if step.keyboard is not None else []
    clicks = step.mouse.buttons if step.mouse is not None else []
    held = {KEYBOARD[key] for key in keys if key in KEYBOARD} | {MOUSE[click] for click in clicks if click in MOUSE}
    return held | {"inventory"} if step.is_gui_open and ESCAPE in keys else held


def _stuck(steps: Sequence[Step]) -> int:
    """Return for how many lines the recorder, and not the player, holds attack."""
    pressed = [step.mouse.new_buttons if step.mouse is not None else [] for step in steps]
    if pressed[0] != [0]:
        return 0
    return next((i for i, new in enumerate(pressed) if i and 0 in new), len(steps))


def _new_slot(before: Step, now: Step) -> str | None:
    if now.hotbar is None or before.hotbar is None or now.hotbar == before.hotbar:
        return None
    return HOTBAR[now.hotbar]


def _poses(steps: Sequence[Step], path: Path) -> Float64[np.ndarray, "f s"]:
    for number, step in enumerate(steps, 1):
        if None in step.pose:
            what = f"line {number}: xpos, ypos, zpos, yaw or pitch is missing, which other recordings have"
            raise SourceError(path, what, "import it into a store of its own, or without state")
    return np.array([step.pose for step in steps], np.float64)


def _indexed(path: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Return the recordings of an index that are there, and the names of those that are not."""
    names = sorted({re.sub(r"\.mp4$", "", name) for name in parse_json(Index, read_bytes(path), path).relpaths})
    found: dict[str, tuple[Path, Path]] = {}
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SourceError(path, f"relpaths names {name!r}, which leaves the index's folder", "correct the index")
        for stem in (path.parent / name, path.parent / Path(name).name):
            pair = Path(f"{stem}.mp4"), Path(f"{stem}.jsonl")
            if name not in found and all(file.is_file() for file in pair):
                found[name] = pair
    return found, [name for name in names if name not in found]


def _words(path: Path) -> set[bytes]:
    """Return the quoted words at the start of a file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return set(re.findall(rb'"\w+"', file.read(SNIFF)))
    except OSError:
        return set()
