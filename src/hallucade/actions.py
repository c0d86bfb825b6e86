"""What a player can do: named buttons, choices and axes, one column each in a raw action row.

A raw row is float32 `c`: buttons are 0 or 1, a choice is the index of its option (0 is idle), an axis is a value in its
own units. ``ActionSpace.encode`` turns rows into the features that models read: buttons as they are, choices one-hot,
axes scaled to [-1, 1]. Keys are browser ``KeyboardEvent.code`` values ("ArrowUp", "KeyW"), "Mouse0" and "Mouse2" the
left and right buttons of a mouse; "ArrowUp+Space" is a chord.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from hallucade.config import Config

Turn = Literal["left", "right", "up", "down"]  # where the view goes; the picture moves the other way

# Keys that a player holds by accident at the same time, and that then cancel: (axis, sign).
DIRECTIONS = {
    "ArrowUp": ("vertical", -1),
    "KeyW": ("vertical", -1),
    "ArrowDown": ("vertical", 1),
    "KeyS": ("vertical", 1),
    "ArrowLeft": ("horizontal", -1),
    "KeyA": ("horizontal", -1),
    "ArrowRight": ("horizontal", 1),
    "KeyD": ("horizontal", 1),
}


@dataclass(frozen=True, kw_only=True)
class Button(Config):
    """A control that is held (1) or not (0)."""

    name: str
    keys: tuple[str, ...] = ()  # any of them presses the button
    turns: Turn | None = None  # where it turns the view while held; `hallucade validate` checks it in the pictures

    @property
    def features(self) -> int:
        """Width after encoding."""
        return 1


@dataclass(frozen=True, kw_only=True)
class Choice(Config):
    """A control that is in exactly one of several positions; option 0 is idle.

    Raises:
        ValueError: fewer than two options, repeated options, or not one tuple of keys an option.
    """

    name: str
    options: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...] = ()  # one tuple an option, any key of it selects the option; () for no keys

    def __post_init__(self) -> None:
        if len(self.options) < 2:
            raise ValueError(f"choice {self.name!r} has options {self.options}; it needs idle and at least one more")
        _check_unique(self.options, f"option of choice {self.name!r}")
        if self.keys and len(self.keys) != len(self.options):
            raise ValueError(
                f"choice {self.name!r} has {len(self.options)} options and {len(self.keys)} tuples of keys; "
                "give one tuple an option, () for an option without keys"
            )

    @property
    def features(self) -> int:
        """Width after encoding."""
        return len(self.options)


@dataclass(frozen=True, kw_only=True)
class Axis(Config):
    """A control with a value: a stick's position ("value") or a mouse's movement since the last frame ("delta").

    Raises:
        ValueError: an empty or infinite range, or keys that leave it.
    """

    name: str
    low: float
    high: float
    kind: Literal["value", "delta"] = "value"
    negative_keys: tuple[str, ...] = ()  # any of them sets `low`, or -`by_key`
    positive_keys: tuple[str, ...] = ()  # any of them sets `high`, or `by_key`
    by_key: float | None = None  # for ranges that a mouse reaches and no player holds a key for; None for the ends
    turns: Turn | None = None  # where a positive value turns the view; `hallucade validate` checks it in the pictures

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"axis {self.name!r} has range [{self.low}, {self.high}]; give finite low < high")
        if self.by_key is not None and not 0 < self.by_key <= max(-self.low, self.high):
            farthest = max(-self.low, self.high)
            raise ValueError(f"by_key of axis {self.name!r} is {self.by_key}; give a value in (0, {farthest:g}]")

    @property
    def features(self) -> int:
        """Width after encoding."""
        return 1

    @property
    def idle(self) -> float:
        """The value when nobody touches it: 0, or the nearest end of the range."""
        return min(max(0.0, self.low), self.high)

    @property
    def key_values(self) -> tuple[float, float]:
        """What its negative and its positive keys set."""
        if self.by_key is None:
            return self.low, self.high
        return max(self.low, -self.by_key), min(self.high, self.by_key)


Control = Button | Choice | Axis


def camera_axes(yaw: float, pitch: float, yaw_by_key: float, pitch_by_key: float) -> tuple[Axis, Axis]:
    """Return the axes of a view that a mouse or the arrow keys turn: yaw to the right, and pitch up.

    Args:
        yaw: degrees a frame, at most; and so is `pitch`.
        pitch: see `yaw`.
        yaw_by_key: degrees a frame that a held key turns; and so is `pitch_by_key`.
        pitch_by_key: see `yaw_by_key`.
    """
    return (
        Axis(
            name="yaw",
            low=-yaw,
            high=yaw,
            kind="delta",
            negative_keys=("ArrowLeft",),
            positive_keys=("ArrowRight",),
            by_key=min(yaw_by_key, yaw),
            turns="right",
        ),
        Axis(
            name="pitch",
            low=-pitch,
            high=pitch,
            kind="delta",
            negative_keys=("ArrowDown",),
            positive_keys=("ArrowUp",),
            by_key=min(pitch_by_key, pitch),
            turns="up",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class ActionSpace(Config):
    """All controls of a game; columns are the buttons, then the choices, then the axes.

    Raises:
        ValueError: no controls, or two of one name.
    """

    buttons: tuple[Button, ...] = ()
    choices: tuple[Choice, ...] = ()
    axes: tuple[Axis, ...] = ()

    def __post_init__(self) -> None:
        if not self.controls:
            raise ValueError("an action space needs at least one button, choice or axis")
        _check_unique(self.names, "control")

    @property
    def controls(self) -> tuple[Control, ...]:
        """Every control, in the order of the columns."""
        return (*self.buttons, *self.choices, *self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names of a raw row."""
        return tuple(control.name for control in self.controls)

    @property
    def size(self) -> int:
        """Columns of a raw row, c."""
        return len(self.controls)

    @property
    def features(self) -> int:
        """Width of an encoded action, a."""
        return sum(control.features for control in self.controls)

    @property
    def idle(self) -> Float32[np.ndarray, "c"]:
        """The raw row of a player who touches nothing."""
        return np.array([c.idle if isinstance(c, Axis) else 0 for c in self.controls], np.float32)

    @overload
    def encode(self, rows: np.ndarray) -> Float32[np.ndarray, "... a"]: ...
    @overload
    def encode(self, rows: Tensor) -> Float32[Tensor, "... a"]: ...
    def encode(self, rows: Shaped[np.ndarray, "... c"] | Shaped[Tensor, "... c"]) -> np.ndarray | Tensor:
        """Turn raw rows `... c` into float32 features `... a`, numpy for numpy and torch for torch.

        Values are taken as they are; ``validate`` is for rows of unknown origin.

        Raises:
            ValueError: rows with another number of columns.
        """
        self._check_columns(rows)
        values = rows.float() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows, np.float32))
        features = torch.cat(list(self._encoded(values)), dim=-1)
        return features if isinstance(rows, Tensor) else features.numpy()

    def _encoded(self, rows: Float32[Tensor, "... c"]) -> Iterator[Float32[Tensor, "... _"]]:
        first_choice, first_axis = len(self.buttons), len(self.buttons) + len(self.choices)
        yield rows[..., :first_choice]
        for column, choice in enumerate(self.choices, first_choice):
            options = torch.arange(len(choice.options), device=rows.device)
            yield (rows[..., column : column + 1] == options).float()
        for column, axis in enumerate(self.axes, first_axis):
            yield (rows[..., column : column + 1] - axis.low) * (2 / (axis.high - axis.low)) - 1

    def decode(self, features: Float[Tensor, "... a"]) -> Float32[Tensor, "... c"]:
        """Undo ``encode``: a button counts as held from 0.5 up, a choice is its largest option.

        Raises:
            ValueError: features of another width.
        """
        if features.shape[-1] != self.features:
            raise ValueError(f"action features are {features.shape[-1]} wide; those of this game are {self.features}")
        columns, first = list[Tensor](), 0
        for control in self.controls:
            columns.append(_decoded(control, features[..., first : first + control.features].float()))
            first += control.features
        return torch.cat(columns, dim=-1)

    def aggregate(self, rows: Float32[np.ndarray, "*lead m c"]) -> Float32[np.ndarray, "*lead c"]:
        """Join m consecutive rows into one, for a recording at 1/m of the frame rate.

        A button counts as held if it ever was, a choice keeps its last option, a value axis is averaged, a delta axis
        is summed; sums may leave this space's range, see ``over``.
        """
        b, d = len(self.buttons), len(self.buttons) + len(self.choices)
        axes = [
            rows[..., d + i].sum(-1) if a.kind == "delta" else rows[..., d + i].mean(-1)
            for i, a in enumerate(self.axes)
        ]
        return np.concatenate(
            [rows[..., :b].max(-2), rows[..., -1, b:d], *(a[..., None] for a in axes)], axis=-1, dtype=np.float32
        )

    def over(self, frames: int) -> "ActionSpace":
        """Return the space of rows aggregated over `frames`: delta axes reach that much further."""
        return replace(self, axes=tuple(_stretched(a, frames) if a.kind == "delta" else a for a in self.axes))

    def from_keys(self, pressed: Collection[str]) -> Float32[np.ndarray, "c"]:
        """Return the raw row of a player who holds these keys.

        Opposite directions of one control cancel, as on a real stick. If a choice is still asked for several options
        at once, the longest chord wins, and among equals the last option in the list.
        """
        held = frozenset(pressed)
        row = self.idle
        for column, control in enumerate(self.controls):
            row[column] = _value(control, held, float(row[column]))
        return row

    def keys_of(self, row: Shaped[np.ndarray, "c"]) -> tuple[str, ...]:
        """Name what a row holds, for overlays: ("fire", "up", "steer+"); empty for the idle row."""
        held: list[str] = []
        for control, value, idle in zip(self.controls, row, self.idle, strict=True):
            if value == idle:
                continue
            match control:
                case Button():
                    held.append(control.name)
                case Choice():
                    held.append(control.options[int(value)])
                case Axis():
                    held.append(control.name + ("+" if value > idle else "-"))
        return tuple(held)

    def validate(self, rows: Shaped[np.ndarray, "... c"]) -> None:
        """Check rows of unknown origin.

        Raises:
            ValueError: names the column, the value, the row and the remedy.
        """
        self._check_columns(rows)
        for column, control in enumerate(self.controls):
            values = np.atleast_2d(rows)[..., column]
            legal, remedy = _legal(control, values)
            if not legal.all():
                index = tuple(int(i) for i in np.argwhere(~legal)[0])
                where = index[0] if len(index) == 1 else index
                raise ValueError(f"action column {control.name!r} is {values[index]} in row {where}; {remedy}")

    def describe(self) -> str:
        """Return one short line: ``fire, move: stay | up | down, steer: -1 to 1``."""
        return ", ".join(_describe(control) for control in self.controls)

    def difference(self, other: "ActionSpace") -> str | None:
        """Say how `other` differs in what models see, or None; keys may differ."""
        if [_describe(c) for c in self.controls] == [_describe(c) for c in other.controls]:
            return None
        missing = [n for n in self.names if n not in other.names]
        extra = [n for n in other.names if n not in self.names]
        parts = [f"{', '.join(missing)} missing"] if missing else []
        parts += [f"{', '.join(extra)} unexpected"] if extra else []
        detail = f" ({'; '.join(parts)})" if parts else ""
        return f"expected actions [{self.describe()}], got [{other.describe()}]{detail}"

    def _check_columns(self, rows: np.ndarray | Tensor) -> None:
        if rows.ndim < 1 or rows.shape[-1] != self.size:
            raise ValueError(
                f"action rows have shape {tuple(rows.shape)}; the last axis must hold {self.size} "
                f"column(s): {', '.join(self.names)}"
            )


