"""What an ablation varies: paths into a recipe's config, and the values that they take.

``model.injection=joined,film`` gives one field two values; ``model.target+objective.loss_space=x+x,v+v`` moves two
fields together. A value is a scalar as JSON writes it, a bare word, a config class by its short name, or JSON.
"""

import dataclasses
import itertools
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from hallucade.config import TYPE_KEY, Config

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]+|[a-z0-9]+")
SPOKEN = {"True": "true", "False": "false", "None": "null", "none": "null"}
OPEN, CLOSED = "[{(", "]})"
SYNTAX = "PATH=VALUE,VALUE,... or PATH+PATH=VALUE+VALUE,..."


@dataclass(frozen=True)
class Axis:
    """Paths that move together, and for each setting of them one value a path, as text."""

    paths: tuple[str, ...]
    settings: tuple[tuple[str, ...], ...]


def parse_axis(text: str) -> Axis:
    """Read what ``--vary`` takes.

    Raises:
        ValueError: another form, an empty value, or a setting with more or fewer values than there are paths.
    """
    left, equals, right = text.partition("=")
    paths = tuple(path.strip() for path in left.split("+"))
    settings = tuple(_values(setting, len(paths)) for setting in _split(right, ","))
    if not equals or not all(paths) or not all(itertools.chain.from_iterable(settings)):
        raise ValueError(f"--vary is {text!r}; write {SYNTAX}")
    for setting in settings:
        if len(setting) != len(paths):
            raise ValueError(
                f"--vary {text!r} moves {len(paths)} paths together, and {'+'.join(setting)!r} holds {len(setting)} "
                f"value(s); write {SYNTAX}"
            )
    if len(set(settings)) < len(settings):
        raise ValueError(f"--vary {text!r} gives a value twice; leave one out")
    return Axis(paths, settings)


def put(data: dict[str, Any], path: str, text: str) -> None:
    """Set one value in a config as JSON.

    A config class keeps the values of all fields that it shares with the config whose place it takes.

    Raises:
        ValueError: the path leads nowhere, or no such class can stand there.
    """
    holder: Any = data
    *above, last = path.split(".")
    for name in above:
        holder = holder[_key(holder, name, path)]
    key = _key(holder, last, path)
    bases = _config_bases(holder, last)
    holder[key] = _config_value(text, bases, holder[key], path) if bases else _plain_value(text, holder[key])


def short_names(base: type[Config]) -> dict[str, str]:
    """Return the short name of every class below `base`, by class name.

    "Config" falls away, and so do words at the end that the name of `base` says already:
    CrossAttentionInjectionConfig below InjectionConfig is "crossattention".
    """
    said = {_stem(word) for word in WORD.findall(base.__name__)}
    kinds = base.kinds()
    above = {parent.__name__ for kind in kinds.values() for parent in kind.__mro__[1:]}  # bases of others
    return {name: _shortened(name, said) for name in kinds if name not in above}


def _shortened(name: str, said: set[str]) -> str:
    words = WORD.findall(name)
    while len(words) > 1 and _stem(words[-1]) in {*said, "config"}:
        words.pop()
    return "".join(words).lower()


def _stem(word: str) -> str:
    return word.lower().removesuffix("s")


def _key(holder: Any, name: str, path: str) -> Any:
    """Return the key or index under which `holder` keeps `name`."""
    if isinstance(holder, dict) and name in holder and name != TYPE_KEY:
        return name
    if isinstance(holder, list) and name.isdecimal() and int(name) < len(cast("list[Any]", holder)):
        return int(name)
    if isinstance(holder, dict):
        fields = {**cast("dict[str, Any]", holder)}
        what = f"{fields.pop(TYPE_KEY, 'the config')} has no {name!r}; it has {', '.join(fields)}"
    elif isinstance(holder, list):
        what = f"it takes a number from 0 to {len(cast('list[Any]', holder)) - 1} there, not {name!r}"
    else:
        what = f"nothing lies below a value, {holder!r}"
    raise ValueError(f"--vary {path}: {what}")


def _config_bases(holder: Any, name: str) -> tuple[type[Config], ...]:
    """Return the config classes that the field `name` is declared with, if any."""
    if not isinstance(holder, dict):
        return ()
    kind = Config.kinds()[cast("dict[str, Any]", holder)[TYPE_KEY]]
    return tuple(_classes(typing.get_type_hints(kind)[name]))


def _classes(hint: Any) -> Iterator[type[Config]]:
    if isinstance(hint, type) and issubclass(hint, Config):
        yield hint
    elif typing.get_origin(hint) in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            yield from _classes(member)


def _config_value(text: str, bases: tuple[type[Config], ...], present: Any, path: str) -> Any:
    short = {name: brief for base in bases for name, brief in short_names(base).items()}
    if SPOKEN.get(text, text) == "null" or text.startswith("{"):
        return _plain_value(text, present)
    wanted = text.replace("_", "").lower()
    found = [name for name, brief in short.items() if text == name or wanted == brief]
    if not found:
        raise ValueError(f"--vary {path}: there is no {text!r}; choose of {', '.join(sorted(short.values()))}, or JSON")
    kept = cast("dict[str, Any]", present) if isinstance(present, Mapping) else {}
    fields = {field.name for field in dataclasses.fields(Config.kinds()[found[0]])}
    return {TYPE_KEY: found[0], **{name: value for name, value in kept.items() if name in fields}}


def _plain_value(text: str, present: Any) -> Any:
    """Read a value as JSON, and as a word where it is none or where a word stands now."""
    try:
        value: Any = json.loads(SPOKEN.get(text, text))
    except ValueError:
        return text
    return text if isinstance(present, str) and not isinstance(value, str) else value


def _values(setting: str, paths: int) -> tuple[str, ...]:
    return tuple(_split(setting, "+")) if paths > 1 else (setting.strip(),)


def _split(text: str, at: str) -> list[str]:
    """Split outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPEN) - (letter in CLOSED)
        if letter == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
