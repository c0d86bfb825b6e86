"""Arrays of numpy in a pickle, made from their bytes by code of this package; see `pickle_reader`."""

import math
import re
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from hallucade.data.importers.pickle_reader import DEPTH, Box, Call, Name, PickleReader, Refusal, Unfinished

DTYPE = re.compile(r"[|<>=]?(?:\?|b1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16|32)|[SU][1-9]\d{0,4}|O8?|O4)")


@dataclass(frozen=True, slots=True)
class ArrayStart(Unfinished):
    """An array whose content comes with a later instruction."""

    def take(self, reader: PickleReader, box: Box, state: Box) -> None:
        """Put the array in its box: version, shape, type, whether it lies in Fortran's order, content."""
        if len(state.value) != 5 or box.ready:
            raise Refusal("an array with unknown content")
        _, shape, dtype, fortran, data = state.value
        box.value = array_of(reader, shape, dtype, "F" if fortran is True else "C", data)
        box.ready, box.depth = True, max(1, state.depth - 1)


@dataclass(frozen=True, slots=True)
class ArrayType(Unfinished):
    """The type of an array; its byte order comes with a later instruction."""

    dtype: np.dtype[Any]

    def take(self, reader: PickleReader, box: Box, state: Box) -> None:
        """Put the type in its byte order in the box."""
        state_of = cast("tuple[Any, ...]", state.value)
        if len(state_of) < 5 or any(part is not None for part in state_of[2:5]) or state_of[1] not in tuple("<>=|"):
            raise Refusal("an array type with fields")
        order = state_of[1]
        box.value = self if order == "|" else ArrayType(self.dtype.newbyteorder(order))


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape that an array can have.

    Raises:
        Refusal: it is no tuple of some sizes.
    """
    sizes = cast("tuple[Any, ...]", shape)
    if not isinstance(shape, tuple) or len(sizes) > DEPTH:
        raise Refusal("an array of an impossible shape")
    if any(type(size) is not int or not 0 <= size < 2**48 for size in sizes):
        raise Refusal(f"an array of shape {str(sizes)[:60]}")
    return sizes


def array_of(reader: PickleReader, shape: Any, dtype: Any, order: str, data: Any) -> np.ndarray:
    """Return an array over `data`: bytes as they lie in the file, or a list of objects.

    Raises:
        Refusal: the content does not fit the type and the shape.
    """
    if not isinstance(dtype, ArrayType):
        raise Refusal("an array without a type")
    sizes, kind = checked_shape(shape), dtype.dtype
    count = math.prod(sizes)
    data = cast("Any", data.encode("latin1") if isinstance(data, str) else data)  # Python 2 wrote its bytes as text
    held: Any = list if kind.hasobject else bytes | bytearray
    if not isinstance(data, held) or len(data) != count * (1 if kind.hasobject else kind.itemsize):
        raise Refusal(f"an array of {kind} of shape {sizes} that does not have its {count} values")
    if not kind.hasobject:
        reader.charge(len(data) if isinstance(data, bytearray) else 0)
        empty = count * kind.itemsize == 0
        return np.empty(sizes, kind) if empty else np.ndarray(sizes, kind, bytes(data), order=cast("Any", order))
    reader.charge(8 * count)
    flat = np.empty(count, object)
    for i, value in enumerate(cast("list[Any]", data)):
        flat[i] = value
    return flat.reshape(sizes, order=cast("Any", order))


def _array_start(reader: PickleReader, args: tuple[Any, ...]) -> None:
    if not args or args[0] != Name("numpy.ndarray"):
        raise Refusal("an array of another class")
    reader.box(ArrayStart(), ready=False)


def _array_of_buffer(reader: PickleReader, args: tuple[Any, ...]) -> None:
    """An array of protocol 5: content, type, shape, order, and for order K how its axes lie."""
    if len(args) not in (4, 5) or args[3] not in tuple("CFK"):
        raise Refusal("an array in an unknown order")
    data, dtype, shape, order, *more = args
    if order != "K" or not more or more[0] is None:
        reader.box(array_of(reader, shape, dtype, "F" if order == "F" else "C", data))
        return
    sizes, axes = checked_shape(shape), more[0]
    if not isinstance(axes, tuple) or set(cast("tuple[Any, ...]", axes)) != set(range(len(sizes))):
        raise Refusal("an array in an unknown order")
    lying = array_of(reader, tuple(sizes), dtype, "C", data)
    reader.box(lying.transpose(cast("tuple[int, ...]", axes)))


def _array_type(reader: PickleReader, args: tuple[Any, ...]) -> None:
    if not args or not isinstance(args[0], str) or not DTYPE.fullmatch(args[0]):
        raise Refusal(f"an array type {str(args[:1])[:40]}")
    reader.box(ArrayType(np.dtype(args[0])), plain=False)


def _number(reader: PickleReader, args: tuple[Any, ...]) -> None:
    if len(args) != 2 or not isinstance(args[0], ArrayType) or args[0].dtype.hasobject:
        raise Refusal("a number of an unknown type")
    reader.scalar(array_of(reader, (), args[0], "C", args[1])[()])


NUMPY: dict[str, Call | None] = {
    "numpy.core.multiarray._reconstruct": _array_start,
    "numpy.core.multiarray.scalar": _number,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    "numpy.dtype": _array_type,
    "numpy.ndarray": None,
}
