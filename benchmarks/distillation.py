"""Distilled Pong beside its teacher: is the student as right, does its game last as long, how much faster is it?

``python -m benchmarks.distillation --teacher RUN --students RUN RUN ...`` prints a JSON object a row as it is measured
and one table at the end. All rows dream the same held-out games under the same keys. Errors are those of the Pong
check: medians over the games that the truth has not served in yet, with bootstrap intervals over games; ratios to the
teacher are taken on the same games. A game is alive as `hallucade.evaluation.game_check.survival` says. Runs of one
recipe are taken for seeds of one training, and get a row of their mean.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig

PROMPT = 8  # real frames
WARM_UP = (8, 240)  # frames played before a prompt, drawn
BATCH = 64
RESAMPLED = 2000  # times, for an interval
ENDS = (2.5, 97.5)  # percent
PAIRS = 100  # frames of two sessions in turns, for their speed


@dataclass(frozen=True)
class Dreamer:
    """A run and how it is sampled."""

    name: str
    recipe: str
    steps: int
    world: World


@dataclass(frozen=True)
class Row:
    """What was measured of one dreamer; its keys in JSON."""

    name: str
    recipe: str
    steps: int
    ball: float  # error at the horizon in court units, median
    ball_low: float
    ball_high: float
    ball_p90: float
    times_teacher: float  # the median over the teacher's, of the same games
    times_teacher_low: float
    times_teacher_high: float
    paddle: float  # mean error at the horizon
    one_ball: float  # share of frames of the longest play with exactly one ball
    survival: dict[str, float]  # share of games alive after so many frames
    survival_least: dict[str, float]  # lower ends of its score intervals
    speed: float  # times the teacher's frames a second, one game


def main() -> None:
    """Measure and print."""
    options = _options()
    teacher = dreamer(options.teacher, FlowSamplerConfig(steps=options.teacher_steps), "teacher")
    dreamers = [teacher]
    dreamers += [dreamer(options.teacher, FlowSamplerConfig(steps=n), "undistilled") for n in options.undistilled]
    dreamers += [student(run, n) for run in options.students for n in options.steps]
    rules = PongConfig(frame_size=teacher.world.frame_size[0])
    beside = held_out_games(rules, options.games, PROMPT, options.horizon, WARM_UP, seed=options.seed)
    starts = held_out_games(rules, options.survivors, PROMPT, 1, WARM_UP, seed=options.seed + 1)
    rows, known = list[Row](), np.empty(0)
    for one in dreamers:
        ball, paddle = errors(one.world, beside, options.seed)
        known = ball if one is teacher else known
        row = measured(one, teacher, (ball, paddle, known), starts, options.frames, options.seed)
        print(json.dumps(dataclasses.asdict(row)), flush=True)
        rows.append(row)
    print(f"\n{table(rows, options.frames)}")
    if options.json is not None:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")


def dreamer(run: Path, sampler: SamplerConfig, recipe: str | None = None) -> Dreamer:
    """Load a run to be drawn by a sampler."""
    config = read_config(*find_checkpoint(run))
    world = load(run)
    drawn = dataclasses.replace(world, model=sampler.view(world.model), sampler=sampler.build())
    return Dreamer(run.name, recipe or config.recipe, sampler.steps, drawn)  # pyright: ignore[reportAttributeAccessIssue]


def student(run: Path, steps: int) -> Dreamer:
    """Load a run to be drawn by its own sampler, in another number of steps."""
    own = read_config(*find_checkpoint(run)).sampler
    changes = {"levels": None} if hasattr(own, "levels") else {}
    return dreamer(run, dataclasses.replace(own, steps=steps, **changes))  # pyright: ignore[reportCallIssue]


def errors(world: World, truth: PongTruth, seed: int) -> tuple[Float64[np.ndarray, "b"], Float64[np.ndarray, "b"]]:
    """Return the errors of ball and paddle at the horizon, the ball's NaN where the truth has served."""
    dreams = dream_batches(world, truth.prompts(), truth.future_actions, BATCH, seed)
    found = errors_of_track(join_tracks([track(frames) for _, frames in dreams], axis=0), truth)
    return np.where(found.foreseeable[:, -1], found.ball[:, -1], np.nan), found.player[:, -1]


