"""Dreams of several runs, from the same prompts under the same actions with the same seeds, and what they score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.config import Config
from hallucade.data.clips import ClipWindows
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.compare.figures import Figure, Resampling
from hallucade.evaluation.compare.scores import action_counts, long_scores, picture_scores
from hallucade.evaluation.comparison_video import comparison_video
from hallucade.evaluation.controllability import ActionReader
from hallucade.evaluation.dream_series import DreamSeries, Told, dream_series, real_series, recorded_actions
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.long_run.true_play import RecordedPlay
from hallucade.evaluation.recorded_clips import check_same_game
from hallucade.evaluation.result import Progress, Still, Video, silent
from hallucade.evaluation.token_check.strips import MOMENTS, stability_strip, storyboard
from hallucade.rollout import Prompt, World

SPLIT = "validation"
REAL = "real"
Scores = dict[str, Figure]


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Config):
    """What is dreamed.

    Raises:
        ValueError: a number that leaves nothing to compare.
    """

    clips: int = 32
    prompt_frames: int = 8
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # frames at which dreams are held against what really came
    batch: int = 16  # clips at a time
    games: int = 8  # dreamed on; 0 leaves long dreams out
    long: int = 300  # frames of a long dream
    shown: int = 3  # clips in the video, and games in the stability strip
    resamples: int = 1000  # of clips, for intervals
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1:
            raise ValueError(f"horizons are {self.horizons}; give one or more, from 1 up")
        for name, least in (("clips", 2), ("prompt_frames", 2), ("batch", 1), ("games", 0), ("long", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} or more")
        if self.shown < 1 or self.resamples < 1:
            raise ValueError(f"shown is {self.shown} and resamples {self.resamples}; use 1 or more")


@dataclass(frozen=True)
class Comparison:
    """What several runs scored, the first of them being the one that others are held against."""

    scores: Mapping[str, Scores]  # by run, then by metric; "real" holds ceilings
    video: Video
    stills: tuple[Still, ...]
    protocol: Mapping[str, str]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs, in the order given."""
        return tuple(name for name in self.scores if name != REAL)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some run has."""
        return tuple(dict.fromkeys(metric for run in self.runs for metric in self.scores[run]))

    def difference(self, run: str, metric: str) -> Figure | None:
        """Return a run's figure less the first run's; None where one of them has none."""
        ours, theirs = self.scores[run].get(metric), self.scores[self.runs[0]].get(metric)
        return None if ours is None or theirs is None else ours.less(theirs)


def compare_worlds(
    worlds: Mapping[str, World],
    store: EpisodeStore,
    config: CompareConfig | None = None,
    reader: ActionReader | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Compare runs of any kind on held-out play of their game.

    Args:
        worlds: two or more, by name; others are held against the first.
        store: recorded play with a validation split.
        config: what is dreamed.
        reader: reads actions off dreams; without one there is no F1.
        progress: told what is running and the share of the whole that is done.

    Raises:
        ValueError: fewer than two runs, or runs, store or reader of different games, naming both sides.
    """
    config = config or CompareConfig()
    check_comparable(worlds, store, reader)
    first, resampling = next(iter(worlds.values())), Resampling(config.resamples, config.seed)
    clips = _Clips.of(store, first, config)
    play = RecordedPlay(store, config.games, config.prompt_frames, config.long) if config.games else None
    scores, long = dict[str, Scores](), dict[str, DreamSeries]()
    shown = {REAL: np.concatenate([clips.past[:, -1:], clips.future], 1)[: config.shown]}
    for number, (name, world) in enumerate(worlds.items()):
        told = partial(_told, progress, name, number, len(worlds))
        dreams = clips.dreamed(world, config, told)
        shown[name] = np.concatenate([shown[REAL][:, :1], dreams[: config.shown]], 1)
        found = dict(picture_scores(dreams, clips.future, config.horizons, resampling))
        if reader is not None:
            found |= resampling.actions(action_counts(reader, clips.past, dreams, clips.held))
        if play is not None:
            real, long[name] = _long(world, play, config, told)
            long.setdefault(REAL, real)
            found |= dict(long_scores(long[name], real, resampling))
        scores[name] = {metric: figure for metric, figure in found.items() if figure is not None}
    if reader is not None:
        scores[REAL] = resampling.actions(action_counts(reader, clips.past, clips.future, clips.held))
    video = comparison_video(shown, first.actions, clips.held[: config.shown])
    return Comparison(
        scores,
        Video("The same moments", video, first.fps, clips.protocol),
        tuple(_stills(worlds, clips, long, config)),
        _protocol(clips, play, config, reader),
    )


