"""JSON of others' making, read by models that say which field is wrong."""

from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from hallucade.data.source import SourceError
from hallucade.data.video import REMEDY

M = TypeVar("M", bound="ForeignModel")


class ForeignModel(BaseModel):
    """Base of foreign objects: only the named fields are read; converted types, NaN and infinity are refused."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True, extra="ignore")


class CamelModel(ForeignModel):
    """A foreign object with names like ``isGuiOpen``."""

    model_config = ConfigDict(alias_generator=to_camel)


def read_bytes(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        SourceError: it is missing, empty, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(path, "there is no such file", "check the path, or download what is missing") from None
    except OSError as error:
        raise SourceError(path, f"cannot read it ({error.strerror})", "check its permissions") from error
    if not content.strip():
        raise SourceError(path, "the file is empty", REMEDY)
    return content


def parse_json(model: type[M], text: bytes, path: Path, where: str = "") -> M:
    """Read one JSON object.

    Args:
        model: what it must be.
        text: of `path`, or of one line of it.
        path: for the error.
        where: begins the error, such as "line 3: ".

    Raises:
        SourceError: names the first field that is missing or wrong.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise SourceError(path, where + _describe(cast("dict[str, Any]", error.errors()[0])), REMEDY) from None


def _describe(error: dict[str, Any]) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "json_invalid":
        return f"it is no JSON ({error['ctx']['error']})"
    if error["type"] == "missing":
        return f"{field} is missing"
    found = repr(error["input"])
    found = found if len(found) <= 40 else found[:37] + "..."
    message = str(error["msg"])
    return f"{field or 'it'} is {found}, but {message[0].lower()}{message[1:]}"