def _decoded(control: Control, features: Float32[Tensor, "... f"]) -> Float32[Tensor, "... 1"]:
    match control:
        case Button():
            return (features >= 0.5).float()
        case Choice():
            return features.argmax(-1, keepdim=True).float()
        case Axis():
            return control.low + (features + 1) * ((control.high - control.low) / 2)


def _value(control: Control, held: frozenset[str], idle: float) -> float:
    match control:
        case Button():
            return float(_longest_chord(control.keys, held) > 0)
        case Choice():
            remaining = _without_opposites(held, chain.from_iterable(control.keys))
            chords = [_longest_chord(keys, remaining) for keys in control.keys] or [0]
            best = max(chords)
            return float(len(chords) - 1 - chords[::-1].index(best)) if best else 0.0
        case Axis():
            negative = _longest_chord(control.negative_keys, held) > 0
            positive = _longest_chord(control.positive_keys, held) > 0
            return idle if negative == positive else control.key_values[int(positive)]


def _stretched(axis: Axis, frames: int) -> Axis:
    by_key = None if axis.by_key is None else axis.by_key * frames
    return replace(axis, low=axis.low * frames, high=axis.high * frames, by_key=by_key)


def _longest_chord(keys: Collection[str], held: frozenset[str]) -> int:
    """Return how many keys the longest completely held chord has, 0 if none is."""
    chords = [key.split("+") for key in keys]
    return max((len(chord) for chord in chords if held.issuperset(chord)), default=0)


