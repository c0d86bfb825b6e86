"""What one server grants to its players."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep a slow, broken or hostile player from harming others.

    Raises:
        ValueError: a bound that is not positive.
    """

    sessions: int = 8  # games at once
    connections: int = 64  # sockets and page requests at once
    idle_timeout: float = 30.0  # seconds without a message from the player
    stall_timeout: float = 10.0  # seconds without an acknowledged frame
    close_timeout: float = 2.0  # seconds that a player has to take a goodbye
    messages_per_second: float = 600.0
    burst: int = 600  # messages at once
    bad_messages: int = 20  # in the life of a socket

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"play limit {name} is {value}; it must be positive")


class RateLimit:
    """A bucket of tokens that fills at a steady rate."""

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._filled = float(burst), now

    def allow(self, now: float) -> bool:
        """Take a token, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
