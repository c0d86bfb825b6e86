"""The check of worlds of codes: predictions on recorded clips, and what long dreams do with their codes.

A figure that is not defined, such as the modulation of a model without any, is absent, and never 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hallucade.config import Config
from hallucade.data.clips import ClipWindows
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.dream_series import UNIQUE, DreamSeries, dream_series, real_series, recorded_actions
from hallucade.evaluation.long_run.true_play import RecordedPlay
from hallucade.evaluation.metrics.periodicity import flashing
from hallucade.evaluation.result import Curve, Evaluation, Plot, Progress, Still, silent
from hallucade.evaluation.tally import Tally
from hallucade.evaluation.token_check.predictions import (
    GradedClips,
    agreement,
    own_past_gap,
    predictions,
)
from hallucade.evaluation.token_check.strips import MOMENTS, SECTION, stability_strip, storyboard
from hallucade.models.base import LatentClip, TokenModel
from hallucade.rollout import World
from hallucade.samplers.base import seeded

SPLIT = "validation"
HORIZONS = (1, 10, 100, 300, 1000)
POINTS = 60  # of a curve


@dataclass(frozen=True, kw_only=True)
class TokenCheckConfig(Config):
    """How many clips are predicted, and how long is dreamed.

    Raises:
        ValueError: a number that leaves nothing to measure.
    """

    clips: int = 32
    prompt_frames: int = 8
    frames: int = 16  # predicted of each clip
    batch: int = 8  # clips at a time
    draws: int = 10  # of one frame, for consistency
    games: int = 4  # dreamed on; 0 leaves long dreams out
    long: int = 1000  # frames of a long dream
    shown: int = 2  # games in the stability strip
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("clips", 1),
            ("prompt_frames", 2),
            ("frames", 1),
            ("batch", 1),
            ("draws", 1),
            ("games", 0),
            ("long", 6),
            ("shown", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} or more")

    @classmethod
    def quick(cls) -> "TokenCheckConfig":
        """Return a check of a minute or two, with wider intervals."""
        return cls(clips=8, draws=5, games=2, long=300)


def evaluate_tokens(
    world: World, store: EpisodeStore, config: TokenCheckConfig | None = None, progress: Progress = silent
) -> Evaluation:
    """Judge a world of codes as such; metrics are named ``tokens/entropy``, ``tokens/unique_codes@100``.

    Raises:
        ValueError: the world has no codes, or the store no validation episode that is long enough.
    """
    config = config or TokenCheckConfig()
    if not isinstance(world.model, TokenModel):
        raise ValueError(f"a {type(world.model).__name__} has no codes; judge it by the other checks")
    means = on_clips(world, store, config, progress).means()
    found = Evaluation(
        {f"tokens/{name}": value for name, value in means.items()},
        protocol={
            "Codes": f"{config.clips} windows of the {SPLIT} split, seed {config.seed}; {config.frames} frames "
            f"predicted after {config.prompt_frames}; consistency over {config.draws} draws"
        },
    )
    return found.joined(long_dreams(world, store, config, progress)) if config.games else found


def on_clips(world: World, store: EpisodeStore, config: TokenCheckConfig, progress: Progress) -> Tally:
    """Return what is predicted on recorded clips, a value a clip; what is not defined is left out."""
    model: TokenModel[Any] = world.model  # type: ignore[assignment]
    tally, seeds = Tally(), seeded(config.seed, config.clips)
    for first, clips in _clips(world, store, config):
        rows = slice(first, first + len(clips.truth))
        generator = torch.Generator().manual_seed(config.seed + first)
        values = predictions(model, clips, world.actions, generator)
        values |= own_past_gap(world, clips, seeds[rows])
        values |= agreement(world, clips, lambda n, r=rows: seeded(config.seed + 1 + n, config.clips)[r], config.draws)
        for number in range(len(clips.truth)):
            tally.add({name: float(each[number]) for name, each in values.items()})
        progress("predicting codes", min(1.0, (first + len(clips.truth)) / config.clips) * (0.5 if config.games else 1))
    return tally


def long_dreams(world: World, store: EpisodeStore, config: TokenCheckConfig, progress: Progress) -> Evaluation:
    """Dream on from validation episodes, and look at codes, sharpness and flashes over time."""
    play = RecordedPlay(store, config.games, config.prompt_frames, config.long)
    known, moments = int(play.lengths.min()), [m for m in MOMENTS if m <= config.long]
    real = real_series(world, play, known, [m for m in moments if m <= known])
    rows = recorded_actions(play, config.long)
    dream = dream_series(
        world, play.prompts, rows, config.seed, moments, lambda share: progress("dreaming on", 0.5 + 0.5 * share)
    )
    stills: tuple[Still, ...] = (
        stability_strip({"real": real, "dream": dream}, min(config.shown, play.count)),
        storyboard(world, play.prompts[0], config.seed),
    )
    protocol = (
        f"{play.count} validation episodes from their beginning, {config.long} frames under the recorded actions, "
        f"again from the first where an episode ends; real play is the first {known} frames after each prompt"
    )
    return Evaluation(
        series_metrics(dream, real), _plots(dream, real), protocol={"Long dreams of codes": protocol}, stills=stills
    )


def series_metrics(dream: DreamSeries, real: DreamSeries, prefix: str = "tokens/") -> dict[str, float]:
    """Return numbers of a long dream: codes and sharpness at growing horizons beside real play's, and flashes."""
    frames, found = dream.series["energy"].shape[1], dict[str, float]()
    energy = float(real.series["energy"].mean())
    if UNIQUE in real.series:
        found[f"{prefix}unique_codes_real"] = float(real.series[UNIQUE].mean())
    for horizon in sorted({h for h in HORIZONS if h <= frames} | {frames}):
        if UNIQUE in dream.series:
            count = float(dream.around(UNIQUE, horizon).mean())
            found[f"{prefix}unique_codes@{horizon}"] = count
            found[f"{prefix}unique_codes_ratio@{horizon}"] = count / found[f"{prefix}unique_codes_real"]
        if energy > 0:
            found[f"{prefix}sharpness_ratio@{horizon}"] = float(dream.around("energy", horizon).mean()) / energy
    for who, series in (("", dream), ("_real", real)):
        found |= {f"{prefix}{name}{who}": value for name, value in flashes(series).items()}
    return found


