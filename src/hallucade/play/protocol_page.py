"""The page docs/play-protocol.md, written from the schema by ``python -m hallucade.play.protocol_page``."""

import inspect
import sys
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from hallucade.play.envelope import HEADER_BYTES, HEADER_FIELDS
from hallucade.play.protocol import (
    CLOSE_CODES,
    CREDIT_WINDOW,
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    ClientMessage,
    Message,
    ServerMessage,
)

INTRODUCTION = f"""\
# Play protocol {PROTOCOL_VERSION}

<!-- Generated from src/hallucade/play/protocol.py and envelope.py by `python -m hallucade.play.protocol_page`. -->

A player opens a WebSocket at `/play` with the page's own `Origin`, says `hello`, waits for `welcome`, says `open`, and
from then on sends what is held and moved and receives frames. Texts are JSON objects of at most
{MAX_MESSAGE_BYTES} bytes; from players, unknown fields, values of another type and numbers that are not finite are
refused. Every frame must be acknowledged: at most {CREDIT_WINDOW} are on their way, and a newer frame replaces one that
still waits, so that a slow player sees fewer frames but no old ones.

The version changes when an old player would be misunderstood. What is added leaves it as it is: new fields from the
player may be left out, and players ignore what they do not know in a message from the server. A server takes `values`
and `moved` if the controls of its `welcome` have an `axis`.
"""
FRAMES = f"""\
Binary, little-endian: a header of {HEADER_BYTES} bytes, `controls` float32 values (the raw action row that led to the
frame, one a control of `welcome`), then the dream and, with flag 1, the real game's picture, each as a uint32 length
and so many bytes.

"""
STRUCT_CODES = {"B": ("uint8", 1), "H": ("uint16", 2), "I": ("uint32", 4), "d": ("float64", 8)}


def protocol_page() -> str:
    """Return the whole page as Markdown."""
    sections = [
        INTRODUCTION,
        "## From the player\n",
        *_messages(ClientMessage),
        "## From the server\n",
        *_messages(ServerMessage),
        "## Frames\n\n" + _frames(),
        "## Close codes\n\n" + _table(("code", "meaning"), ((str(c), m) for c, m in sorted(CLOSE_CODES.items()))),
    ]
    return "\n".join(sections)


def _messages(union: Any) -> Iterator[str]:
    for model in typing.get_args(union):
        yield _message(model)


def _message(model: type[Message]) -> str:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    rows: list[tuple[str, ...]] = []
    for name, field in schema["properties"].items():
        if name != "type":
            default = "required" if name in required else f"`{_plain(field['default'])}`"
            rows.append((f"`{name}`", _kind(field, definitions), default, field.get("description", "")))
    title = f"### `{schema['properties']['type']['const']}`\n\n{_markdown(model)}\n"
    return title + ("\n" + _table(("field", "value", "default", "meaning"), rows) if rows else "")


def _markdown(model: type[Message]) -> str:
    return (inspect.getdoc(model) or "").replace("``", "`")


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "$ref" in field:
        properties = definitions[field["$ref"].rsplit("/", 1)[-1]]["properties"]
        return "{" + ", ".join(f"{name}: {_kind(f, definitions)}" for name, f in properties.items()) + "}"
    if "anyOf" in field:
        return " or ".join(_kind(choice, definitions) for choice in field["anyOf"])
    if "enum" in field:
        return " / ".join(f'"{value}"' for value in field["enum"])
    if field["type"] == "array":
        most = f"up to {field['maxItems']}" if "maxItems" in field else "any number"
        return f"list of {most} of {_kind(field['items'], definitions)}"
    if field["type"] == "object":
        item = _kind(field["additionalProperties"], definitions)
        return f"object of up to {field['maxProperties']} names, each with a {item}"
    bounds = [_number(field[key]) for key in ("minimum", "maximum") if key in field]
    notes = [" to ".join(bounds)] if bounds else []
    notes += [f"up to {field['maxLength']} characters"] if "maxLength" in field else []
    notes += [f"matching `{field['pattern']}`"] if "pattern" in field else []
    return " ".join([field["type"], *notes])


def _frames() -> str:
    offset, rows = 0, list[tuple[str, str, str, str]]()
    for name, code, meaning in HEADER_FIELDS:
        kind, size = STRUCT_CODES[code]
        rows.append((str(offset), kind, f"`{name}`", meaning))
        offset += size
    return FRAMES + _table(("offset", "type", "field", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _plain(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


if __name__ == "__main__":
    sys.stdout.write(protocol_page())
