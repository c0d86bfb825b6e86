"""Episodes that show the same play once more: encoded again, trimmed, or recorded twice from one screen.

Their bytes differ, so each picture is reduced to 64 signs of brightness from cell to cell; another encoding keeps most
(Krawetz 2013, "Kind of like that"). Pictures with half of them in common vote for two episodes and how far these
are apart in time; the pair counts if its frames agree at that distance far better than at others, and its actions too.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Int64, UInt32, UInt64

from hallucade.data.checks.problem import Problem
from hallucade.data.checks.summary import episode_actions, spread
from hallucade.data.store import EpisodeStore
from hallucade.shapes import FrameArray

FRAMES = 60_000  # that are compared, about: some seconds
BYTES = 2**30  # of them
CELLS = 8  # a side; each gives one bit
MARGIN = 4  # grey levels between neighbours: below it is noise of an encoder
PROBES = 32  # pictures of an episode that are looked for in all others
COMMON = 128  # times that signs may occur and still tell something
CANDIDATES = 3  # pairs an episode that are compared frame by frame
SHORTEST = 12  # frames that two episodes must share
SHARED = 0.5  # of the shorter episode
ALIKE = 0.2  # of the usual distance, that of frames of other times: chance in Pong comes to 0.28
AGREE = 0.9  # of the actions that two episodes share
CHANGES = 3  # times that these must change at least
MOVING = 1.0  # bits: where the usual distance is less, all looks the same anyway


@dataclass(frozen=True)
class Match:
    """Two episodes that show the same: frame i of one is frame i + `later` of the other."""

    earlier: int
    episode: int
    later: int  # frames
    shared: int  # frames


def check_near_duplicates(store: EpisodeStore, without: Collection[int] = ()) -> Iterator[Problem]:
    """Yield a warning for each episode that shows what an earlier one shows; bit-equal ones are found elsewhere."""
    episodes = _sample(store, [index for index in range(len(store)) if index not in without])
    signs = [_episode_signs(store, index) for index in episodes]
    for match in near_duplicates(signs):
        first, second = episodes[match.earlier], episodes[match.episode]
        one, other = store.episodes[first], store.episodes[second]
        same = one.length == other.length and one.crc32["frames"] == other.crc32["frames"]
        if same or not _actions_agree(store, first, second, match):
            continue
        names = f" ({one.name} and {other.name})" if one.name or other.name else ""
        across = ", which is in the other split" if one.split != other.split else ""
        what = f"{match.shared} of its {other.frames} frames look like those of episode {first}{across}{names}"
        yield Problem("warning", second, max(match.later, 0), what, "leave one of them out: it counts twice")


def near_duplicates(signs: Sequence[UInt64[np.ndarray, "_"]]) -> Iterator[Match]:
    """Yield for each episode, given the signs of its frames, the earlier one that it repeats, if there is one."""
    halves = [_Index([s.view(np.uint32)[half::2] for s in signs]) for half in (0, 1)]
    for episode, own in enumerate(signs):
        votes: Counter[tuple[int, int]] = Counter()
        for frame in spread(len(own), PROBES):
            for half, index in enumerate(halves):
                votes.update(index.earlier(own[frame : frame + 1].view(np.uint32)[half], episode, frame))
        for (earlier, later), _ in votes.most_common(CANDIDATES):
            if shared := _shared(signs[earlier], own, later):
                yield Match(earlier, episode, later, shared)
                break


class _Index:
    """Finds the same half of the signs in other episodes: of 64 some change when a video is encoded again."""

    def __init__(self, signs: Sequence[UInt32[np.ndarray, "_"]]) -> None:
        every = np.concatenate(signs) if signs else np.zeros(0, np.uint32)
        self._order = np.argsort(every, kind="stable")
        self._ranked = every[self._order]
        self._owner = np.repeat(np.arange(len(signs)), [len(s) for s in signs])[self._order]
        self._place = np.concatenate([np.arange(len(s)) for s in signs])[self._order] if signs else self._order

    def earlier(self, half: np.uint32, episode: int, frame: int) -> Iterator[tuple[int, int]]:
        """Yield (episode, how much later this frame comes) of the same signs in episodes before this one."""
        first, last = (int(np.searchsorted(self._ranked, half, side)) for side in ("left", "right"))
        if last - first <= COMMON:
            for owner, place in zip(self._owner[first:last].tolist(), self._place[first:last].tolist(), strict=True):
                if owner < episode:
                    yield owner, frame - place


def signs_of(frames: FrameArray) -> UInt64[np.ndarray, "t"]:
    """Return 64 bits a frame: whether each of 8 x 8 cells is brighter than its neighbour to the left."""
    size = (CELLS + 1, CELLS)
    small = [cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA) for frame in frames]
    grey = np.stack(small).astype(np.float32).mean(axis=3)
    bits = np.diff(grey, axis=2) > MARGIN
    return np.packbits(bits.reshape(len(frames), -1), axis=1).view(np.uint64)[:, 0]


def _shared(one: UInt64[np.ndarray, "_a"], other: UInt64[np.ndarray, "_b"], later: int) -> int:
    """Return how many frames two episodes share at a distance, 0 if they do not show the same there."""
    start, stop = max(0, -later), min(len(one), len(other) - later)
    count = stop - start
    if count < max(SHORTEST, SHARED * min(len(one), len(other))):
        return 0
    a, b = one[start:stop], other[start + later : stop + later]
    apart = float(np.bitwise_count(a ^ b).mean())
    shifts = _shifts(count)
    usual = float(np.mean([np.bitwise_count(a ^ np.roll(b, shift)).mean() for shift in shifts.tolist()]))
    return count if usual >= MOVING and apart <= ALIKE * usual else 0


def _actions_agree(store: EpisodeStore, first: int, second: int, match: Match) -> bool:
    """Say whether the same was done in the shared frames, and something was: small games soon look alike."""
    start, actions = max(0, -match.later), match.shared - 1
    one = episode_actions(store, store.episodes[first])[start : start + actions]
    other = episode_actions(store, store.episodes[second])[start + match.later : start + match.later + actions]
    changes = int((one[1:] != one[:-1]).any(axis=1).sum())
    return changes >= CHANGES and float((one == other).all(axis=1).mean()) >= AGREE


def _shifts(count: int) -> Int64[np.ndarray, "s"]:
    """Return distances in time at which nothing is the same any more, if anything moves."""
    return np.unique(np.linspace(count // 4, 3 * count // 4, 5).astype(np.int64))


def _sample(store: EpisodeStore, episodes: list[int]) -> list[int]:
    """Return evenly spread episodes of about `FRAMES` frames together."""
    budget = min(FRAMES, BYTES // store.manifest.column("frames").row_bytes)
    mean = max(1, sum(store.episodes[i].frames for i in episodes) // max(1, len(episodes)))
    return [episodes[i] for i in spread(len(episodes), max(2, budget // mean))] if episodes else []


def _episode_signs(store: EpisodeStore, index: int) -> UInt64[np.ndarray, "t"]:
    return signs_of(store.episode(index).frames)
