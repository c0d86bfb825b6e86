"""What a player holds and moves, written by the socket and read by the worker right before it computes a frame."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hallucade.play.protocol import Input


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a frame obeys."""

    keys: frozenset[str] = frozenset()  # KeyboardEvent.code values
    values: Mapping[str, float] = field(default_factory=dict[str, float])  # of axes that are held, in their own units
    moved: Mapping[str, float] = field(default_factory=dict[str, float])  # of delta axes, since the frame before
    seq: int = 0  # of the newest input message
    time: float = 0.0  # the player's clock, milliseconds
    received: float | None = None  # server clock, seconds; None before the first input


class Controller:
    """Newest input wins, except that what happened between two frames still counts for the next.

    That is a key pressed and released, and every movement of a mouse: players send how far they moved in all, so that
    the difference to what frames have obeyed is right however many messages came, came twice or never came.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = Held()
        self._tapped: frozenset[str] = frozenset()
        self._totals: dict[str, float] = {}  # moved since the socket opened
        self._obeyed: dict[str, float] = {}  # the part of it that frames have seen

    def update(self, message: Input, received: float) -> None:
        """Take a snapshot that arrived at server time `received`; one that is not newer than the last is ignored."""
        with self._lock:
            if message.seq > self._held.seq:
                keys = frozenset(message.keys)
                self._tapped |= keys - self._held.keys
                self._totals |= message.moved
                self._held = Held(
                    keys=keys, values=message.values, seq=message.seq, time=message.time, received=received
                )

    def read(self) -> Held:
        """Return what one frame obeys, and forget taps and movements."""
        with self._lock:
            held, tapped, obeyed = self._held, self._tapped, self._obeyed
            self._tapped, self._obeyed = frozenset(), dict(self._totals)
            moved = {name: total - obeyed.get(name, 0.0) for name, total in self._totals.items()}
        return replace(held, keys=held.keys | tapped, moved=moved)