def check_comparable(worlds: Mapping[str, World], store: EpisodeStore, reader: ActionReader | None = None) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        ValueError: names both sides.
    """
    if len(worlds) < 2:
        raise ValueError(f"{len(worlds)} run(s) to compare; give two or more")
    (first, one), *others = worlds.items()
    for name, world in others:
        if world.frame_size != one.frame_size:
            sizes = ("x".join(map(str, each.frame_size)) for each in (one, world))
            raise ValueError(
                f"{first} dreams {next(sizes)} pixels and {name} {next(sizes)}; compare runs of pictures of one size"
            )
        if difference := one.actions.difference(world.actions):
            raise ValueError(f"{first} and {name} have different actions: {difference}; compare runs of one game")
    check_same_game(one, store)
    if reader is not None:
        reader.check(one.actions, one.frame_size, first)


@dataclass(frozen=True)
class _Clips:
    """Held-out windows: `past` frames, and the `future` that `held` actions led to."""

    past: UInt8[np.ndarray, "b p h w 3"]
    future: UInt8[np.ndarray, "b n h w 3"]
    held: Float32[np.ndarray, "b n c"]
    prompts: list[Prompt]

    @classmethod
    def of(cls, store: EpisodeStore, world: World, config: CompareConfig) -> "_Clips":
        p, window = config.prompt_frames, config.prompt_frames + max(config.horizons)
        windows = ClipWindows(store, world.actions, frames=window, batch=config.clips, seed=config.seed, split=SPLIT)
        frames, rows = windows.windows.gather(windows.ids_at(0))
        prompts = [Prompt(f[:p], r[: p - 1]) for f, r in zip(frames, rows, strict=True)]
        return cls(frames[:, :p], frames[:, p:], rows[:, p - 1 :], prompts)

    @property
    def protocol(self) -> str:
        """What is dreamed, in words."""
        clips, frames = self.future.shape[:2]
        return (
            f"{clips} windows of the {SPLIT} split: {self.past.shape[1]} real frames, then {frames} dreamed under the "
            "recorded actions."
        )

    def dreamed(self, world: World, config: CompareConfig, told: Told) -> UInt8[np.ndarray, "b n h w 3"]:
        """Dream the future; half of the way for `told` where there are long dreams too."""
        parts, whole = list[np.ndarray](), 0.5 if config.games else 1.0
        for batch, dreams in dream_batches(world, self.prompts, self.held, config.batch, config.seed):
            parts.append(dreams)
            told(whole * min(1.0, (batch.start + len(dreams)) / len(self.prompts)))
        return np.concatenate(parts)


def _long(world: World, play: RecordedPlay, config: CompareConfig, told: Told) -> tuple[DreamSeries, DreamSeries]:
    """Return real play as the world's tokenizer sees it, and the world's long dreams."""
    known, moments = int(play.lengths.min()), [m for m in MOMENTS if m <= config.long]
    real = real_series(world, play, known, [m for m in moments if m <= known])
    rows = recorded_actions(play, config.long)
    dream = dream_series(world, play.prompts, rows, config.seed, moments, lambda share: told(0.5 + 0.5 * share))
    return real, dream


def _stills(
    worlds: Mapping[str, World], clips: _Clips, long: Mapping[str, DreamSeries], config: CompareConfig
) -> Iterator[Still]:
    if long:
        real = {REAL: long[REAL]}
        yield stability_strip({**real, **long}, min(config.shown, config.games), "Long dreams")
    for name, world in worlds.items():
        yield storyboard(
            world, clips.prompts[0], config.seed, f"The same prompt under one action after the other: {name}"
        )


def _protocol(
    clips: _Clips, play: RecordedPlay | None, config: CompareConfig, reader: ActionReader | None
) -> dict[str, str]:
    found = {
        "Clips": f"{clips.protocol[:-1]}, seed {config.seed}",
        "Intervals": f"95 %, over {config.resamples:,} bootstrap resamples of clips or games; differences are over the "
        "same resamples for every run",
    }
    if play is not None:
        found["Long dreams"] = (
            f"{play.count} validation episodes from their beginning, {config.long} frames under the recorded actions, "
            "again from the first where an episode ends"
        )
    if reader is not None:
        found["Actions read by"] = f"{reader.fingerprint} ({reader.run}), trained on store {reader.data}"
    return found


def _told(progress: Progress, name: str, number: int, parts: int, share: float) -> None:
    progress(f"dreaming {name}", (number + share) / parts)
