"""Which metrics an ablation shows, and which way each of them is better."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

LOWER = ("error", "violations", "lpips", "fid", "kid", "fvd", "kvd", "frechet", "mmd", "drift")  # parts of names
GOALS = {"response_gain": 1.0, "response_lag": 0.0}  # best at a value, worse on both sides
DEFAULTS = (  # those that were measured are shown
    "pong/paddle_error_px@8",
    "pong/response_direction",
    "pong/response_gain",
    "pong/ball_error_px@8",
    "pong/one_ball_share@64",
    "pong/psnr_moving@8",
    "pong/ssim_moving@8",
    "clips/psnr@8",
    "clips/psnr_moving@8",
    "clips/ssim_moving@8",
    "clips/lpips@8",
)


def chosen_metrics(patterns: Sequence[str], measured: Iterable[str]) -> list[str]:
    """Return the metrics that a table shows, in the order of `patterns`.

    Args:
        patterns: names with or without the check before the slash, * standing for any letters; none for `DEFAULTS`.
        measured: all names that a run has.

    Raises:
        ValueError: a pattern that fits nothing that was measured.
    """
    names = sorted(set(measured))
    if not patterns:
        return [name for name in DEFAULTS if name in names] or names[:8]
    found = list[str]()
    for pattern in patterns:
        fitting = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[2], pattern)]
        if not fitting:
            raise ValueError(f"--metrics: no run has {pattern!r}; choose of {', '.join(names)}")
        found += [name for name in fitting if name not in found]
    return found


def goal_of(metric: str) -> float | None:
    """Return the value at which a metric is best, None where more or less is simply better."""
    return next((goal for part, goal in GOALS.items() if part in metric), None)


def badness(metric: str, value: float) -> float:
    """Return a number that is lower for a better value."""
    goal = goal_of(metric)
    if goal is not None:
        return abs(value - goal)
    return value if any(part in metric for part in LOWER) else -value


def direction(metric: str) -> str:
    """Say in words what is better."""
    goal = goal_of(metric)
    if goal is not None:
        return f"best at {goal:g}"
    return "lower is better" if badness(metric, 1.0) > 0 else "higher is better"
