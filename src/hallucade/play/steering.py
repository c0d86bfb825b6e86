"""From what a player holds and moves to action rows."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float32

from hallucade.actions import ActionSpace, Axis
from hallucade.play.controller import Held
from hallucade.play.protocol import Input


class Steering:
    """One action row a block of `frames`, which holds throughout the block.

    A held value replaces what keys say of an axis. Movement adds to either, in equal parts over the block. What goes
    beyond an axis's range moves on to the next block and is lost there: a late message is made up for, a quick flick
    takes a frame longer, and the view never turns on by itself.
    """

    def __init__(self, actions: ActionSpace, frames: int = 1) -> None:
        self._actions, self._frames = actions, frames
        self._first_axis = actions.size - len(actions.axes)
        self._left = [0.0] * len(actions.axes)  # of the last block's movement, in the axis's units

    def row(self, held: Held) -> Float32[np.ndarray, "c"]:
        """Return the raw action of the next block."""
        row = self._actions.from_keys(held.keys)
        for i, axis in enumerate(self._actions.axes):
            column = self._first_axis + i
            steady = min(max(held.values.get(axis.name, float(row[column])), axis.low), axis.high)
            row[column], self._left[i] = self._moved(axis, steady, held.moved.get(axis.name, 0.0), self._left[i])
        return row

    def _moved(self, axis: Axis, steady: float, moved: float, left: float) -> tuple[float, float]:
        """Return an axis's value, and how much of `moved` did not fit."""
        wanted = steady + (moved + left) / self._frames
        value = min(max(wanted, axis.low), axis.high)
        limit = self._frames * max(-axis.low, axis.high)
        newest = min(max(moved, -limit), limit)  # what was left before had its chance
        beyond = (wanted - value) * self._frames
        return value, min(max(beyond, min(newest, 0.0)), max(newest, 0.0))


def check_axes(actions: ActionSpace, message: Input) -> None:
    """Check the axes that an input names.

    Raises:
        ValueError: there is no such axis, or a value axis is said to have moved.
    """
    _check_named("values", message.values, [axis.name for axis in actions.axes])
    _check_named("moved", message.moved, [axis.name for axis in actions.axes if axis.kind == "delta"])


def _check_named(field: str, named: Collection[str], known: Collection[str]) -> None:
    if not set(known).issuperset(named):  # the text names what there is, and never repeats the input
        there = ", ".join(known) or "none"
        raise ValueError(f"{field} names an axis that this game does not have; it takes: {there}"[:200])
