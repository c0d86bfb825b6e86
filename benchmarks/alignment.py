"""How often `hallucade validate` finds actions that do not belong to their frames, and how often it cries wolf.

Sets of episodes of the built-in maze, each with its own seed, are measured once and then mislabelled on purpose.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.measurement import Details, Measurement
from hallucade.data.checks.alignment import estimate_alignment
from hallucade.data.checks.alignment_evidence import Run
from hallucade.data.checks.alignment_problems import alignment_problems
from hallucade.data.checks.motion import measure_motion
from hallucade.games.bots import make_bot
from hallucade.games.maze import MAZE_ACTIONS, MazeConfig

AMOUNTS = ((20, 4, 300), (10, 8, 1000))  # sets, episodes of each, actions of each
SIZE = 64
SIGNS = np.array([-1 if name == "pitch" else 1 for name in MAZE_ACTIONS.names], np.float32)
Rows = np.ndarray

DEFECTS: dict[str, Callable[[Rows], Rows]] = {
    "none": lambda rows: rows,
    "late by 1": lambda rows: np.roll(rows, 1, 0),
    "early by 1": lambda rows: np.roll(rows, -1, 0),
    "pitch inverted": lambda rows: rows * SIGNS,
    "first half late by 1": lambda rows: np.concatenate(
        [np.roll(h, k, 0) for k, h in zip((1, 0), halves(rows), strict=True)]
    ),
}


def halves(rows: Rows) -> tuple[Rows, Rows]:
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def play(seed: int, episodes: int, length: int) -> list[Run]:
    """Play one set of episodes and measure what moves."""
    game = MazeConfig(frame_size=(SIZE, SIZE)).build()
    game.reset(np.arange(seed * episodes, (seed + 1) * episodes))
    bot = make_bot("mixture", MAZE_ACTIONS, episodes, seed)
    frames, rows = [game.frames().copy()], list[Rows]()
    for _ in range(length):
        rows.append(bot(game.get_state()))
        game.act(rows[-1])
        frames.append(game.frames().copy())
    shown, held = np.stack(frames, 1), np.stack(rows, 1)
    return [Run(i, 0, length, held[i], measure_motion(shown[i])) for i in range(episodes)]


def blamed(runs: Sequence[Run], defect: Callable[[Rows], Rows]) -> bool:
    alignment = estimate_alignment(MAZE_ACTIONS, [replace(run, rows=defect(run.rows)) for run in runs])
    return any(problem.severity == "error" for problem in alignment_problems(alignment))


def main() -> None:
    for sets, episodes, length in AMOUNTS:
        played = [play(seed, episodes, length) for seed in range(sets)]
        for name, defect in DEFECTS.items():
            share = sum(blamed(runs, defect) for runs in played) / sets
            details: Details = {
                "defect": name,
                "sets": sets,
                "episodes": episodes,
                "frames": length + 1,
                "frame_size": SIZE,
            }
            Measurement("alignment_error_share", share, "", details).print()


if __name__ == "__main__":
    main()
