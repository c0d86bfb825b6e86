"""How every command reads its options."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from hallucade.samplers.choice import SamplingChoice

MARKERS = (tyro.conf.AvoidSubcommands, tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff)
LARGEST = 2**42  # of whole numbers: games and rows draw from seeds a million times as large, which have 64 bits
Sampling = Annotated[SamplingChoice, tyro.conf.arg(name="")]  # without a prefix: --temperature 0.5
NUMBERS = ConstructorRegistry()  # while it is entered, every option that is a number is read by the rule below


def parse(command: Callable[..., None], name: str, arguments: Sequence[str]) -> None:
    """Run a command whose options are its function's arguments."""
    tyro.cli(command, args=arguments, prog=f"hallucade {name}", config=(*MARKERS, tyro.conf.DisallowNone))


@NUMBERS.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Read numbers that can be computed with: not-a-number passes every check of a range that is written as < or >."""
    if info.type is float:
        return PrimitiveConstructorSpec(1, "FLOAT", _read_float, _is_float, lambda value: [str(value)])
    if info.type is int:
        return PrimitiveConstructorSpec(
            1, "INT", _read_int, lambda value: type(value) is int, lambda value: [str(value)]
        )
    return None


def _read_float(words: list[str]) -> float:
    value = float(words[0])
    if math.isnan(value):
        raise ValueError(f"{words[0]} is not a number")
    return value


def _read_int(words: list[str]) -> int:
    value = int(words[0])
    if abs(value) > LARGEST:
        raise ValueError(f"{value} is too large; whole numbers go up to {LARGEST:,}")
    return value


def _is_float(value: Any) -> bool | Literal["~"]:
    return type(value) is float or ("~" if type(value) is int else False)
