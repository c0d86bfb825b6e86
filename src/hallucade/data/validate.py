"""Looks for what spoils a training before it starts; behind `hallucade inspect`.

Some checks read only the list of episodes and see all of it; the others read a sample of bounded size, spread evenly,
so that a store of any size is checked in seconds. ``EpisodeStore.verify`` reads every byte.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from hallucade.actions import Axis, Button, Choice, Control
from hallucade.data.journal import EpisodeRecord
from hallucade.data.manifest import StoreColumn
from hallucade.data.store import EpisodeStore, first_row

BALANCE = 0.995  # a control that holds one value for more than this share of the time teaches next to nothing
BINS = 5  # equal parts of an axis' range that are counted
SAMPLED_BYTES = 2**28  # read for checksums and frames, about


@dataclass(frozen=True)
class Problem:
    """Something found in a store, and what to do about it."""

    severity: Literal["error", "warning"]  # an error makes data wrong, a warning makes it poor
    episode: int | None
    frame: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        places = (("episode", self.episode), ("frame", self.frame))
        where = " ".join(f"{noun} {number}" for noun, number in places if number is not None)
        return f"{self.severity}: {where + ': ' if where else ''}{self.what}; {self.remedy}"


@dataclass(frozen=True)
class Summary:
    """What is in a store."""

    episodes: int
    frames: int
    hours: float
    fps: float
    frame_size: tuple[int, int]  # height, width in pixels
    size_bytes: int  # of all columns
    splits: dict[str, int]  # episodes of each
    action_counts: dict[str, dict[str, int]]  # of each control, sampled: frames for which each value was held
    state_names: tuple[str, ...]
    game: str | None
    source: str
    licence: str
    command: str
    fingerprint: str


def summarise(store: EpisodeStore, episodes: int = 500) -> Summary:
    """Summarise a store; `action_counts` are of at most `episodes` episodes."""
    manifest = store.manifest
    size = sum(c.rows(r.length) * c.row_bytes for r in store.episodes for c in manifest.columns)
    return Summary(
        episodes=len(store),
        frames=store.total_frames,
        hours=store.hours,
        fps=store.fps,
        frame_size=store.frame_size,
        size_bytes=size,
        splits=dict(Counter(record.split for record in store.episodes)),
        action_counts=action_counts(store, spread(len(store), episodes)),
        state_names=store.state_names,
        game=store.game,
        source=manifest.source,
        licence=manifest.licence,
        command=manifest.command,
        fingerprint=store.fingerprint,
    )


def action_counts(store: EpisodeStore, episodes: Sequence[int]) -> dict[str, dict[str, int]]:
    """Count for each control how many frames each value was held; axes in `BINS` equal parts of their range."""
    if not episodes:
        return {control.name: {} for control in store.actions.controls}
    rows = np.concatenate([_actions(store, store.episodes[i]) for i in episodes])
    rows = rows[np.isfinite(rows).all(axis=1)]
    return {c.name: _counts(c, rows[:, i]) for i, c in enumerate(store.actions.controls)}


def check_store(store: EpisodeStore, episodes: int = 200, frames: int = 16) -> list[Problem]:
    """Return what is wrong with a store, errors first.

    Args:
        store: opened, so its manifest and file sizes are right.
        episodes: at most so many are read, spread evenly.
        frames: at most so many pictures are looked at in each.
    """
    if len(store) == 0:
        return [Problem("warning", None, None, "the store has no episode", "record some")]
    largest = max(record.frames for record in store.episodes) * sum(c.row_bytes for c in store.manifest.columns)
    sample = spread(len(store), max(1, min(episodes, SAMPLED_BYTES // largest)))
    found = [
        *_check_layout(store),
        *_check_duplicates(store),
        *_check_splits(store),
        *_check_checksums(store, sample),
        *(problem for index in sample for problem in _check_actions(store, index)),
        *(problem for index in sample for problem in _check_frames(store, index, frames)),
        *_check_balance(store, spread(len(store), episodes)),
    ]
    return sorted(found, key=lambda problem: problem.severity)


def spread(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` of range(total), evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).astype(np.int64)).tolist()


def _check_layout(store: EpisodeStore) -> Iterator[Problem]:
    """Episodes must lie end to end: an overlap would join the frames of one game to the actions of another."""
    rows: dict[int, tuple[int, int]] = {}
    for index, record in enumerate(store.episodes):
        frame, action = rows.get(record.shard, (0, 0))
        if (record.frame_offset, record.action_offset) != (frame, action):
            what = f"its rows start at {(record.frame_offset, record.action_offset)}, the last episode's end at "
            yield Problem("error", index, None, what + f"{(frame, action)}", "record the store again")
        rows[record.shard] = (record.frame_offset + record.frames, record.action_offset + record.length)


def _check_duplicates(store: EpisodeStore) -> Iterator[Problem]:
    first: dict[tuple[object, ...], int] = {}
    for index, record in enumerate(store.episodes):
        key = (record.length, *record.crc32["frames"], *record.crc32["actions"])
        if (earlier := first.setdefault(key, index)) != index:
            across = record.split != store.episodes[earlier].split
            what = f"it is the same as episode {earlier}" + (", which is in the other split" if across else "")
            yield Problem("error" if across else "warning", index, None, what, "leave it out, or record other seeds")


def _check_splits(store: EpisodeStore) -> Iterator[Problem]:
    for split in ("train", "validation"):
        if not store.indices(split):
            yield Problem("warning", None, None, f"no episode is for {split}", "record more, or change the share")


def _check_checksums(store: EpisodeStore, sample: Sequence[int]) -> Iterator[Problem]:
    for damage in store.damage(sample):
        yield Problem("error", damage.episode, None, str(damage), "restore the file from a copy or record again")


def _check_actions(store: EpisodeStore, index: int) -> Iterator[Problem]:
    rows = _actions(store, store.episodes[index])
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        frame = int(np.argmin(finite))
        yield Problem("error", index, frame, f"the action is {rows[frame].tolist()}", "repair it in the importer")
        return
    try:
        store.actions.validate(rows)
    except ValueError as error:
        yield Problem("error", index, None, str(error), "the store cannot be trained on as it is")


def _check_frames(store: EpisodeStore, index: int, frames: int) -> Iterator[Problem]:
    record = store.episodes[index]
    first, shots = record.frame_offset, spread(record.frames, frames)
    pictures = store.column(record.shard, "frames")[np.array(shots) + first]
    flat = pictures.reshape(len(shots), -1, 3)
    plain = (flat == flat[:, :1]).all(axis=(1, 2))
    if plain.any():
        shot = int(np.argmax(plain))
        colour = flat[shot, 0].tolist()
        what = "the frame is black" if not any(colour) else f"the whole frame has one colour, {colour}"
        yield Problem("warning", index, shots[shot], what, "leave such frames out: loading screens, a lost capture")
    if len(shots) > 1 and not plain.any() and (pictures == pictures[:1]).all():
        what = f"nothing moves: {len(shots)} frames over the whole episode are the same"
        yield Problem("warning", index, None, what, "leave it out, or check the capture")


def _check_balance(store: EpisodeStore, sample: Sequence[int]) -> Iterator[Problem]:
    for name, counts in action_counts(store, sample).items():
        total = sum(counts.values())
        value, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if total and most / total > BALANCE:
            what = f"action {name!r} is {value} in {100 * most / total:.1f} % of frames"
            yield Problem("warning", None, None, what, "record play that uses it, or leave the control out")
        elif total and (unused := [value for value, count in counts.items() if count == 0]):
            what = f"action {name!r} is never {', '.join(unused)}"
            yield Problem("warning", None, None, what, "record play that uses all of it")


def _actions(store: EpisodeStore, record: EpisodeRecord) -> np.ndarray:
    column: StoreColumn = store.manifest.column("actions")
    first = first_row(record, column)
    return store.column(record.shard, "actions")[first : first + record.length]


def _counts(control: Control, values: np.ndarray) -> dict[str, int]:
    match control:
        case Button():
            return {"released": int((values == 0).sum()), "held": int((values != 0).sum())}
        case Choice():
            return {option: int((values == i).sum()) for i, option in enumerate(control.options)}
        case Axis():
            counts, edges = np.histogram(values, BINS, (control.low, control.high))
            names = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
            return dict(zip(names, counts.tolist(), strict=True))
