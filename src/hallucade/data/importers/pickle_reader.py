"""Reads pickles of plain data without running them.

A pickle is a program. `PickleReader` follows the few instructions that build data (numbers, text, bytes, containers)
with code of its own, and arrays of numpy through `pickle_arrays`: no name in a file is ever imported, so there is
nothing that a file could call. Memory is counted before it is taken, and nothing nests deeper than `DEPTH`.
"""

import pickletools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

DEPTH = 32  # containers inside each other
BOX, SCALAR = 256, 40  # bytes of memory that a container and a number take, roughly
INTEGER, KEY = 4096, 60  # bits of the largest integer, and of one that is a key


class Refusal(Exception):
    """Something in a pickle that is not read."""


@dataclass(slots=True)
class Box:
    """What is being built: a container, an array, or a name; memo and stack of the reader hold the same box."""

    value: Any
    depth: int = 1
    plain: bool = True  # data through and through
    ready: bool = True  # an array is ready when its content has come
    sealed: bool = False  # inside of another one: it must not change any more


@dataclass(frozen=True, slots=True)
class Name:
    """A name that a pickle mentions; it is looked up in the reader's own table and never imported."""

    text: str


class Unfinished(ABC):
    """A value whose content comes with a later instruction."""

    @abstractmethod
    def take(self, reader: "PickleReader", box: Box, state: Box) -> None:
        """Put what the content makes of it in the box.

        Raises:
            Refusal: the content, a tuple, does not fit.
        """


Call = Callable[["PickleReader", tuple[Any, ...]], None]  # leaves what it made on the reader's stack
MARK = object()


class PickleReader:
    """Follows the instructions of one pickle.

    Args:
        limit: bytes of memory that its content may take.
        names: what it may mention; None is a name that is an argument and not called.
        persistent: makes what the file says is stored elsewhere.
    """

    def __init__(self, limit: int, names: Mapping[str, Call | None], persistent: Call | None = None) -> None:
        self._limit, self._left = limit, limit
        self.names, self.persistent = {**CALLS, **names}, persistent
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, stream: Any) -> Any:
        """Return the object in a pickle.

        Args:
            stream: has ``read`` and ``readline`` and never returns more than there is, as a mapped file.

        Raises:
            Refusal: it holds more than data.
        """
        for opcode, arg, _ in pickletools.genops(stream):
            instruction = INSTRUCTIONS.get(opcode.name)
            if instruction is None:
                raise Refusal(f"a pickle with the instruction {opcode.name}, which plain data does not need")
            instruction(self, arg)
        result = self.pop()
        if self.stack:
            raise Refusal("a pickle that ends with more than one object")
        return self.value(result)[0]

    def charge(self, size: int) -> None:
        """Count memory before it is taken."""
        self._left -= size
        if self._left < 0:
            raise Refusal(f"a pickle that unfolds into more than {self._limit} bytes")

    def scalar(self, value: Any) -> None:
        """Put a number, text or bytes on the stack."""
        if isinstance(value, int) and value.bit_length() > INTEGER:
            raise Refusal(f"an integer of {value.bit_length()} bits")
        size = 4 * len(value) if isinstance(value, str) else len(value) if isinstance(value, bytes | bytearray) else 0
        self.charge(SCALAR + size)
        self.stack.append(value)

    def box(self, value: Any, depth: int = 1, plain: bool = True, ready: bool = True) -> None:
        """Put a container, array or name on the stack."""
        self.charge(BOX)
        self.stack.append(Box(value, depth, plain, ready))

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack or self.stack[-1] is MARK:
            raise Refusal("a pickle that takes more than it put")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise Refusal("a pickle without the mark that it needs")

    def open_box(self, kind: type | None = None) -> Box:
        """Return the box on top of the stack, which must be one that may still change."""
        box = self.stack[-1] if self.stack else None
        if not isinstance(box, Box) or box.sealed or (kind is not None and type(box.value) is not kind):
            raise Refusal("a pickle that changes what is no container of its own")
        return box

    def value(self, item: Any, plain: bool = True) -> tuple[Any, int]:
        """Return what an item stands for, and the depth of what will hold it; it must not change from now on."""
        if not isinstance(item, Box):
            return item, 1
        if not item.ready or (plain and not item.plain):
            raise Refusal(f"{item.value.text!r} as data" if isinstance(item.value, Name) else "something unfinished")
        if item.depth >= DEPTH:
            raise Refusal(f"containers that nest more than {DEPTH} deep")
        item.sealed = True
        return item.value, item.depth + 1

    def put(self, slot: int, item: Any) -> None:
        """Remember an item; slots are a dictionary, so a huge number costs nothing."""
        if item is MARK:
            raise Refusal("a pickle that keeps a mark")
        self.charge(SCALAR)
        self._memo[slot] = item

    def memoize(self) -> None:
        """Remember the top of the stack in the next slot."""
        self.put(len(self._memo), self.stack[-1])

    def get(self, slot: int) -> None:
        """Put a remembered item on the stack."""
        if slot not in self._memo:
            raise Refusal(f"a pickle that asks for item {slot}, which it never kept")
        self.charge(SCALAR)
        self.stack.append(self._memo[slot])


