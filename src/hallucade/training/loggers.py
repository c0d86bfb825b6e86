"""Where metrics go: metrics.jsonl, TensorBoard, the terminal. Every row carries its step."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard.writer import SummaryWriter

LINE_SECONDS = 30.0  # between two lines where there is no terminal


@runtime_checkable
class Logger(Protocol):
    """Takes rows of named numbers."""

    def log(self, step: int, row: dict[str, float]) -> None:
        """Write one row; at most one a step."""
        ...

    def rewind(self, step: int) -> None:
        """Forget rows after `step`: training goes on from there."""
        ...

    def close(self) -> None:
        """Write what is pending."""
        ...


class MetricsFile:
    """One JSON object a line; a step appears once, however often the run was interrupted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (lives as long as the logger)

    def log(self, step: int, row: dict[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> None:
        self._file.close()
        kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if 0 <= _step_of(line) <= step]
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self._path)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115

    def close(self) -> None:
        self._file.close()


class TensorBoardLog:
    """Scalars for TensorBoard; rows beyond a rewind are hidden by its own purge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def log(self, step: int, row: dict[str, float]) -> None:
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder))
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)

    def rewind(self, step: int) -> None:
        self.close()
        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class ProgressLog:
    """A bar at a terminal, now and then a line elsewhere: step, loss, frames/s, time left."""

    def __init__(self, steps: int, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = steps
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._next_line = clock()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = _bar(self._console)
            self._bar.start()
            self._task = self._bar.add_task("train", total=steps, text="")

    def log(self, step: int, row: dict[str, float]) -> None:
        text = _summary(row)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=text)
        elif self._clock() >= self._next_line or step == self._steps:
            self._next_line = self._clock() + LINE_SECONDS
            self._console.print(f"step {step}/{self._steps}  {text}", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Show a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def rewind(self, step: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _summary(row: dict[str, float]) -> str:
    losses = [value for name, value in row.items() if name.startswith("loss/")]
    parts = [f"loss {sum(losses):.4f}"] if losses else []
    if "frames_per_s" in row:
        parts.append(f"{row['frames_per_s']:,.0f} frames/s")
    if row.get("skipped_steps"):
        parts.append(f"{row['skipped_steps']:.0f} skipped")
    return "  ".join(parts)


def _step_of(line: str) -> int:
    """Return the step of a line, -1 where a kill cut it short."""
    try:
        row = cast("dict[str, Any]", json.loads(line))
        return int(row["step"])
    except (ValueError, KeyError, TypeError):
        return -1
