"""What a person at the command line sees: progress, lines where there is no terminal, and what went wrong."""

import errno
import sys
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 15.0  # seconds between lines without a terminal
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "free some space, or raise the limit on file sizes",
    errno.EACCES: "choose a place where you may read and write",
    errno.EPERM: "choose a place where you may read and write",
    errno.EROFS: "choose a place where you may write",
    errno.ENOTDIR: "choose another path: a file is where a folder should be",
    errno.EISDIR: "choose another path: a folder is where a file should be",
    errno.EEXIST: "choose another path: a file is where a folder should be",
}


@contextmanager
def counting(title: str) -> Generator[Callable[[int, int], None]]:
    """Show progress in counted units; yields ``update(done, total)``."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def staged(title: str) -> Generator[Callable[[str, float], None]]:
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


def explain(error: Exception) -> str:
    """Return one line that says what went wrong and what to do; errors of this package say both themselves."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({str(error) or 'none is left'}); choose smaller sizes"
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}; {REMEDIES.get(error.errno or 0, 'check the path')}"
    return " ".join(str(error).split("\n"))


@contextmanager
def plain_warnings() -> Generator[None]:
    """Show warnings as lines for a person, without the source that gave them."""

    def show(message: Warning | str, *_: object) -> None:
        sys.stderr.write(f"hallucade: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _lines(title: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            sys.stderr.write(f"{title}: {done} of {total}\n")

    return update