def _without_opposites(held: frozenset[str], keys: Iterator[str]) -> frozenset[str]:
    """Drop the held directions that cancel, among the keys of one control: two players may share a keyboard."""
    mine = held.intersection(chain.from_iterable(key.split("+") for key in keys))
    directions = {DIRECTIONS[key] for key in mine if key in DIRECTIONS}
    cancelled = {axis for axis, sign in directions if (axis, -sign) in directions}
    return frozenset(key for key in mine if DIRECTIONS.get(key, ("", 0))[0] not in cancelled)


def _legal(control: Control, values: np.ndarray) -> tuple[np.ndarray, str]:
    match control:
        case Button():
            return (values == 0) | (values == 1), "a button is 0 or 1"
        case Choice():
            options = ", ".join(f"{i} {name}" for i, name in enumerate(control.options))
            return np.isin(values, np.arange(len(control.options))), f"use the index of an option: {options}"
        case Axis():
            low, high = np.float32(control.low), np.float32(control.high)
            legal = (values.astype(np.float32) >= low) & (values.astype(np.float32) <= high)
            return legal, f"clip it to [{control.low:g}, {control.high:g}] in the importer"


def _describe(control: Control) -> str:
    match control:
        case Button():
            return control.name
        case Choice():
            return f"{control.name}: {' | '.join(control.options)}"
        case Axis():
            return f"{control.name}: {control.low:g} to {control.high:g}{' a frame' if control.kind == 'delta' else ''}"


def _check_unique(names: Collection[str], noun: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{noun} {repeated[0]!r} is named twice; names must differ")
