"""From a Gymnasium action space to named controls, and from a raw action row back to the environment's own action."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from gymnasium import spaces
from jaxtyping import Float32

from hallucade.actions import ActionSpace, Axis, Button, Choice, Control

KEY_PAIRS = (("ArrowLeft", "ArrowRight"), ("ArrowDown", "ArrowUp"), ("KeyA", "KeyD"), ("KeyS", "KeyW"))
KEYS = tuple(f"Digit{digit}" for digit in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)) + tuple(f"Key{k}" for k in "QERTYUIOPFGH")

ActionRow: TypeAlias = Float32[np.ndarray, "c"]  # one raw action row
Space = spaces.Space[Any]
Native = Callable[[ActionRow], Any]  # what `env.step` takes for a raw row


@dataclass(frozen=True)
class Controls:
    """What a player of an environment can do, and how the environment is told."""

    actions: ActionSpace
    native: Native


def controls_of(space: Space) -> Controls:
    """Name the controls of any action space that is made of Discrete, MultiDiscrete, MultiBinary and Box.

    An option that cannot be chosen otherwise (one option, or low = high) is no control and is always sent. Keys are
    dealt out in order: arrows, WASD and the like for axes, digits for the rest.

    Raises:
        ValueError: a space of another kind, an axis without limits, or nothing to choose at all.
    """
    leaves = [_leaf(name, leaf) for name, leaf in _flattened("", space)]
    dealt = _with_keys([control for leaf in leaves for control in leaf.controls])
    if not dealt:
        raise ValueError(f"action space {space} leaves nothing to choose; record an environment that can be played")
    actions = ActionSpace(
        buttons=tuple(c for c in dealt if isinstance(c, Button)),
        choices=tuple(c for c in dealt if isinstance(c, Choice)),
        axes=tuple(c for c in dealt if isinstance(c, Axis)),
    )
    columns = [[actions.names.index(control.name) for control in leaf.controls] for leaf in leaves]

    def native(row: ActionRow) -> Any:
        values = iter([leaf.native(row[own]) for leaf, own in zip(leaves, columns, strict=True)])
        return _assembled(space, values)

    return Controls(actions, native)


@dataclass(frozen=True)
class _Leaf:
    """The controls of one elementary space, and its value from their columns."""

    controls: tuple[Control, ...]
    native: Callable[[np.ndarray], Any]


def _flattened(name: str, space: Space) -> Iterator[tuple[str, Space]]:
    """Yield the elementary spaces with a name that says where they are: "arm", "arm_2"."""
    parts = _parts(space)
    if parts is None:
        yield name, space
        return
    first = "" if isinstance(space, spaces.Dict) else "action"  # keys are names, positions are none
    for key, part in parts.items():
        yield from _flattened(_joined(name or first, key), part)


def _assembled(space: Space, values: Iterator[Any]) -> Any:
    """Undo `_flattened`."""
    parts = _parts(space)
    if parts is None:
        return next(values)
    assembled = {key: _assembled(part, values) for key, part in parts.items()}
    return assembled if isinstance(space, spaces.Dict) else tuple(assembled.values())


def _parts(space: Space) -> dict[Any, Space] | None:
    """Return the spaces that a Dict or Tuple holds, in their order."""
    if isinstance(space, spaces.Dict):
        return dict(cast("dict[Any, Space]", space.spaces))
    if isinstance(space, spaces.Tuple):
        return dict(enumerate(cast("tuple[Space, ...]", space.spaces)))
    return None


def _leaf(name: str, space: Space) -> _Leaf:
    match space:
        case spaces.Discrete():
            return _discrete(name, space)
        case spaces.MultiDiscrete():
            return _multi_discrete(name, space)
        case spaces.MultiBinary():
            names = [_joined(name or "button", *index) for index in np.ndindex(space.shape)]
            buttons = tuple(Button(name=each) for each in names)
            return _Leaf(buttons, lambda row: row.reshape(space.shape).astype(np.int8))
        case spaces.Box():
            return _box(name, space)
        case _:
            raise ValueError(
                f"action space {space} cannot be recorded; wrap the environment so that its actions are "
                "Discrete, MultiDiscrete, MultiBinary or Box, alone or in a Dict or Tuple"
            )


def _discrete(name: str, space: spaces.Discrete) -> _Leaf:
    start, count = int(space.start), int(space.n)
    if count < 2:
        return _Leaf((), lambda row: np.int64(start))
    choice = Choice(name=name or "action", options=tuple(str(start + i) for i in range(count)))
    return _Leaf((choice,), lambda row: np.int64(row[0]) + start)


def _multi_discrete(name: str, space: spaces.MultiDiscrete) -> _Leaf:
    counts, starts = np.asarray(space.nvec).ravel(), np.asarray(space.start).ravel()
    names = [_joined(name or "action", *index) for index in np.ndindex(space.shape)]
    options = [tuple(str(s + i) for i in range(n)) for n, s in zip(counts.tolist(), starts.tolist(), strict=True)]
    free = counts > 1
    choices = tuple(Choice(name=n, options=o) for n, o in zip(names, options, strict=True) if len(o) > 1)

    def native(row: np.ndarray) -> np.ndarray:
        value = starts.astype(np.int64)
        value[free] += row.astype(np.int64)
        return value.reshape(space.shape)

    return _Leaf(choices, native)


def _box(name: str, space: spaces.Box) -> _Leaf:
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    names = [_joined(name or "axis", *index) for index in np.ndindex(space.shape)]
    free = low < high
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(
            f"action space {space} has an axis without limits; wrap the environment in gymnasium.wrappers.RescaleAction"
        )
    axes = tuple(
        Axis(name=n, low=a, high=b)
        for n, a, b, f in zip(names, low.tolist(), high.tolist(), free.tolist(), strict=True)
        if f
    )

    def native(row: np.ndarray) -> np.ndarray:
        value = low.copy()
        value[free] = np.clip(row, low[free], high[free])  # a float32 row may lie a hair outside
        if np.issubdtype(space.dtype, np.integer):
            value = np.rint(value)
        return value.astype(space.dtype).reshape(space.shape)

    return _Leaf(axes, native)


def _with_keys(controls: list[Control]) -> list[Control]:
    """Deal keys out until there are none left; option 0 of a choice and the idle of an axis need none."""
    pairs, keys = iter(KEY_PAIRS), iter(KEYS)

    def one() -> tuple[str, ...]:
        key = next(keys, None)
        return () if key is None else (key,)

    dealt: list[Control] = []
    for control in controls:
        match control:
            case Button():
                dealt.append(Button(name=control.name, keys=one()))
            case Choice():
                rest = tuple(one() for _ in control.options[1:])
                dealt.append(Choice(name=control.name, options=control.options, keys=((), *rest)))
            case Axis():
                negative, positive = next(pairs, (None, None))
                axis = Axis(
                    name=control.name,
                    low=control.low,
                    high=control.high,
                    negative_keys=(negative,) if negative else (),
                    positive_keys=(positive,) if positive else (),
                )
                dealt.append(axis)
    return dealt


def _joined(*parts: Any) -> str:
    return "_".join(str(part) for part in parts if part != "")
