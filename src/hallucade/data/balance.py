"""Balance: see windows of every kind of action in given shares, whatever players happened to do most.

The kinds and their default shares are those that an earlier token model of this field settled on for first-person play.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float32, Integer, UInt8

from hallucade.actions import ActionSpace, Axis, Choice, Control
from hallucade.config import Config
from hallucade.data.focus import within
from hallucade.data.lanes import fraction
from hallucade.data.store import EpisodeStore
from hallucade.data.windows import Windows

GROUPS = ("transition", "movement_only", "camera_only", "combined", "static")
_NO_GROUP = len(GROUPS)  # the actions of the window are damaged


@dataclass(frozen=True, kw_only=True)
class Balance(Config):
    """Draw a share of each batch by action group, from what is left beside a focus.

    A window's group is told by the actions that lead to its frames from `lead` on: a transition if something that is
    held changes among them; else camera only, movement only or combined, after what is in use; else static. Camera
    are the controls that turn the view and all axes that move by deltas, movement is everything else. Deltas are not
    held: a mouse never stays. The shares of groups that have no window, such as those of a camera that the game does
    not have, go to the other groups in proportion.
    """

    transition: float = 0.30  # shares of the groups, in proportion
    movement_only: float = 0.20
    camera_only: float = 0.20
    combined: float = 0.25
    static: float = 0.05
    share: float = 1.0  # of each batch; the rest is all windows in turn
    lead: int = 8  # frames at the start of a window that are context only

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"balance share is {self.share}; it lies between 0 and 1")
        if min(self.shares.values()) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError(f"balance has group shares {self.shares}; use 0 or more, and more than 0 for one of them")
        if self.lead < 0:
            raise ValueError(f"balance lead is {self.lead} frames; use 0 or more")

    @property
    def shares(self) -> dict[str, float]:
        """The shares by group."""
        return {name: getattr(self, name) for name in GROUPS}

    def shares_of(self, present: dict[str, int]) -> dict[str, Fraction]:
        """Return the shares of the groups that have windows, which add up to one.

        Args:
            present: windows in each group.
        Raises:
            ValueError: only groups without a share have windows.
        """
        left = {name: fraction(share) for name, share in self.shares.items() if share > 0 and present[name]}
        if not left:
            found = ", ".join(f"{count} {name}" for name, count in present.items() if count) or "none"
            raise ValueError(f"no window is of a group that has a share (found: {found}); give another group a share")
        return {name: share / sum(left.values()) for name, share in left.items()}


def group_labels(windows: Windows, store: int, lead: int, stride: int = 1) -> UInt8[np.ndarray, "windows"]:
    """Return the group (its place in `GROUPS`) of every window of one of the stores.

    Reads the actions only, an episode at a time: a byte a window stays in memory. Of windows that show one frame in
    `stride`, `lead` are shown ones.

    Raises:
        ValueError: windows are all lead.
        DamageError: an action is not what was recorded.
    """
    frames = (windows.frames - 1) // stride + 1
    if lead >= frames:
        raise ValueError(
            f"the balance judges actions that lead to frames from {lead} on, and windows have {frames} frames; "
            "lower lead or use longer windows"
        )
    ids = windows.ranges[store]
    labels = np.full(len(ids), _NO_GROUP, np.uint8)
    uses = ControlUses(windows.stores[store].actions)
    for numbers, rows in windows.columns(store, "actions"):
        place = slice(numbers.start - ids.start, numbers.stop - ids.start)
        labels[place] = uses.groups(rows, len(numbers), max(lead - 1, 0) * stride, windows.frames - 1)
    return labels


def count_groups(store: EpisodeStore, frames: int = 9, lead: int = 8, split: str = "train") -> dict[str, int]:
    """Count the windows of `frames` frames in each action group.

    Raises:
        ValueError: the store has no such window, or windows are all lead.
    """
    return group_sizes(group_labels(Windows([store], frames, split), 0, lead))


def group_sizes(*labels: UInt8[np.ndarray, "_"]) -> dict[str, int]:
    """Count labels by the name of their group."""
    return {name: sum(int((found == label).sum()) for found in labels) for label, name in enumerate(GROUPS)}


def group_members(labels: UInt8[np.ndarray, "_"], group: str, first: int) -> Integer[np.ndarray, "members"]:
    """Return the numbers of a group's windows, in four bytes each where that suffices.

    Args:
        labels: of windows numbered from `first` on.
        group: its name.
        first: number of the first window.
    """
    small = np.uint32 if first + len(labels) < 2**32 else np.int64
    return np.flatnonzero(labels == GROUPS.index(group)).astype(small) + small(first)


class ControlUses:
    """Which controls of a game turn the view, and what of the others is held."""

    def __init__(self, actions: ActionSpace) -> None:
        self._idle = actions.idle
        self._controls = actions.controls
        self._camera = [i for i, control in enumerate(actions.controls) if turns_view(control)]
        self._movement = [i for i, control in enumerate(actions.controls) if not turns_view(control)]

    def groups(
        self, rows: Float32[np.ndarray, "n c"], windows: int, start: int, stop: int
    ) -> UInt8[np.ndarray, "windows"]:
        """Return the group of each of an episode's windows, by its actions `start` to `stop` - 1."""
        moves = within(self._used(rows, self._movement), windows, start, stop)
        turns = within(self._used(rows, self._camera), windows, start, stop)
        changes = within(self._changed(rows), windows, max(start, 1), stop)
        conditions = [changes, moves & ~turns, turns & ~moves, moves & turns]  # in the order of GROUPS
        return np.select(conditions, np.arange(len(conditions), dtype=np.uint8), np.uint8(GROUPS.index("static")))

    def _used(self, rows: Float32[np.ndarray, "n c"], columns: list[int]) -> Bool[np.ndarray, "n"]:
        used = np.zeros(len(rows), np.bool_)
        for column in columns:
            used |= rows[:, column] != self._idle[column]
        return used

    def _changed(self, rows: Float32[np.ndarray, "n c"]) -> Bool[np.ndarray, "n"]:
        """Say for each action whether something that is held differs from the action before."""
        changed = np.zeros(len(rows), np.bool_)
        for column, control in enumerate(self._controls):
            if isinstance(control, Axis) and control.kind == "delta":
                continue
            held = rows[:, column]
            if isinstance(control, Axis):
                held = np.sign(held - self._idle[column])  # a stick trembles; what counts is where it is pushed
            changed[1:] |= held[1:] != held[:-1]
        return changed


def turns_view(control: Control) -> bool:
    """Whether a control belongs to the camera."""
    if isinstance(control, Choice):
        return False
    return control.turns is not None or (isinstance(control, Axis) and control.kind == "delta")
