"""Typed, frozen configuration that travels as JSON.

A config is a frozen keyword-only dataclass directly above the class it builds. ``to_json`` writes every field and the
class name; ``from_json`` refuses unknown classes, unknown keys and values of the wrong type, at any depth.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

TYPE_KEY = "type"
C = TypeVar("C", bound="Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration; subclasses are frozen keyword-only dataclasses."""

    _classes: ClassVar[dict[str, type[Config]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        known = Config._classes.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__:  # files name classes without their modules
            raise ValueError(
                f"{cls.__module__} defines a config class {cls.__name__}, and so does {known.__module__}; rename one"
            )
        Config._classes[cls.__name__] = cls

    @classmethod
    def kinds(cls: type[C]) -> dict[str, type[C]]:
        """Return this class and all below it, by name: what a field of this type can hold."""
        return {name: known for name, known in Config._classes.items() if issubclass(known, cls)}

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and scalars, ready for ``json.dumps``."""
        fields = {f.name: _to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {TYPE_KEY: type(self).__name__, **fields}

    @classmethod
    def from_json(cls: type[C], data: Mapping[str, Any]) -> C:
        """Rebuild a config, or any subclass of `cls`, from ``to_json``.

        Raises:
            ValueError: the class or a key is unknown, a key is missing, or a value has the wrong type.
        """
        name, kinds = data.get(TYPE_KEY, cls.__name__), cls.kinds()
        known = kinds.get(name) if isinstance(name, str) else None
        if known is None:
            raise ValueError(f"unknown {cls.__name__} type {name!r}; known types: {', '.join(sorted(kinds))}")
        fields = {f.name: f for f in dataclasses.fields(known)}
        unknown = sorted(set(data) - set(fields) - {TYPE_KEY})
        if unknown:
            raise ValueError(f"unknown field(s) {', '.join(unknown)} in {name}; known fields: {', '.join(fields)}")
        required = [n for n, f in fields.items() if _is_required(f)]
        missing = sorted(set(required) - set(data))
        if missing:
            raise ValueError(f"missing field(s) {', '.join(missing)} in {name}")
        hints = typing.get_type_hints(known)
        values = {key: _from_plain(data[key], hints[key], f"{name}.{key}") for key in fields if key in data}
        return known(**values)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _to_plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_to_plain(v) for v in typing.cast("list[Any]", value)]
    if isinstance(value, Mapping):
        return {str(k): _to_plain(v) for k, v in typing.cast("Mapping[Any, Any]", value).items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a config cannot hold a {type(value).__name__}: {value!r}")


def _from_plain(value: Any, hint: Any, where: str) -> Any:
    """Convert `value` to the annotated type `hint`; unions take the first member that fits."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_union(value, typing.get_args(hint), where)
    if origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in typing.get_args(hint)):
            return value
        raise ValueError(f"{where} is {value!r}; choose one of {', '.join(map(repr, typing.get_args(hint)))}")
    if origin is tuple and isinstance(value, list | tuple):
        return _from_sequence(typing.cast("list[Any]", value), typing.get_args(hint), where)
    if origin is dict and isinstance(value, dict):
        item = typing.get_args(hint)[1]
        return {k: _from_plain(v, item, f"{where}[{k!r}]") for k, v in typing.cast("dict[str, Any]", value).items()}
    if isinstance(hint, type):
        if issubclass(hint, Config) and isinstance(value, Mapping):
            return hint.from_json(typing.cast("Mapping[str, Any]", value))
        if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, where)
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
            return value
    raise ValueError(f"{where} is {value!r}, which is not a {hint}")


def _check_number(value: float, where: str) -> None:
    """Refuse what nothing can be computed with, and no range of a config can be trusted to refuse."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where} is {value}; whole numbers have 64 bits here")
    if math.isnan(value):
        raise ValueError(f"{where} is {value}, which is not a number")


def _from_sequence(value: list[Any], args: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ValueError(f"{where} has {len(value)} items; it takes {len(args)}")
    return tuple(_from_plain(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, args, strict=True)))


def _from_union(value: Any, members: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in members:
        return None
    if isinstance(value, Mapping):  # the "type" key decides, so that the error names the bad field and not the union
        name = typing.cast("Mapping[str, Any]", value).get(TYPE_KEY)
        known = Config._classes.get(str(name))  # pyright: ignore[reportPrivateUsage]
        for member in members:
            if isinstance(member, type) and known is not None and issubclass(known, member):
                return _from_plain(value, member, where)
    errors: list[str] = []
    for member in members:
        if member is type(None):
            continue
        try:
            return _from_plain(value, member, where)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(errors[0] if len(errors) == 1 else f"{where} is {value!r}: " + "; ".join(errors))
