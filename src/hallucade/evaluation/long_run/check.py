"""The long run: a thousand frames of dream beside a thousand of truth, under the same keys.

Two questions. Is it still the same game? PSNR, SSIM and, in Pong, the paddle say so as long as the truth can be
foreseen. Is it still a game at all? Statistics of single pictures say so for ever, segment by segment, so that a
collapse in the middle shows as one at the end does. Frames are read and let go, a chunk at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from hallucade.config import Config
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.game_check.dreaming import dream_chunks
from hallucade.evaluation.game_check.pong_truth import held_out_games
from hallucade.evaluation.long_run.exhibits import MomentSheet, long_plots
from hallucade.evaluation.long_run.game_curves import GameCurves
from hallucade.evaluation.long_run.long_metrics import long_metrics
from hallucade.evaluation.long_run.pong_reader import ONE_BALL, PongReader
from hallucade.evaluation.long_run.readings import LikenessReader, Reader, StatisticsReader
from hallucade.evaluation.long_run.true_play import RecordedPlay, SimulatedPlay, TruePlay
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.games.pong import PongConfig
from hallucade.rollout import World
from hallucade.samplers.base import seeded

CHUNK_BYTES = 2**24  # of pictures that are held at a time, dream or truth
MOST = 50  # frames of a chunk
FORESEEN = "foreseeable_ssim"


@dataclass(frozen=True, kw_only=True)
class LongRunConfig(Config):
    """How long, and how many games side by side; of a store, its validation episodes as far as they go.

    Raises:
        ValueError: a number that leaves nothing to measure.
    """

    games: int = 32
    frames: int = 1000  # 0 leaves the long run out
    segment: int = 100  # frames over which single pictures are averaged
    prompt_frames: int = 8
    warm_up: tuple[int, int] = (8, 240)  # frames played before a prompt, drawn
    shown: int = 2  # games in the picture of moments
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("games", 1), ("frames", 0), ("segment", 1), ("prompt_frames", 2), ("shown", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} or more")
        if not 0 <= self.warm_up[0] <= self.warm_up[1]:
            raise ValueError(f"warm_up is {self.warm_up}; give the least and the most frames, 0 or more")

    @classmethod
    def quick(cls) -> "LongRunConfig":
        """Return the demo's long run: as long, with fewer games and so wider intervals."""
        return cls(games=8)


def run_beside_game(world: World, config: LongRunConfig, progress: Progress = silent) -> Evaluation:
    """Dream beside the world's own simulator; metrics are named ``long/ssim@1000``.

    Raises:
        ValueError: the simulator's actions or pictures are not the world's.
    """
    if world.game != "pong":
        truth = SimulatedPlay.of_world(
            world, config.games, config.prompt_frames, config.frames, config.warm_up, config.seed
        )
        return _run(world, truth, (), config, "long", progress)
    rules = PongConfig(frame_size=world.frame_size[0])
    games = held_out_games(
        rules, config.games, config.prompt_frames, config.frames, config.warm_up, config.seed + 2
    )  # the Pong check plays those of the two seeds before
    reader = PongReader(games.future, games.last)
    return _run(world, SimulatedPlay.of_pong(games), (reader,), config, "long", progress)


def run_beside_episodes(
    world: World, store: EpisodeStore, config: LongRunConfig, progress: Progress = silent
) -> Evaluation:
    """Dream a store's validation episodes as far as they go; metrics are named ``episodes/ssim@300``.

    Raises:
        ValueError: no validation episode is longer than the prompt.
    """
    truth = RecordedPlay(store, config.games, config.prompt_frames, config.frames)
    return _run(world, truth, (), config, "episodes", progress)


def _run(
    world: World,
    truth: TruePlay,
    game_readers: Sequence[Reader],
    config: LongRunConfig,
    prefix: str,
    progress: Progress,
) -> Evaluation:
    sheet = MomentSheet(min(config.shown, truth.count), truth.horizon)
    curves = measure(world, truth, game_readers, config.seed, sheet, progress)
    metrics = long_metrics(curves, truth.horizon, config.segment, prefix)
    return Evaluation(
        metrics,
        long_plots(curves, truth.horizon, config.segment, prefix),
        stills=(sheet.still(prefix),),
        protocol=_protocol(truth, config, prefix),
        notes=tuple(_notes(truth, prefix)),
    )


def measure(
    world: World,
    truth: TruePlay,
    game_readers: Sequence[Reader],
    seed: int,
    sheet: "MomentSheet | None" = None,
    progress: Progress = silent,
) -> GameCurves:
    """Dream every game of `truth` under its own actions and keep what the readers read, frame by frame."""
    before = np.stack([_last_two(prompt.frames) for prompt in truth.prompts])
    readers = (LikenessReader(truth), StatisticsReader(before), *game_readers)
    names = [name for reader in readers for name in reader.names]
    foresees = truth.foreseeable is not None and "ssim" in names
    names += [FORESEEN] if foresees else []
    most = {name: 1.0 for name in names if name.endswith("ssim")}
    curves = GameCurves.empty(truth.count, truth.horizon, names, (ONE_BALL,), most)
    generators = seeded(seed, truth.count)
    chunk = max(1, min(MOST, CHUNK_BYTES // before[:, 1].nbytes))
    first = 0
    for dream in dream_chunks(world, truth.prompts, truth.actions, generators, chunk):
        last = first + dream.shape[1]
        real = truth.frames(first, last)
        ended = np.greater_equal(np.arange(first, last, dtype=np.int64), truth.lengths[:, None])
        for reader in readers:
            for name, values in reader(dream, real, first).items():
                curves.put(name, first, np.where(ended, np.nan, values))
        if foresees and truth.foreseeable is not None:
            known = truth.foreseeable[:, first:last]
            curves.put(FORESEEN, first, np.where(known, curves.series["ssim"][:, first:last], np.nan))
        if sheet is not None:
            sheet.add(dream, real, first)
        first = last
        progress("a long run beside the truth", first / truth.horizon)
    return curves


def _last_two(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "two h w 3"]:
    return frames[[max(len(frames) - 2, 0), len(frames) - 1]]


def _protocol(truth: TruePlay, config: LongRunConfig, prefix: str) -> dict[str, str]:
    games = "held-out games of the simulator" if prefix == "long" else "validation episodes from their beginning"
    least = int(truth.lengths.min())
    frames = f"{truth.horizon}" if least == truth.horizon else f"{least} to {truth.horizon}"
    return {
        NAMES[prefix]: f"{truth.count} {games}, {frames} frames after a prompt of {config.prompt_frames}, seed "
        f"{config.seed}; values at a frame are means over the last tenth of the frames up to it, then over games; "
        "intervals are 95% over games"
    }


def _notes(truth: TruePlay, prefix: str) -> list[str]:
    what = NAMES[prefix].lower()
    compared = (
        f"In the {what}, PSNR and SSIM compare the dream with one true game under the same keys. After the first thing "
        "that nobody can foresee, a serve or a corridor that was never seen, another game is as right as that one, and "
        "values below 1 are no fault. In Pong the line of other serves, the true game itself under the same keys with "
        "another draw, is what a perfect dream would reach. Statistics of single pictures have no such limit."
    )
    notes = [compared]
    if truth.count < 2:
        notes.append(f"The {what} is one game: there is no interval, and no other game to compare with.")
    return notes


NAMES = {"long": "Long run", "episodes": "Long run over recorded episodes"}
