"""Distilled Pong beside its teacher: is the student as right, does its game last as long, how much faster is it?

``python -m benchmarks.distillation --teacher RUN --students RUN RUN ...`` measures a row a run and a number of steps,
and prints one table at the end. With ``--json FILE`` rows are kept as they are measured, and those that it holds are
not measured again. All rows dream the same held-out games under the same keys. Errors are those of the Pong check:
medians over the games that the truth has not served in yet, with bootstrap intervals over games; ratios to the teacher
are taken on the same games. One frame of some hundred games tells little; so each game's errors are also averaged over
all frames up to the horizon, as logarithms, and compared with the teacher's in the same game. A game is alive as
`hallucade.evaluation.game_check.survival` says. Runs of one recipe are taken for seeds of one training, and get a row
of their mean.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from benchmarks.measurement import paired_seconds
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.game_check.fidelity import errors_of_track
from hallucade.evaluation.game_check.pong_tracker import join_tracks, track
from hallucade.evaluation.game_check.pong_truth import PongTruth, held_out_games
from hallucade.evaluation.game_check.survival import SEGMENT, survive
from hallucade.evaluation.intervals import share_interval
from hallucade.games.pong import PongConfig
from hallucade.recipes.load import find_checkpoint, load, read_config
from hallucade.rollout import Session, World
from hallucade.samplers.flow import FlowSamplerConfig

PROMPT = 8  # real frames
WARM_UP = (8, 240)  # frames played before a prompt, drawn
BATCH = 64
LEAST = 0.01  # court units; smaller errors are the tracker's own
RESAMPLED = 2000  # times, for an interval
ENDS = (2.5, 97.5)  # percent
PAIRS = 100  # frames of two sessions in turns, for their speed
Statistic = Callable[[np.ndarray], np.ndarray]
SETTINGS = ("games", "horizon", "survivors", "seed")  # that rows of one table share


@dataclass(frozen=True)
class Dreamer:
    """A run, how it is sampled, and how long it is to play."""

    run: str
    kind: str  # teacher, undistilled, or the recipe of a student
    steps: int
    frames: tuple[int, ...]
    world: World


@dataclass(frozen=True)
class Row:
    """What was measured of one dreamer; its keys in JSON."""

    run: str
    kind: str
    steps: int
    ball: list[float | None]  # error at the horizon in court units, game by game; None where the truth has served
    path: list[float]  # mean logarithm of the error, game by game, over frames before a serve
    paddle: float  # mean error at the horizon
    one_ball: float  # share of the frames played with exactly one ball
    alive: dict[str, float]  # share of games after so many frames
    alive_least: dict[str, float]  # lower ends of its score intervals
    speed: float  # times the teacher's frames a second, one game

    @property
    def balls(self) -> Float64[np.ndarray, "games"]:
        """Errors of the ball at the horizon in the games that count."""
        return np.array([error for error in self.ball if error is not None])

    def times(self, teacher: "Row") -> Float64[np.ndarray, "games"]:
        """Return the logarithms of how much worse than the teacher's each game is on average."""
        return np.array(self.path) - np.array(teacher.path)

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells rows apart."""
        return self.run, self.kind, self.steps


def main() -> None:
    """Measure what is not known yet, and print all of it."""
    options = _options()
    settings = {name: getattr(options, name) for name in SETTINGS}
    rows = _known(options.json, settings)
    dreamers = _dreamers(options)
    teacher = dreamers[0].world
    rules = PongConfig(frame_size=teacher.frame_size[0])
    beside = held_out_games(rules, options.games, PROMPT, options.horizon, WARM_UP, seed=options.seed)
    starts = held_out_games(rules, options.survivors, PROMPT, 1, WARM_UP, seed=options.seed + 1)
    for one in dreamers:
        if (one.run, one.kind, one.steps) in (row.key for row in rows):
            continue
        print(f"{one.kind}, {one.run}, steps {one.steps}", file=sys.stderr, flush=True)
        rows.append(measured(one, teacher, beside, starts, options.seed))
        if options.json is not None:
            kept = {**settings, "rows": [dataclasses.asdict(row) for row in rows]}
            options.json.write_text(json.dumps(kept) + "\n")
    print(table(rows))


def measured(one: Dreamer, teacher: World, beside: PongTruth, starts: PongTruth, seed: int) -> Row:
    """Let one dream beside the truth, play on, and race the teacher."""
    world = one.world
    dreams = dream_batches(world, beside.prompts(), beside.future_actions, BATCH, seed)
    found = errors_of_track(join_tracks([track(frames) for _, frames in dreams], axis=0), beside)
    ball = [
        float(error) if counts else None
        for error, counts in zip(found.ball[:, -1], found.foreseeable[:, -1], strict=True)
    ]
    logs = np.log(np.maximum(found.ball, LEAST))
    path = [float(game[counts].mean()) for game, counts in zip(logs, found.foreseeable, strict=True) if counts.any()]
    played = survive(world, starts, max(one.frames), 1, seed, lambda _: None)
    alive = {str(n): float(played.alive[:, -(-n // SEGMENT) - 1].mean()) for n in one.frames}
    least = {n: share_interval(share, starts.count)[0] for n, share in alive.items()}
    one_ball = float(played.seen.one_ball.mean())
    paddle = float(found.player[:, -1].mean())
    return Row(one.run, one.kind, one.steps, ball, path, paddle, one_ball, alive, least, times_as_fast(world, teacher))


def times_as_fast(world: World, teacher: World) -> float:
    """Return how many frames a session of `world` plays while one of the teacher plays one."""
    mine, theirs = (Session(each, teacher.prompts[0]) for each in (world, teacher))
    row = world.actions.idle
    return paired_seconds(lambda _: theirs.step(row), lambda _: mine.step(row), PAIRS, world.device).ratio


def interval(values: Float64[np.ndarray, "n columns"], statistic: Statistic) -> str:
    """Return a statistic over games with its bootstrap interval, as text."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLED, len(values)))
    low, high = np.percentile(statistic(values[drawn]), ENDS)
    return f"{float(statistic(values[None])[0]):.2f} ({low:.2f} to {high:.2f})"


