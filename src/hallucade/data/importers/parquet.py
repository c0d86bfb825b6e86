"""Parquet files of foreign data sets: columns as numpy arrays, and errors that name file, column and remedy."""

import importlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hallucade.data.source import SourceError

REMEDY = "copy or download it again"
INSTALL = "pip install 'hallucade[formats]'"


def pyarrow() -> Any:
    """Return the pyarrow package with its parquet module, untyped: it ships no types.

    Raises:
        ValueError: it is not installed; says how to.
    """
    try:
        for module in ("compute", "parquet"):
            importlib.import_module(f"pyarrow.{module}")
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise ValueError(f"Parquet files need pyarrow, which is not installed; {INSTALL}") from error


class ParquetFile:
    """One file, open for reading.

    Raises:
        SourceError: it is missing, empty, cut short, or no Parquet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._arrow = pyarrow()
        try:
            if self.path.stat().st_size == 0:
                raise SourceError(self.path, "the file is empty", REMEDY)
            self._file = self._arrow.parquet.ParquetFile(self.path, memory_map=True)
        except FileNotFoundError:
            raise SourceError(
                self.path, "there is no such file", "check the path, or download what is missing"
            ) from None
        except (self._arrow.ArrowException, OSError) as error:
            raise SourceError(self.path, f"this is no whole Parquet file ({_first_line(error)})", REMEDY) from error
        groups = range(self._file.metadata.num_row_groups)
        self._starts = np.cumsum([0, *(self._file.metadata.row_group(i).num_rows for i in groups)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._file.schema_arrow.names)

    def require(self, columns: Sequence[str]) -> None:
        """Check that columns are there.

        Raises:
            SourceError: names what is missing and what there is.
        """
        missing = [name for name in columns if name not in self.columns]
        if missing:
            what = f"it has no column {', '.join(map(repr, missing))}; there are {', '.join(self.columns)}"
            raise SourceError(self.path, what, REMEDY)

    def rows(self, columns: Sequence[str], start: int = 0, stop: int | None = None) -> "Rows":
        """Read rows `start` to `stop` of some columns, decoding only the row groups that hold them.

        Raises:
            SourceError: there is no such column or row, or the file is damaged.
        """
        self.require(columns)
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            what = f"it has {len(self)} rows, and rows {start} to {stop} are asked for"
            raise SourceError(self.path, what, REMEDY)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = max(int(np.searchsorted(self._starts, stop)), first + 1)
        table = self._groups(tuple(columns), first, min(last, len(self._starts) - 1))
        return Rows(self.path, table.slice(start - int(self._starts[first]), stop - start))

    def _groups(self, columns: tuple[str, ...], first: int, last: int) -> Any:
        try:
            return _read_groups(self, columns, first, last)
        except (self._arrow.ArrowException, OSError) as error:
            raise SourceError(self.path, f"it is damaged ({_first_line(error)})", REMEDY) from error

    def read_groups(self, columns: tuple[str, ...], first: int, last: int) -> Any:
        """Decode row groups `first` to `last` as an arrow table."""
        return self._file.read_row_groups(list(range(first, last)), columns=list(columns))


# Some writers put hundreds of episodes into one row group: it is decoded once and not for each of them.
@lru_cache(2)
def _read_groups(file: ParquetFile, columns: tuple[str, ...], first: int, last: int) -> Any:
    return file.read_groups(columns, first, last)


class Rows:
    """Some rows of a file, column by column."""

    def __init__(self, path: Path, table: Any) -> None:
        self.path, self._table = path, table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def objects(self, column: str) -> Iterator[Any]:
        """Yield a column's values as plain Python objects, one at a time."""
        for chunk in self._table.column(column).chunks:
            for value in chunk:
                yield value.as_py()

    def numbers(self, column: str, width: int | None = None) -> np.ndarray:
        """Return a column of numbers as `n`, or of lists of `width` numbers as `n width`.

        A list of one number counts as a number and the other way round.

        Raises:
            SourceError: values of another type, of another length, or missing.
        """
        values = self._table.column(column)
        types = pyarrow().types
        while types.is_list(values.type) or types.is_fixed_size_list(values.type) or types.is_large_list(values.type):
            values = self._flat(column, values)
        kind = values.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise SourceError(self.path, f"column {column!r} holds {kind} and not numbers", "name another column")
        if values.null_count:
            raise SourceError(self.path, f"column {column!r} has rows without a value", REMEDY)
        numbers = np.asarray(values.to_numpy(zero_copy_only=False) if len(values) else [], kind.to_pandas_dtype())
        each = 1 if width is None else width
        if len(numbers) != len(self) * each:
            what = f"column {column!r} has {len(numbers)} numbers in {len(self)} rows"
            raise SourceError(self.path, what, f"each row needs {each}, as meta/info.json says; {REMEDY}")
        return numbers if width is None else numbers.reshape(len(self), width)

    def _flat(self, column: str, values: Any) -> Any:
        """Join a column's lists end to end."""
        arrow = pyarrow()
        if values.null_count:
            raise SourceError(self.path, f"column {column!r} has rows without a value", REMEDY)
        lengths = np.unique(arrow.compute.list_value_length(values).to_numpy())
        if len(lengths) > 1:
            what = f"column {column!r} has lists of {' and '.join(map(str, lengths[:3]))} values"
            raise SourceError(self.path, what, f"all rows need as many; {REMEDY}")
        return arrow.chunked_array([chunk.flatten() for chunk in values.chunks], type=values.type.value_type)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
