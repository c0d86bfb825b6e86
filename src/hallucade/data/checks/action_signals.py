"""Action rows as signals: plain series of numbers that picture motion can be held against."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from hallucade.actions import ActionSpace, Axis, Button, Choice, Control, Turn


@dataclass(frozen=True)
class Signal:
    """One series made of an action column: a button, an option of a choice, an axis, or an axis' change."""

    column: int
    control: str
    name: str  # of the control, with the option or "change" where there are several: "move=up"
    turns: Turn | None
    option: float | None = None  # the value of a choice that counts as 1
    change: bool = False  # a stick or a robot's target may show in the picture only when it moves

    def of(self, rows: Float32[np.ndarray, "n c"]) -> Float64[np.ndarray, "n"]:
        """Return the series of one run of rows."""
        values = rows[:, self.column].astype(np.float64)
        if self.option is not None:
            return (values == self.option).astype(np.float64)
        return np.diff(values, prepend=values[:1]) if self.change else values


def signals_of(actions: ActionSpace) -> tuple[Signal, ...]:
    """Return the signals of every control."""
    return tuple(signal for i, control in enumerate(actions.controls) for signal in _signals(i, control))


def _signals(column: int, control: Control) -> Iterator[Signal]:
    name = control.name
    match control:
        case Button():
            yield Signal(column, name, name, control.turns)
        case Choice():
            for index, option in enumerate(control.options[1:], 1):
                yield Signal(column, name, f"{name}={option}", None, option=index)
        case Axis():
            yield Signal(column, name, name, control.turns)
            if control.kind == "value" and control.turns is None:
                yield Signal(column, name, f"{name}, its change", None, change=True)
