"""When the next frame starts."""

import asyncio
import time
from collections.abc import Callable


class Pacer:
    """Deadlines a frame time apart on a monotonic clock: sleeping a little too long never adds up to drift."""

    def __init__(self, fps: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.fps = fps
        self.late = 0  # frames that started more than a frame time after they were due
        self._clock = clock
        self._due: float | None = None

    def restart(self) -> None:
        """Start the clock again after a pause."""
        self._due = None

    async def wait(self) -> bool:
        """Sleep until the next frame is due; return whether it is late already, and then give up the lost time."""
        now, period = self._clock(), 1 / self.fps
        due = now if self._due is None else self._due + period
        late = now > due + period
        self.late += late
        self._due = now if late else due
        await asyncio.sleep(max(0.0, self._due - now))
        return late
