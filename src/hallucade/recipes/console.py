"""Progress at a terminal, and lines now and then where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between lines without a terminal


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress in counted units; yields ``update(done, total)``."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def staged(title: str) -> Iterator[Callable[[str, float], None]]:
    """Show progress as a share of the whole; yields ``update(stage, share)``."""
    if not sys.stderr.isatty():
        lines = _lines(title)
        yield lambda stage, share: lines(round(100 * share), 100)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda stage, share: bar.update(task, completed=share, description=f"{title}: {stage}")


def say(text: str) -> None:
    """Print a line for a person; results go to standard output, progress to standard error."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _lines(title: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            sys.stderr.write(f"{title}: {done} of {total}\n")

    return update
