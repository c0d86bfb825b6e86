"""What a check finds in a store."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """Something found in a store, and what to do about it."""

    severity: Literal["error", "warning"]  # an error makes data wrong, a warning makes it poor
    episode: int | None
    frame: int | None
    what: str
    remedy: str

    def __str__(self) -> str:
        places = (("episode", self.episode), ("frame", self.frame))
        where = " ".join(f"{noun} {number}" for noun, number in places if number is not None)
        return f"{self.severity}: {where + ': ' if where else ''}{self.what}; {self.remedy}"