def flashes(series: DreamSeries) -> Mapping[str, float]:
    """Return ``flash_share``, the mean over games of the larger share of two statistics, and ``flash_period``.

    The period is the most frequent one, if half of the games flash; see `flashing`.
    """
    shares, periods = list[float](), list[int]()
    for brightness, energy in zip(series.series["brightness"], series.series["energy"], strict=True):
        seen = [each for each in map(flashing, (brightness, np.sqrt(energy))) if each is not None]
        if seen:
            most = max(seen, key=lambda each: each.share)
            shares.append(most.share)
            periods += [] if most.period is None else [most.period]
    if not shares:
        return {}
    found = {"flash_share": float(np.mean(shares))}
    if 2 * len(periods) >= len(shares):
        found["flash_period"] = float(max(sorted(set(periods)), key=periods.count))
    return found


def _clips(world: World, store: EpisodeStore, config: TokenCheckConfig) -> Iterator[tuple[int, GradedClips]]:
    """Yield the number of the first clip and some clips."""
    k, r = world.model.block, world.tokenizer.stride
    graded = -(-config.frames // (k * r)) * k
    context = max(-(-config.prompt_frames // r), world.model.lead, world.model.grain)
    windows = ClipWindows(
        store, world.actions, frames=(context + graded) * r, batch=config.clips, seed=config.seed, split=SPLIT
    )
    frames, rows = windows.windows.gather(windows.ids_at(0))
    for first in range(0, config.clips, config.batch):
        part = slice(first, first + config.batch)
        pixels = torch.from_numpy(frames[part]).to(world.device)
        latents, features = world.tokenizer.encode(pixels), world.encode_actions(rows[part])
        yield first, GradedClips(LatentClip.encoded(latents, features, r), graded)


def _plots(dream: DreamSeries, real: DreamSeries) -> tuple[Plot, ...]:
    return (
        _plot(
            dream, real, UNIQUE, "Different codes in a frame", "codes", "Fewer than in real play: a dream collapses."
        ),
        _plot(
            dream,
            real,
            "energy",
            "Sharpness of a long dream",
            "mean squared step",
            "From pixel to pixel, grey levels squared: blur lowers it, noise raises it.",
        ),
    )


def _plot(dream: DreamSeries, real: DreamSeries, name: str, title: str, label: str, caption: str) -> Plot:
    curves = [_curve(series, name, said) for series, said in ((dream, "dream"), (real, "real play"))]
    return Plot(title, "frames dreamed", label, tuple(curves), caption, section=SECTION)


def _curve(series: DreamSeries, name: str, said: str) -> Curve:
    """Draw means over games and over a few frames."""
    values = series.series[name].mean(0)
    parts = np.array_split(np.arange(len(values)), min(POINTS, len(values)))
    return Curve(said, tuple(float(p.mean()) + 1 for p in parts), tuple(float(values[p].mean()) for p in parts))