def key_of(value: object) -> object:
    """Return a key of a dictionary or set.

    Hashing tuples of tuples would recurse without a bound, and integers of 61 bits and more can all be given one hash.

    Raises:
        Refusal: it is no number, text, or tuple of those.
    """
    flat = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, str | bytes | int | float | complex | np.generic | None) for part in flat):
        raise Refusal("a key that is no number and no text")
    if any(isinstance(part, int) and part.bit_length() > KEY for part in flat):
        raise Refusal(f"a key of more than {KEY} bits")
    return cast("object", value)


def _tuple(reader: PickleReader, items: list[Any]) -> None:
    plain = not any(isinstance(item, Box) and not item.plain for item in items)
    values = [reader.value(item, plain=False) for item in items]
    reader.charge(8 * len(values))
    reader.box(tuple(value for value, _ in values), max((depth for _, depth in values), default=1), plain)


def _tuple_of(count: int) -> Callable[[PickleReader, Any], None]:
    return lambda reader, _: _tuple(reader, [reader.pop() for _ in range(count)][::-1])


def _fill_list(reader: PickleReader, items: list[Any]) -> None:
    values = [reader.value(item) for item in items]
    box = reader.open_box(list)  # after the values, so that it is none of them
    box.value.extend(value for value, _ in values)
    box.depth = max(box.depth, *(depth for _, depth in values), 1)


def _fill_dict(reader: PickleReader, items: list[Any]) -> None:
    if len(items) % 2:
        raise Refusal("a dictionary with a key that has no value")
    keys, values = [key_of(reader.value(key)[0]) for key in items[::2]], [reader.value(item) for item in items[1::2]]
    box = reader.open_box(dict)
    box.value.update(zip(keys, (value for value, _ in values), strict=True))
    box.depth = max(box.depth, *(depth for _, depth in values), 1)


def _fill_set(reader: PickleReader, items: list[Any]) -> None:
    reader.charge(SCALAR * len(items))
    reader.open_box(set).value.update(key_of(reader.value(item)[0]) for item in items)


def _frozenset(reader: PickleReader, items: list[Any]) -> None:
    reader.charge(SCALAR * len(items))
    reader.box(frozenset(key_of(reader.value(item)[0]) for item in items))


Fill = Callable[[PickleReader, list[Any]], None]
Instruction = Callable[[PickleReader, Any], None]


def _marked(fill: Fill, empty: type | None = None) -> Instruction:
    """Return the instruction that fills a container with what is above the mark, a new one of type `empty`."""

    def instruction(reader: PickleReader, _: Any) -> None:
        items = reader.pop_mark()
        if empty is not None:
            reader.box(empty())
        fill(reader, items)

    return instruction


def _single(fill: Fill, count: int) -> Instruction:
    """Return the instruction that puts the `count` items on top of the stack into the container below."""
    return lambda reader, _: fill(reader, [reader.pop() for _ in range(count)][::-1])


def _global(reader: PickleReader, arg: str) -> None:
    text = ".".join(arg.split(" ", 1)).replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
    if text not in reader.names:
        raise Refusal(f"it wants to call {text[:80]!r}")
    reader.box(Name(text), plain=False)


def _stack_global(reader: PickleReader, _: Any) -> None:
    name, module = reader.pop(), reader.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Refusal("a name that is no text")
    _global(reader, f"{module} {name}")


