"""Focus: see more of what is rare, as the simulator's state tells."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from hallucade.config import Config
from hallucade.data.store import EpisodeStore
from hallucade.data.windows import Windows


@dataclass(frozen=True, kw_only=True)
class Focus(Config):
    """Draw a share of each batch from windows in which something rare happens, as the simulator's state tells.

    A window counts when one of `changes` takes another value at one of its frames from `lead` - `aftermath` on, and
    none of `avoids` does between its frames.
    """

    changes: tuple[str, ...]  # state variables
    avoids: tuple[str, ...] = ()  # state variables
    share: float = 0.5  # of each batch
    lead: int = 8  # frames at the start of a window that are context only
    aftermath: int = 3  # frames after a change that still count: what it led to shows in them

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"focus share is {self.share}; it lies between 0 and 1")
        if not self.changes:
            raise ValueError("a focus has no changes to look for; name a state variable, or leave out the focus")
        for name in ("lead", "aftermath"):
            if getattr(self, name) < 0:
                raise ValueError(f"focus {name} is {getattr(self, name)} frames; use 0 or more")

    @property
    def first(self) -> int:
        """The first frame of a window at which a change counts."""
        return max(self.lead - self.aftermath, 0)


def focused_windows(windows: Windows, store: int, focus: Focus, stride: int = 1) -> Int64[np.ndarray, "windows"]:
    """Return the numbers of the windows of one of the stores that `focus` asks for.

    Of windows that show one frame in `stride`, the focus counts shown ones.

    Raises:
        ValueError: the store has no such state variable, or no such window.
        DamageError: a state is not what was recorded.
    """
    frames = (windows.frames - 1) // stride + 1
    if focus.first >= frames:
        raise ValueError(
            f"the focus counts changes from frame {focus.first} of a window on, and windows have {frames} "
            "frames; lower lead or use longer windows"
        )
    start = (focus.first - 1) * stride + 1 if focus.first else 0
    source = windows.stores[store]
    _check_known(source, (*focus.changes, *focus.avoids))
    sought = [source.state_names.index(name) for name in focus.changes]
    avoided = [source.state_names.index(name) for name in focus.avoids]
    found: list[np.ndarray] = []
    for numbers, state in windows.columns(store, "state"):
        seen = within(_changed(state[:, sought]), len(numbers), start, windows.frames)
        spoiled = within(_changed(state[:, avoided]), len(numbers), 1, windows.frames)
        found.append(numbers.start + np.flatnonzero(seen & ~spoiled))
    ids = np.concatenate(found) if found else np.empty(0, np.int64)
    if len(ids) == 0:
        raise ValueError(f"{', '.join(focus.changes)} never changes in a window of {source.path}; leave out the focus")
    return ids


def within(events: Bool[np.ndarray, "rows"], windows: int, start: int, stop: int) -> Bool[np.ndarray, "windows"]:
    """Say for each of an episode's windows whether an event lies at its rows `start` to `stop` - 1."""
    before = np.zeros(len(events) + 1, np.int32)
    np.cumsum(events, out=before[1:])
    return before[stop : stop + windows] > before[start : start + windows]


def _changed(state: Shaped[np.ndarray, "f v"]) -> Bool[np.ndarray, "f"]:
    """Say for each frame whether any variable differs from the frame before."""
    changed = np.zeros(len(state), np.bool_)
    changed[1:] = (state[1:] != state[:-1]).any(1)
    return changed


def _check_known(store: EpisodeStore, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in store.state_names]
    if unknown:
        known = ", ".join(store.state_names) or "none"
        raise ValueError(f"{store.path} has no state variable {', '.join(unknown)}; it has {known}")
