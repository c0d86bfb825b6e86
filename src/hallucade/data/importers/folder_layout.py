"""``play.yaml``: what the columns of a folder's action tables mean.

    fps: 30                       # optional: the videos say it
    buttons:
      jump: {column: space, keys: [Space]}
      fire: {column: held, value: mouse1}       # pressed where the cell is, or lists, "mouse1"
    choices:
      move: {options: [stay, left, right], keys: {left: [ArrowLeft], right: [ArrowRight]}}
    axes:
      yaw: {column: mouse.dx, scale: 0.15, low: -15, high: 15, kind: delta, turns: right}
    state: [x, y]                 # optional columns that are kept beside the frames
    reward: score                 # optional
    menu: paused                  # optional: 1 where the player is in a menu
    time: seconds                 # optional: rows are events at these times, not one row a frame

Without ``column`` a control reads the column of its own name.
"""

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hallucade.actions import ActionSpace, Axis, Button, Choice, Turn
from hallucade.data.importers.action_table import ActionTable
from hallucade.data.source import SourceError

FILE = "play.yaml"
NAME = "name what is there: see the page on training on your own game"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ButtonColumn(_Strict):
    """A button: pressed where its cell is not 0, or where it is, or lists, `value`."""

    column: str | None = None
    value: str | int | None = None
    keys: tuple[str, ...] = ()
    turns: Turn | None = None

    def read(self, table: ActionTable, column: str) -> np.ndarray:
        """Return 0 or 1 a row."""
        if self.value is None:
            return table.numbers(column) != 0
        wanted = str(self.value)
        held = [cast("list[Any]", cell) if isinstance(cell, list) else [cell] for cell in table.cells(column)]
        return np.array([wanted in map(str, cells) for cells in held])


class ChoiceColumn(_Strict):
    """A choice: its cell is the name of an option, or its index."""

    column: str | None = None
    options: tuple[str, ...]
    keys: dict[str, tuple[str, ...]] = {}

    def read(self, table: ActionTable, column: str) -> np.ndarray:
        """Return the index of the option a row."""
        known = {name: float(i) for i, name in enumerate(self.options)}
        known |= {str(i): float(i) for i in range(len(self.options)) if str(i) not in known}
        rows: list[float] = []
        for row, cell in enumerate(table.cells(column)):
            if (found := known.get(str(cell).removesuffix(".0"))) is None:
                what = f"{column} is {cell!r}, which is no option: {', '.join(self.options)}"
                raise table.error(row, what, f"correct the file, or add the option in {FILE}")
            rows.append(found)
        return np.array(rows)


class AxisColumn(_Strict):
    """An axis: the number in its cell, times `scale`."""

    column: str | None = None
    low: float
    high: float
    scale: float = 1.0
    kind: Literal["value", "delta"] = "value"
    negative_keys: tuple[str, ...] = ()
    positive_keys: tuple[str, ...] = ()
    turns: Turn | None = None

    def read(self, table: ActionTable, column: str) -> np.ndarray:
        """Return the value a row, in the axis' own units."""
        return table.numbers(column) * self.scale


class FolderLayout(_Strict):
    """The content of ``play.yaml``."""

    fps: float | None = Field(default=None, gt=0)
    licence: str = ""
    buttons: dict[str, ButtonColumn] = {}
    choices: dict[str, ChoiceColumn] = {}
    axes: dict[str, AxisColumn] = {}
    state: tuple[str, ...] = ()
    reward: str | None = None
    menu: str | None = None
    time: str | None = None

    @property
    def actions(self) -> ActionSpace:
        """The controls that the file names.

        Raises:
            ValueError: there are none, or one of them cannot be.
        """
        return ActionSpace(
            buttons=tuple(Button(name=n, keys=b.keys, turns=b.turns) for n, b in self.buttons.items()),
            choices=tuple(_choice(n, c) for n, c in self.choices.items()),
            axes=tuple(Axis(name=n, **a.model_dump(exclude={"column", "scale"})) for n, a in self.axes.items()),
        )

    def rows(self, table: ActionTable) -> np.ndarray:
        """Read the raw action rows `n c` of a table, as they are."""
        controls = {**self.buttons, **self.choices, **self.axes}
        columns = [control.read(table, control.column or name) for name, control in controls.items()]
        widest = float(np.finfo(np.float32).max)
        return np.stack(columns, axis=1).clip(-widest, widest).astype(np.float32)


def load_layout(path: Path) -> FolderLayout:
    """Read ``play.yaml``.

    Raises:
        SourceError: it is missing, is no YAML, or has a field that is unknown or of the wrong type.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        layout = FolderLayout.model_validate(content if content is not None else {})
        assert layout.actions is not None
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "say there what the columns mean") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][-1:] == ("[key]",):  # YAML takes yes, no, on, off and 1 as something else
            remedy = "put names like yes, no, on, off and numbers in quotes"
            raise SourceError(path, f"{first['loc'][0]}: the name {first['input']!r} is no text", remedy) from error
        field = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(path, f"{field}: {first['msg'].lower()}", NAME) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(path, f"it is no YAML ({' '.join(str(error).split())})", "correct it") from error
    except ValueError as error:
        raise SourceError(path, str(error), NAME) from error
    return layout


def inferred_layout(tables: list[ActionTable]) -> FolderLayout:
    """Take columns that hold only 0 and 1 as buttons, and other numbers as axes over the range that they take.

    Raises:
        SourceError: a table has another set of columns, or a cell that is no number.
    """
    values = {name: np.concatenate([table.numbers(name) for table in tables]) for name in tables[0].columns}
    flags = {name for name, column in values.items() if np.isin(column, (0, 1)).all()}
    ranges = {n: (float(c.min()), float(c.max())) for n, c in values.items() if n not in flags}
    return FolderLayout(
        buttons={name: ButtonColumn() for name in values if name in flags},
        axes={name: AxisColumn(low=low, high=high if high > low else low + 1) for name, (low, high) in ranges.items()},
    )


def _choice(name: str, choice: ChoiceColumn) -> Choice:
    unknown = sorted(set(choice.keys) - set(choice.options))
    if unknown:
        raise ValueError(f"choices.{name}.keys names {unknown[0]!r}, which is no option: {', '.join(choice.options)}")
    keys = tuple(choice.keys.get(option, ()) for option in choice.options)
    return Choice(name=name, options=choice.options, keys=keys if choice.keys else ())
