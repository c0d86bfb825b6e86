"""What measured motion tells about pictures: lost captures, copies of frames, and scenes that were joined unseen."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from hallucade.actions import ActionSpace, Choice
from hallucade.data.checks.alignment_evidence import JUMP, Run
from hallucade.data.checks.problem import Problem

TORN = 0.6  # of `Motion.torn`: in Doom 19 of 20 cuts to another place are above, 3 of 4 flashes and close walls below
ISOLATED = 3.0  # times that a jump stands out from the pairs beside it: fast motion has fast neighbours
FROZEN = 0.005  # of the frames that must move: from here on copies are worth a warning
BROKEN = 0.2  # of them: from here on the pictures do not show what is done
COPIES = 0.3  # of frames in which something is held, in games without a view to turn

Marks = Bool[np.ndarray, "n"]  # one a pair of frames of a run


def check_motion(actions: ActionSpace, runs: Sequence[Run]) -> list[Problem]:
    """Return what is wrong with the pictures of some runs."""
    return [*_plain(runs), *_jumps(runs), *_copies(actions, runs)]


def _plain(runs: Sequence[Run]) -> Iterator[Problem]:
    found, seen, first = _count(runs, lambda run: run.motion.plain)
    if first is not None:
        what = f"{found} of {seen} frames looked at have one colour, this is the first"
        yield Problem("warning", *first, what, "leave such frames out: loading screens, a lost capture")


def _jumps(runs: Sequence[Run]) -> Iterator[Problem]:
    found, seen, first = _count(runs, _jump)
    if first is not None:
        what = f"the whole picture jumps; {found} of {seen} pairs of frames looked at do, this is the first"
        remedy = "look at it: a camera that gives way to a wall is harmless, a cut should end the episode"
        yield Problem("warning", *first, what, remedy)


def _jump(run: Run) -> Marks:
    unlike = np.pad(run.motion.unlike, 1)
    beside = np.maximum(unlike[:-2], unlike[2:])
    isolated = (unlike[1:-1] > JUMP) & (unlike[1:-1] > ISOLATED * beside)
    return isolated & (run.motion.torn > TORN) & ~run.motion.plain


def _copies(actions: ActionSpace, runs: Sequence[Run]) -> Iterator[Problem]:
    turning = _turning(actions, runs)
    _, held, _ = _count(runs, lambda run: turning(run)[turning(run)])
    found, _, first = _count(runs, lambda run: turning(run) & run.motion.copied)
    turns = any(_turns_sideways(actions))
    share = found / max(1, held)
    if first is None or share < (FROZEN if turns else COPIES):
        return
    doing = "the view is being turned" if turns else "something is held"
    what = f"the picture stays as it was in {found} of {held} frames in which {doing}, this is the first"
    remedy = "the capture dropped frames: leave them out, or import at the rate at which pictures came"
    yield Problem("error" if turns and share >= BROKEN else "warning", *first, what, remedy)


def _turning(actions: ActionSpace, runs: Sequence[Run]) -> Callable[[Run], Marks]:
    """Return a test for pairs in which the picture must move: a control that turns the view sideways is well off idle.

    Upwards and downwards a view stops at a limit. Without such a control, anything that is held counts.
    """
    if not runs:
        return lambda run: np.zeros(len(run.rows), bool)
    columns = _turns_sideways(actions) or [True] * actions.size
    away = [np.abs(run.rows - actions.idle) * columns for run in runs]
    rows = np.concatenate(away)
    enough = [np.median(c[c > 0]) if (c > 0).any() else np.inf for c in rows.T]
    enough = [0.5 if isinstance(control, Choice) else e for control, e in zip(actions.controls, enough, strict=True)]
    return lambda run: np.any(np.abs(run.rows - actions.idle) * columns >= enough, axis=1)


def _turns_sideways(actions: ActionSpace) -> list[bool]:
    """Say of each control whether it turns the view left or right; empty if none does."""
    turns = [not isinstance(c, Choice) and c.turns in ("left", "right") for c in actions.controls]
    return turns if any(turns) else []


def _count(runs: Sequence[Run], marks: Callable[[Run], Marks]) -> tuple[int, int, tuple[int, int] | None]:
    """Return how many pairs are marked, of how many, and (episode, frame after) of the first."""
    found, seen, first = 0, 0, None
    for run in runs:
        marked = marks(run)
        if first is None and marked.any():
            first = run.episode, run.first + int(marked.argmax()) + 1
        found, seen = found + int(marked.sum()), seen + len(marked)
    return found, seen, first