def median(values: Float64[np.ndarray, "m n columns"]) -> Float64[np.ndarray, "m"]:
    """Return the median over games of the first column."""
    return np.median(values[..., 0], axis=1)


def ratio(values: Float64[np.ndarray, "m n columns"]) -> Float64[np.ndarray, "m"]:
    """Return the ratio of the medians of two columns."""
    first, second = np.median(values, axis=1).T
    return first / second


def geometric(values: Float64[np.ndarray, "m n columns"]) -> Float64[np.ndarray, "m"]:
    """Return the geometric mean of what the first column holds the logarithms of."""
    return np.exp(values[..., 0].mean(1))


def table(rows: Sequence[Row]) -> str:
    """Return all rows as Markdown, the first the teacher's, with the means of runs of one recipe below theirs."""
    frames = sorted({int(n) for row in rows for n in row.alive})
    head = ["run", "steps", "ball error", "times the teacher's", "over all frames", "ball p90", "paddle", "one ball"]
    head += [f"alive at {n:,}" for n in frames] + ["frames/s, times the teacher's"]
    lines = [head, ["---"] * len(head)]
    for kind, steps in dict.fromkeys((row.kind, row.steps) for row in rows):
        same = [row for row in rows if (row.kind, row.steps) == (kind, steps)]
        lines += [_cells(row, rows[0], frames) for row in same]
        if len(same) > 1:
            lines.append(_mean(same, rows[0], frames))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row, teacher: Row, frames: Sequence[int]) -> list[str]:
    alive = [
        f"{row.alive[str(n)]:.0%} (at least {row.alive_least[str(n)]:.0%})" if str(n) in row.alive else ""
        for n in frames
    ]
    return [
        f"{row.kind}, {row.run}",
        str(row.steps),
        interval(row.balls[:, None], median),
        interval(np.stack([row.balls, teacher.balls], 1), ratio),
        interval(row.times(teacher)[:, None], geometric),
        f"{np.quantile(row.balls, 0.9):.2f}",
        f"{row.paddle:.2f}",
        f"{row.one_ball:.2%}",
        *alive,
        f"{row.speed:.1f}",
    ]