def measured(
    one: Dreamer,
    teacher: Dreamer,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    starts: PongTruth,
    frames: Sequence[int],
    seed: int,
) -> Row:
    """Let a dreamer play, compare its speed, and sum up."""
    ball, paddle, known = found
    counts = ~np.isnan(ball)
    low, high = interval(ball[counts, None])
    least, most = interval(np.stack([ball[counts], known[counts]], 1))
    played = survive(one.world, starts, max(frames), 1, seed, lambda _: None)
    alive = {str(n): float(played.alive[:, -(-n // SEGMENT) - 1].mean()) for n in frames}
    return Row(
        one.name,
        one.recipe,
        one.steps,
        float(np.median(ball[counts])),
        low,
        high,
        float(np.quantile(ball[counts], 0.9)),
        float(np.median(ball[counts]) / np.median(known[counts])),
        least,
        most,
        float(paddle.mean()),
        float(played.seen.one_ball.mean()),
        alive,
        {n: share_interval(share, starts.count)[0] for n, share in alive.items()},
        times_as_fast(one.world, teacher.world),
    )


def interval(values: Float64[np.ndarray, "n columns"]) -> tuple[float, float]:
    """Return the bootstrap interval of a median, or of the ratio of the medians of two columns."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLED, len(values)))
    medians = np.median(values[drawn], axis=1)
    statistic = medians[:, 0] / medians[:, 1] if values.shape[1] == 2 else medians[:, 0]
    low, high = np.percentile(statistic, ENDS)
    return float(low), float(high)


def times_as_fast(world: World, teacher: World) -> float:
    """Return how many frames a session of `world` plays while one of the teacher plays one."""
    mine, theirs = (Session(each, teacher.prompts[0]) for each in (world, teacher))
    row = world.actions.idle
    return paired_seconds(lambda _: theirs.step(row), lambda _: mine.step(row), PAIRS, world.device).ratio


def table(rows: Sequence[Row], frames: Sequence[int]) -> str:
    """Return all rows as Markdown, and the means of runs of one recipe below them."""
    head = ["run", "steps", "ball error", "times the teacher's", "ball p90", "paddle", "one ball"]
    head += [f"alive at {n:,}" for n in frames] + ["frames/s, times the teacher's"]
    lines = [head, ["---"] * len(head), *(_cells(row, frames) for row in rows)]
    for key in dict.fromkeys((row.recipe, row.steps) for row in rows):
        same = [row for row in rows if (row.recipe, row.steps) == key]
        if len(same) > 1:
            lines.append(_mean(same, frames))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row, frames: Sequence[int]) -> list[str]:
    return [
        f"{row.recipe}, {row.name}",
        str(row.steps),
        f"{row.ball:.2f} ({row.ball_low:.2f} to {row.ball_high:.2f})",
        f"{row.times_teacher:.2f} ({row.times_teacher_low:.2f} to {row.times_teacher_high:.2f})",
        f"{row.ball_p90:.2f}",
        f"{row.paddle:.2f}",
        f"{row.one_ball:.2%}",
        *(f"{row.survival[str(n)]:.0%} (at least {row.survival_least[str(n)]:.0%})" for n in frames),
        f"{row.speed:.1f}",
    ]


def _mean(rows: Sequence[Row], frames: Sequence[int]) -> list[str]:
    def over(values: Sequence[float], how: str) -> str:
        ends = f"{min(values):{how}} to {max(values):{how}}"
        return f"{float(np.mean(values)):{how}} ({ends})"

    return [
        f"**{rows[0].recipe}, mean of {len(rows)} runs**",
        str(rows[0].steps),
        over([row.ball for row in rows], ".2f"),
        over([row.times_teacher for row in rows], ".2f"),
        over([row.ball_p90 for row in rows], ".2f"),
        over([row.paddle for row in rows], ".2f"),
        over([row.one_ball for row in rows], ".2%"),
        *(over([row.survival[str(n)] for row in rows], ".0%") for n in frames),
        over([row.speed for row in rows], ".1f"),
    ]


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
    parser.add_argument("--seed", type=int, default=0, help="of the held-out games")
    parser.add_argument("--json", type=Path, help="file to write all rows to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
