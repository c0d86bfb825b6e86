"""Looks for what spoils a training before it starts; behind `hallucade inspect` and `hallucade validate`.

``check_store`` takes seconds: some of its checks see the list of all episodes, the others a sample of bounded size,
spread evenly. ``validate_store`` also reads every byte, and holds what moves against what is held.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hallucade.actions import Axis
from hallucade.data.checks.alignment import Alignment, estimate_alignment
from hallucade.data.checks.alignment_problems import alignment_problems
from hallucade.data.checks.motion_checks import check_motion
from hallucade.data.checks.motion_sample import measure_spans, plan_spans
from hallucade.data.checks.near_duplicates import check_near_duplicates
from hallucade.data.checks.problem import Problem
from hallucade.data.checks.summary import Summary, action_counts, episode_actions, sampled_actions, spread, summarise
from hallucade.data.store import EpisodeStore

__all__ = ["Problem", "Summary", "Validation", "check_store", "summarise", "validate_store"]

BALANCE = 0.995  # a control that holds one value for more than this share of the time teaches next to nothing
SAMPLED_BYTES = 2**28  # read for checksums and frames, about
MOTION_PAIRS = 8_000  # pairs of frames whose motion is measured, about: some ten seconds
MOTION_BYTES = 2**31  # of the frames in them


@dataclass(frozen=True)
class Validation:
    """What `validate_store` found, and what it looked at."""

    problems: tuple[Problem, ...]  # errors first
    alignment: Alignment
    checked: tuple[str, ...]  # one line a kind of check: how much of the store it saw

    @property
    def failed(self) -> bool:
        """Whether the store must not be trained on as it is."""
        return any(problem.severity == "error" for problem in self.problems)


def validate_store(
    store: EpisodeStore,
    *,
    full: bool = False,
    checksums: bool = True,
    progress: Callable[[str, float], None] | None = None,
) -> Validation:
    """Check every byte of a store, its records, actions and pictures, and that actions and motion belong together.

    Args:
        full: look at every frame and action; otherwise at a sample of bounded size, spread evenly.
        checksums: compare every byte with what was recorded; otherwise those of the sample.
        progress: called with what is being done, and the share of it that is.
    """
    sample = range(len(store)) if full else _sample(store, 200)
    damaged, read = _damaged(store, range(len(store)) if checksums else sample, progress), len(sample)
    bad = {problem.episode for problem in damaged if problem.episode is not None}
    good = [index for index in sample if index not in bad]
    pictures = max(record.frames for record in store.episodes) if full and len(store) else 16
    found = [*damaged, *_check_sample(store, good, pictures)]
    unreadable = bad | {p.episode for p in found if p.severity == "error" and p.episode is not None}
    found += check_near_duplicates(store, unreadable)
    pairs = None if full else max(1, min(MOTION_PAIRS, MOTION_BYTES // store.manifest.column("frames").row_bytes))
    spans = plan_spans(store, pairs, unreadable)
    runs = measure_spans(store, spans, None if progress is None else _stage(progress, "measuring motion"))
    alignment = estimate_alignment(store.actions, runs)
    if runs:
        found += [*check_motion(store.actions, runs), *alignment_problems(alignment)]
    checked = (
        f"checksums: {'every byte' if checksums else f'{read} episodes'} of {len(store)} episodes",
        f"actions: {len(good)} of {len(store)} episodes",
        f"motion: {sum(span.pairs for span in spans)} pairs of frames in {len({s.episode for s in spans})} episodes",
    )
    return Validation(tuple(sorted(found, key=lambda problem: problem.severity)), alignment, checked)


def check_store(store: EpisodeStore, episodes: int = 200, frames: int = 16) -> list[Problem]:
    """Return what is wrong with a store, as far as seconds tell; errors first.

    Args:
        store: opened, so its manifest and file sizes are right.
        episodes: at most so many are read, spread evenly.
        frames: at most so many pictures are looked at in each.
    """
    sample = _sample(store, episodes)
    found = [*_damaged(store, sample, None), *_check_sample(store, sample, frames)]
    return sorted(found, key=lambda problem: problem.severity)


def _sample(store: EpisodeStore, episodes: int) -> list[int]:
    """Return at most so many episodes whose bytes can be read in a second."""
    if len(store) == 0:
        return []
    largest = max(record.frames for record in store.episodes) * sum(c.row_bytes for c in store.manifest.columns)
    return spread(len(store), max(1, min(episodes, SAMPLED_BYTES // largest)))


def _check_sample(store: EpisodeStore, sample: Sequence[int], frames: int) -> list[Problem]:
    if len(store) == 0:
        return [Problem("warning", None, None, "the store has no episode", "record some")]
    return [
        *_check_layout(store),
        *_check_duplicates(store),
        *_check_splits(store),
        *_check_notes(store),
        *(problem for index in sample for problem in _check_actions(store, index)),
        *(problem for index in sample for problem in _check_frames(store, index, frames)),
        *_check_balance(store, sample),
    ]


def _damaged(
    store: EpisodeStore, episodes: Sequence[int], progress: Callable[[str, float], None] | None
) -> list[Problem]:
    def counted() -> Iterator[int]:
        for done, index in enumerate(episodes):
            if progress is not None:
                progress("reading every byte", done / len(episodes))
            yield index

    remedy = "restore the file from a copy or record again"
    return [Problem("error", d.episode, None, str(d), remedy) for d in store.damage(counted())]


def _stage(progress: Callable[[str, float], None], stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done / total)


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


def _check_notes(store: EpisodeStore) -> Iterator[Problem]:
    for index, record in enumerate(store.episodes):
        for note in record.notes:
            named = f"{record.name}: {note}" if record.name else note
            yield Problem("warning", index, None, named, "an importer repaired it: look whether that is what you want")


def _check_actions(store: EpisodeStore, index: int) -> Iterator[Problem]:
    rows = episode_actions(store, store.episodes[index])
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
    rows = sampled_actions(store, sample)
    if not len(rows):
        return
    for column, (name, counts) in enumerate(action_counts(store, sample).items()):
        control = store.actions.controls[column]
        if isinstance(control, Axis) and control.kind == "delta":  # a mouse rests, and hardly ever reaches its limits
            value, share, unused = "idle", float((rows[:, column] == control.idle).mean()), []
        else:
            value, most = max(counts.items(), key=lambda item: item[1])
            share, unused = most / len(rows), [value for value, count in counts.items() if count == 0]
        if share > BALANCE:
            what = f"action {name!r} is {value} in {100 * share:.1f} % of frames"
            yield Problem("warning", None, None, what, "record play that uses it, or leave the control out")
        elif unused:
            what = f"action {name!r} is never {', '.join(unused)}"
            yield Problem("warning", None, None, what, "record play that uses all of it")
