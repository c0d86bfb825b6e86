"""What the ranks of one evaluation found, brought together: each measures games of its own, and all know everything."""

from typing import TypeVar, cast

from torch import distributed

T = TypeVar("T")


def from_every_rank(mine: T) -> list[T]:
    """Return what every rank passes, in the order of ranks and on every rank; mine alone where nothing is distributed.

    Objects travel pickled between the processes of one run, which trust each other.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [mine]
    found: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, mine)
    return cast("list[T]", found)
