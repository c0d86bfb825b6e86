"""The keys that a player holds, written by the socket and read by the worker right before it computes a frame."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """What a frame obeys."""

    keys: frozenset[str] = frozenset()  # KeyboardEvent.code values
    seq: int = 0  # of the input message
    time: float = 0.0  # the player's clock, milliseconds
    received: float | None = None  # server clock, seconds; None before the first input


class Keyboard:
    """Newest input wins, except that a key pressed and released between two frames still counts for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = Held()
        self._tapped: frozenset[str] = frozenset()

    def update(self, held: Held) -> None:
        """Take a snapshot of the pressed keys; one that is not newer than the last is ignored."""
        with self._lock:
            if held.seq > self._held.seq:
                self._tapped |= held.keys - self._held.keys
                self._held = held

    def read(self) -> Held:
        """Return the keys for one frame, and forget taps."""
        with self._lock:
            held, tapped = self._held, self._tapped
            self._tapped = frozenset()
        return Held(held.keys | tapped, held.seq, held.time, held.received)