def _mean(rows: Sequence[Row], teacher: Row, frames: Sequence[int]) -> list[str]:
    def over(values: Sequence[float], how: str) -> str:
        return f"{float(np.mean(values)):{how}} ({min(values):{how}} to {max(values):{how}})" if values else ""

    return [
        f"**{rows[0].kind}, mean of {len(rows)} runs**",
        str(rows[0].steps),
        over([float(np.median(row.balls)) for row in rows], ".2f"),
        over([float(np.median(row.balls) / np.median(teacher.balls)) for row in rows], ".2f"),
        over([float(np.exp(row.times(teacher).mean())) for row in rows], ".2f"),
        over([float(np.quantile(row.balls, 0.9)) for row in rows], ".2f"),
        over([row.paddle for row in rows], ".2f"),
        over([row.one_ball for row in rows], ".2%"),
        *(over([row.alive[str(n)] for row in rows if str(n) in row.alive], ".0%") for n in frames),
        over([row.speed for row in rows], ".1f"),
    ]


def _dreamers(options: argparse.Namespace) -> list[Dreamer]:
    """Return the teacher, the teacher in fewer steps, and every student in every number of steps."""
    short, long = tuple(options.frames), tuple(sorted({*options.frames, *options.long_frames}))
    few = tuple(options.teacher_frames or options.frames)
    teacher = options.teacher
    many = [("teacher", options.teacher_steps), *(("undistilled", n) for n in options.undistilled)]
    dreamers = [_dreamer(teacher, FlowSamplerConfig(steps=n), kind, n, few) for kind, n in many]
    for run in options.students:
        config = read_config(*find_checkpoint(run))
        changes = {"levels": None} if hasattr(config.sampler, "levels") else {}
        for n in options.steps:
            sampler = dataclasses.replace(config.sampler, **changes, steps=n)
            frames = long if n in options.long_steps else short
            dreamers.append(_dreamer(run, sampler, config.recipe, n, frames))
    return dreamers


def _dreamer(run: Path, sampler: Any, kind: str, steps: int, frames: tuple[int, ...]) -> Dreamer:
    world = load(run)
    drawn = dataclasses.replace(world, model=sampler.view(world.model), sampler=sampler.build())
    return Dreamer(run.name, kind, steps, frames, drawn)


def _known(path: Path | None, settings: dict[str, int]) -> list[Row]:
    """Return the rows of a file that was measured with the same settings."""
    if path is None or not path.exists():
        return []
    kept = json.loads(path.read_text())
    rows = [Row(**row) for row in kept.pop("rows")]
    if kept != settings:
        raise SystemExit(f"{path} was measured with {kept}, and now {settings} is asked for; choose another file")
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare distilled Pong with its teacher.")
    parser.add_argument("--teacher", type=Path, required=True, help="run folder")
    parser.add_argument("--students", type=Path, nargs="*", default=[], help="run folders")
    parser.add_argument("--teacher-steps", type=int, default=16)
    parser.add_argument("--undistilled", type=int, nargs="*", default=[1, 2], help="steps of the teacher, undistilled")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2], help="steps of the students")
    parser.add_argument("--games", type=int, default=256, help="dreamed beside the truth")
    parser.add_argument("--horizon", type=int, default=32, help="frames")
    parser.add_argument("--survivors", type=int, default=32, help="games played on")
    parser.add_argument("--frames", type=int, nargs="+", default=[1000], help="after which to count them")
    parser.add_argument("--teacher-frames", type=int, nargs="*", default=[], help="instead, where the teacher is slow")
    parser.add_argument("--long-frames", type=int, nargs="*", default=[], help="and these, of some students")
    parser.add_argument("--long-steps", type=int, nargs="*", default=[1], help="of students that play so long")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out games")
    parser.add_argument("--json", type=Path, help="where rows are kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
