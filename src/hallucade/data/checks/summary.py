"""What is in a store: sizes, splits, and how often each value of each control is held."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hallucade.actions import Axis, Button, Choice, Control
from hallucade.data.journal import EpisodeRecord
from hallucade.data.store import EpisodeStore, first_row

BINS = 5  # equal parts of an axis' range that are counted


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


def action_counts(store: EpisodeStore, episodes: Sequence[int], bins: int = BINS) -> dict[str, dict[str, int]]:
    """Count for each control how many frames each value was held; axes in `bins` equal parts of their range."""
    rows = sampled_actions(store, episodes)
    return {c.name: _counts(c, rows[:, i], bins) if len(rows) else {} for i, c in enumerate(store.actions.controls)}


def sampled_actions(store: EpisodeStore, episodes: Sequence[int]) -> np.ndarray:
    """Return the action rows of some episodes end to end, without those that are no numbers."""
    rows = [episode_actions(store, store.episodes[i]) for i in episodes]
    joined = np.concatenate(rows) if rows else np.zeros((0, store.actions.size), np.float32)
    return joined[np.isfinite(joined).all(axis=1)]


def episode_actions(store: EpisodeStore, record: EpisodeRecord) -> np.ndarray:
    """Return the action rows of an episode, a view of the disk."""
    first = first_row(record, store.manifest.column("actions"))
    return store.column(record.shard, "actions")[first : first + record.length]


def spread(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` of range(total), evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).astype(np.int64)).tolist()


def _counts(control: Control, values: np.ndarray, bins: int) -> dict[str, int]:
    match control:
        case Button():
            return {"released": int((values == 0).sum()), "held": int((values != 0).sum())}
        case Choice():
            return {option: int((values == i).sum()) for i, option in enumerate(control.options)}
        case Axis():
            counts, edges = np.histogram(values, bins, (control.low, control.high))
            names = (f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges))
            return dict(zip(names, counts.tolist(), strict=True))