def _reduce(reader: PickleReader, _: Any) -> None:
    args, name = reader.pop(), reader.pop()
    if not isinstance(name, Box) or not isinstance(name.value, Name):
        raise Refusal("a call of something that is no name")
    call = reader.names[name.value.text]
    if call is None or not isinstance(args, Box) or type(args.value) is not tuple:
        raise Refusal(f"a call of {name.value.text!r}")
    call(reader, cast("tuple[Any, ...]", args.value))


def _build(reader: PickleReader, _: Any) -> None:
    state = reader.pop()
    if not isinstance(state, Box) or type(state.value) is not tuple:
        raise Refusal("content that is no tuple")
    box = reader.open_box()
    if not isinstance(box.value, Unfinished):
        raise Refusal("content for something that is complete")
    box.value.take(reader, box, state)


def _persistent(reader: PickleReader, _: Any) -> None:
    key = reader.pop()
    if reader.persistent is None or not isinstance(key, Box) or type(key.value) is not tuple:
        raise Refusal("content that is stored elsewhere")
    reader.persistent(reader, cast("tuple[Any, ...]", key.value))


def _of_sequence(fill: Fill, empty: type) -> Call:
    """Return how a container is made from at most one list or tuple."""

    def call(reader: PickleReader, args: tuple[Any, ...]) -> None:
        if len(args) > 1 or not all(type(arg) in (list, tuple) for arg in args):
            raise Refusal(f"a {empty.__name__} of something else than a list")
        items = [*args[0]] if args else []
        if empty is not frozenset:
            reader.box(empty())
        fill(reader, items)

    return call


def _complex(reader: PickleReader, args: tuple[Any, ...]) -> None:
    if len(args) != 2 or not all(type(arg) is float for arg in args):
        raise Refusal("a complex number of something else than two numbers")
    reader.scalar(complex(*args))


def _encoded(reader: PickleReader, args: tuple[Any, ...]) -> None:
    """Bytes, as protocols before 3 write them."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        raise Refusal("text in another encoding than latin1")
    reader.scalar(args[0].encode("latin1"))


def _no_bytes(reader: PickleReader, args: tuple[Any, ...]) -> None:
    """Bytes, as protocols before 3 write none."""
    if args:
        raise Refusal("bytes of a number")
    reader.scalar(b"")


def _ordered_dict(reader: PickleReader, args: tuple[Any, ...]) -> None:
    if args:
        raise Refusal("a dictionary of something")
    reader.box(dict[Any, Any]())


CALLS: dict[str, Call | None] = {
    "_codecs.encode": _encoded,
    "builtins.bytes": _no_bytes,
    "builtins.complex": _complex,
    "builtins.frozenset": _of_sequence(_frozenset, frozenset),
    "builtins.set": _of_sequence(_fill_set, set),
    "collections.OrderedDict": _ordered_dict,
}

_SCALARS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
INSTRUCTIONS: dict[str, Instruction] = {
    **dict.fromkeys(_SCALARS.split(), PickleReader.scalar),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda reader, arg: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda reader, arg: reader.put(arg, reader.stack[-1])),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleReader.get),
    "MEMOIZE": lambda reader, _: reader.memoize(),
    "NONE": lambda reader, _: reader.scalar(None),
    "NEWTRUE": lambda reader, _: reader.scalar(True),
    "NEWFALSE": lambda reader, _: reader.scalar(False),
    "MARK": lambda reader, _: reader.stack.append(MARK),
    "EMPTY_TUPLE": _tuple_of(0),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _marked(_tuple),
    "EMPTY_LIST": lambda reader, _: reader.box(list[Any]()),
    "LIST": _marked(_fill_list, list),
    "APPEND": _single(_fill_list, 1),
    "APPENDS": _marked(_fill_list),
    "EMPTY_DICT": lambda reader, _: reader.box(dict[Any, Any]()),
    "DICT": _marked(_fill_dict, dict),
    "SETITEM": _single(_fill_dict, 2),
    "SETITEMS": _marked(_fill_dict),
    "EMPTY_SET": lambda reader, _: reader.box(set[Any]()),
    "ADDITEMS": _marked(_fill_set),
    "FROZENSET": _marked(_frozenset),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
