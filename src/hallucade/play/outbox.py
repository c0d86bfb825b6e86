"""Frames on their way to one player: at most two unacknowledged, and one waiting that a newer one replaces.

A slow player so sees fewer frames, but none that is old, and costs three frames of memory.
"""

import asyncio
import time
from collections.abc import Callable

from hallucade.play.envelope import Envelope
from hallucade.play.protocol import CREDIT_WINDOW


class Outbox:
    """Where the game leaves its newest frame and the socket takes it when the player is ready for one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._clock = clock
        self._waiting: Envelope | None = None
        self._sent = self._acknowledged = 0
        self._progress = clock()  # when the player last had credit, seconds
        self._ready = asyncio.Event()

    def offer(self, frame: Envelope) -> None:
        """Leave the newest frame; one that still waits is dropped."""
        self.dropped += self._waiting is not None
        self._waiting = frame
        self._update()

    async def take(self) -> bytes:
        """Wait for a frame and for credit, and return the message to send."""
        await self._ready.wait()
        assert self._waiting is not None, "ready without a frame"
        self._sent += 1
        message = self._waiting.pack(self._sent)
        self._waiting = None
        self._update()
        return message

    def acknowledge(self, frame: int) -> None:
        """Note that all frames up to number `frame` arrived.

        Raises:
            ValueError: a frame that was never sent.
        """
        if frame > self._sent:
            raise ValueError(f"frame {frame} was never sent; the last one was {self._sent}")
        self._acknowledged = max(self._acknowledged, frame)
        self._update()

    @property
    def stalled(self) -> float:
        """Seconds since a player without credit last acknowledged anything, 0 with credit."""
        return 0.0 if self._has_credit else self._clock() - self._progress

    @property
    def _has_credit(self) -> bool:
        return self._sent - self._acknowledged < CREDIT_WINDOW

    def _update(self) -> None:
        if self._has_credit:
            self._progress = self._clock()
        if self._waiting is not None and self._has_credit:
            self._ready.set()
        else:
            self._ready.clear()
