"""Which frames of a store are measured for motion: runs of bounded length, spread over episodes and their parts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from hallucade.data.checks.alignment_evidence import PARTS, Run
from hallucade.data.checks.motion import Motion, measure_motion
from hallucade.data.checks.summary import spread
from hallucade.data.store import EpisodeStore

SHORTEST = 48  # pairs a run: those at its ends have no neighbours at every lag
CHUNK = 512  # frames measured at a time, for memory


@dataclass(frozen=True)
class Span:
    """Successive pairs of frames of one episode."""

    episode: int
    first: int
    pairs: int


def plan_spans(store: EpisodeStore, pairs: int | None, without: Collection[int] = ()) -> list[Span]:
    """Choose spans of at most about `pairs` pairs of frames, or of all if None, leaving out some episodes."""
    episodes = [index for index in range(len(store)) if index not in without]
    if pairs is None:
        return [Span(index, 0, store.episodes[index].length) for index in episodes]
    chosen = [episodes[i] for i in spread(len(episodes), max(1, pairs // (PARTS * SHORTEST)))] if episodes else []
    return [span for i in chosen for span in _spans(i, store.episodes[i].length, pairs // len(chosen))]


def measure_spans(
    store: EpisodeStore, spans: list[Span], progress: Callable[[int, int], None] | None = None
) -> list[Run]:
    """Measure the motion in each span; `progress` is called with (pairs measured, pairs)."""
    total, done, runs = sum(span.pairs for span in spans), 0, list[Run]()
    for span in spans:
        rows = store.read(span.episode, span.first, span.pairs + 1).actions
        motion = Motion.joined([_measure(store, part) for part in _chunks(span)])
        runs.append(Run(span.episode, span.first, store.episodes[span.episode].length, rows, motion))
        done += span.pairs
        if progress is not None:
            progress(done, total)
    return runs


def _spans(episode: int, length: int, pairs: int) -> list[Span]:
    """Return the whole of a short episode, or a span in the middle of each of its parts."""
    if length <= max(pairs, PARTS * SHORTEST):
        return [Span(episode, 0, length)]
    each = max(SHORTEST, pairs // PARTS)
    starts = [(2 * part + 1) * length // (2 * PARTS) - each // 2 for part in range(PARTS)]
    return [Span(episode, start, each) for start in starts]


def _chunks(span: Span) -> list[Span]:
    starts = range(span.first, span.first + span.pairs, CHUNK)
    return [Span(span.episode, start, min(CHUNK, span.first + span.pairs - start)) for start in starts]


def _measure(store: EpisodeStore, span: Span) -> Motion:
    return measure_motion(store.read(span.episode, span.first, span.pairs + 1).frames)
