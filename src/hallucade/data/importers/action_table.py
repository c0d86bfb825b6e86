"""Tables of actions as people write them: CSV with a header, JSON lines, or one JSON list of objects.

A cell is found by its column's name; in JSON, ``mouse.dx`` reaches into nested objects.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64

from hallucade.data.source import SourceError

SUFFIXES = (".csv", ".jsonl", ".json")
TRUTHS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class ActionTable:
    """The rows of one file; `lines` says on which line of it each row stands."""

    path: Path
    rows: tuple[dict[str, Any], ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every name that leads to a cell of the first row."""
        return tuple(_names(self.rows[0])) if self.rows else ()

    def cells(self, column: str) -> list[Any]:
        """Return one cell a row.

        Raises:
            SourceError: a row has no such cell.
        """
        parts = column.split(".")
        return [self._cell(number, column, parts) for number in range(len(self.rows))]

    def numbers(self, column: str) -> Float64[np.ndarray, "n"]:
        """Return one finite number a row; true is 1 and false is 0.

        Raises:
            SourceError: names the line and the column of a cell that is none.
        """
        return np.array([self.number(i, column, cell) for i, cell in enumerate(self.cells(column))], np.float64)

    def number(self, row: int, column: str, cell: Any) -> float:
        """Return a cell as a finite number; see `numbers`."""
        try:
            value = TRUTHS[cell.strip().lower()] if isinstance(cell, str) and cell.strip().lower() in TRUTHS else cell
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            remedy = "write decimals with a point" if isinstance(cell, str) and "," in cell else "correct the file"
            raise self.error(row, f"{column} is {cell!r}, which is no number", remedy)
        return found

    def error(self, row: int, what: str, remedy: str) -> SourceError:
        """Return an error about a row that names its line."""
        return SourceError(self.path, f"line {self.lines[row]}: {what}", remedy)

    def _cell(self, row: int, column: str, parts: list[str]) -> Any:
        found: Any = self.rows[row]
        if column in found:
            return found[column]
        for part in parts:
            if not isinstance(found, dict) or part not in found:
                known = ", ".join(_names(self.rows[row])) or "nothing"
                raise self.error(row, f"there is no {column!r}; it has {known}", "correct the name or the file")
            found = cast("dict[str, Any]", found)[part]
        return found


def read_table(path: Path) -> ActionTable:
    """Read a table by its suffix.

    Raises:
        SourceError: the file is missing, empty, or not what its suffix says; names the line.
    """
    readers: dict[str, Callable[[Path], Iterable[tuple[int, Any]]]] = {
        ".csv": _csv_rows,
        ".jsonl": _json_lines,
        ".json": _json_list,
    }
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    try:
        for line, row in readers[path.suffix.lower()](path):
            if not isinstance(row, dict):
                raise SourceError(path, f"line {line} holds {str(row)[:30]!r}, no object", "write one {...} a frame")
            rows.append(cast("dict[str, Any]", row))
            lines.append(line)
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise SourceError(path, f"it is no text ({error.reason} at byte {error.start})", "save it as UTF-8") from error
    if not rows:
        raise SourceError(path, "it has no row", "write one row a frame")
    return ActionTable(path, tuple(rows), tuple(lines))


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter = max(",;\t", key=file.readline().count)
        file.seek(0)
        reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        try:
            reader.fieldnames = _header(path, reader.fieldnames or ())
            for row in reader:
                if None in row or None in row.values():
                    have, want = len([v for v in row.values() if v is not None]), len(reader.fieldnames or ())
                    what = f"line {reader.line_num} has {have if None not in row else 'more than ' + str(want)} cells"
                    raise SourceError(path, f"{what}, the header {want}", "correct the file, or copy it again")
                yield reader.line_num, {name: cell.strip() for name, cell in row.items()}
        except csv.Error as error:
            raise SourceError(path, f"line {reader.line_num} is no CSV ({error})", "correct the file") from error


def _header(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names of columns without the blanks around them."""
    header = [name.strip() for name in names]
    if twice := [name for name in header if header.count(name) > 1 and name]:
        raise SourceError(path, f"two columns are named {twice[0]!r}", "rename or remove one of them")
    return header


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(
                    path, f"line {number} is no JSON ({error})", "correct it, or copy it again"
                ) from error


def _json_list(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(path, f"it is no JSON ({error})", "correct it, or copy it again") from error
    if not isinstance(content, list):
        raise SourceError(path, "it is no list of objects", "write [{...}, {...}], one object a frame")
    yield from enumerate(cast("list[Any]", content), 1)


def _names(row: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, cell in row.items():
        if isinstance(cell, dict):
            yield from _names(cast("dict[str, Any]", cell), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
