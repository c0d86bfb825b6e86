"""Mixtures: several stores that are trained on as one.

As text, ``stores/a:2,stores/b`` sees every window of a twice and of b once an epoch; ``stores/a:70%,stores/b:30%``
takes that share of each batch from each, however large they are. A repeat or share of 0 leaves a store out.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.lanes import fraction
from hallucade.data.manifest import StoreError
from hallucade.data.store import EpisodeStore


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(Config):
    """Which stores to mix, and how much of each.

    Raises:
        ValueError: no store is left, a number is negative, or a repeat is not whole.
    """

    stores: dict[str, float]  # folder of a store: how often its windows come an epoch, or their share of each batch
    by: Literal["repeats", "shares"] = "repeats"

    def __post_init__(self) -> None:
        for folder, number in self.stores.items():
            if not (math.isfinite(number) and number >= 0):
                raise ValueError(f"store {folder} has {self.by} {number}; use 0 to leave it out, or more")
            if self.by == "repeats" and number != int(number):
                raise ValueError(f"store {folder} is repeated {number} times; use a whole number, or shares: 70%")
        if not any(self.stores.values()):
            raise ValueError("the mixture leaves out every store; give one a number above 0")

    @classmethod
    def parse(cls, text: str) -> "MixtureConfig":
        """Read the text form.

        Raises:
            ValueError: repeats and shares are mixed, or a store is named twice.
        """
        parts = [_parse_part(part) for part in text.split(",")]
        kind = parts[0][2]
        if any(other != kind for _, _, other in parts):
            raise ValueError(f"{text!r} mixes repeats and shares; give every store a share in %, or none")
        stores = {folder: number for folder, number, _ in parts}
        if len(stores) < len(parts):
            raise ValueError(f"{text!r} names a store twice; give it one number")
        return cls(stores=stores, by=kind)

    def build(self) -> "Mixture":
        """Open the stores.

        Raises:
            StoreError: a store cannot be read, or does not agree with the others.
        """
        kept = {folder: number for folder, number in self.stores.items() if number > 0}
        return Mixture([EpisodeStore(folder) for folder in kept], list(kept.values()), self.by)


@dataclass(frozen=True)
class Blend:
    """A share of each batch, and the stores that it comes from, as (number of the store, its repeat)."""

    share: Fraction
    sources: tuple[tuple[int, int], ...]


class Mixture:
    """Stores that agree in actions, frame size and frame rate, opened to be trained on as one.

    Args:
        stores: at least one.
        numbers: one a store, all positive.
        by: whether they are repeats or shares.

    Raises:
        StoreError: a store differs from the first; names what differs.
    """

    def __init__(
        self, stores: Sequence[EpisodeStore], numbers: Sequence[float], by: Literal["repeats", "shares"] = "repeats"
    ) -> None:
        self.stores, self.numbers, self.by = tuple(stores), tuple(numbers), by
        for store in self.stores[1:]:
            _check_agreement(self.stores[0], store)

    @property
    def actions(self) -> ActionSpace:
        """What the players could do; keys are those of the first store."""
        return self.stores[0].actions

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height, width in pixels."""
        return self.stores[0].frame_size

    @property
    def fps(self) -> float:
        """Frames per second of play."""
        return self.stores[0].fps

    @property
    def game(self) -> str | None:
        """Name of the simulator of the same game, if all stores name the same one."""
        games = {store.game for store in self.stores}
        return games.pop() if len(games) == 1 else None

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any recorded byte, and with the proportions; not with the folders."""
        content = [self.by, [(s.fingerprint, float(n)) for s, n in zip(self.stores, self.numbers, strict=True)]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def blends(self) -> tuple[Blend, ...]:
        """How a batch is shared out: by repeats all stores make one epoch, by shares each has epochs of its own."""
        if self.by == "repeats":
            return (Blend(Fraction(1), tuple((i, int(number)) for i, number in enumerate(self.numbers))),)
        shares = [fraction(number) for number in self.numbers]
        return tuple(Blend(share / sum(shares), ((i, 1),)) for i, share in enumerate(shares))


def open_stores(text: str | Path) -> EpisodeStore | Mixture:
    """Open a store, or several as in ``a:2,b`` and ``a:70%,b:30%``.

    Raises:
        ValueError: the text cannot be read.
        StoreError: a store cannot be read, or does not agree with the others.
    """
    if Path(text).is_dir():  # whatever its name
        return EpisodeStore(text)
    mixture = MixtureConfig.parse(str(text)).build()
    first, *others = mixture.stores
    return mixture if others else first


def _parse_part(text: str) -> tuple[str, float, Literal["repeats", "shares"]]:
    found = re.fullmatch(r"(.+?)(?::(\d+(?:\.\d+)?)(%?))?", text.strip())
    if found is None:
        raise ValueError("a store in the mixture has no name; write it as in stores/a:2,stores/b")
    folder, number, percent = found.groups()
    return folder, float(number or 1), "shares" if percent else "repeats"


def _check_agreement(first: EpisodeStore, other: EpisodeStore) -> None:
    differences = first.actions.difference(other.actions)
    remedy = f"import or record it again like {first.path}"
    if differences is not None:
        raise StoreError(other.path, f"it cannot be mixed with {first.path}: {differences}", remedy)
    for name, unit in (("frame_size", "pixels (height, width)"), ("fps", "frames per second")):
        here, there = getattr(other, name), getattr(first, name)
        if here != there:
            what = f"it cannot be mixed with {first.path}: its {name} is {here}, not {there} {unit}"
            raise StoreError(other.path, what, remedy)
