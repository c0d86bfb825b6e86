"""A player without a page, for benchmarks, tests and agents."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from hallucade.play.envelope import Envelope
from hallucade.play.protocol import (
    Ack,
    ClientMessage,
    Control,
    Hello,
    Input,
    Open,
    ServerMessage,
    Welcome,
    parse_server,
)

Wanted = TypeVar("Wanted", bound=ServerMessage)


@contextlib.asynccontextmanager
async def join(url: str) -> AsyncGenerator["Player"]:
    """Connect to a server at its page's address, wait until it is warm, and yield a player.

    Raises:
        websockets.ConnectionClosed: the server said goodbye; `code` is one of ``CLOSE_CODES``.
    """
    parts = urlsplit(url)
    address, token = parts.netloc, parts.fragment.removeprefix("token=")
    async with connect(f"ws://{address}/play", origin=Origin(f"http://{address}"), compression=None) as socket:
        player = Player(socket)
        await player.send(Hello(token=token))
        player.welcome = await player.receive(Welcome)
        yield player


class Player:
    """One game over a socket. Frames are acknowledged as they are received, so who does not receive falls behind."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[ServerMessage] = []  # every text message, oldest first
        self.welcome: Welcome | None = None
        self._seq = 0
        self._keys: tuple[str, ...] = ()
        self._values: dict[str, float] = {}
        self._moved: dict[str, float] = {}  # since the socket opened

    async def send(self, message: ClientMessage) -> None:
        """Send any message."""
        await self.socket.send(message.model_dump_json())

    async def open(self, **wish: int | float | bool) -> None:
        """Start the game; arguments are the fields of `Open`."""
        await self.send(Open.model_validate(wish))

    async def press(self, *keys: str) -> int:
        """Hold exactly these keys from now on; return the `seq` that frames will carry."""
        self._keys = keys
        return await self._input()

    async def hold(self, **values: float) -> int:
        """Hold exactly these axes from now on, each at a value in its own units; keys move the others.

        Raises:
            ValueError: the game has no such axis.
        """
        self._check_axes(values, lambda control: control.axis is not None)
        self._values = values
        return await self._input()

    async def look(self, **movements: float) -> int:
        """Move delta axes once, as a mouse does: `look(yaw=12, pitch=-3)` in degrees.

        What one frame cannot turn is left to the next one, and what that cannot turn is lost.

        Raises:
            ValueError: the game has no such delta axis.
        """
        self._check_axes(movements, lambda control: control.axis is not None and control.axis.kind == "delta")
        for name, movement in movements.items():
            self._moved[name] = self._moved.get(name, 0.0) + movement
        return await self._input()

    async def _input(self) -> int:
        self._seq += 1
        now = time.monotonic() * 1e3
        await self.send(
            Input(seq=self._seq, time=now, keys=list(self._keys), values=dict(self._values), moved=dict(self._moved))
        )
        return self._seq

    def _check_axes(self, named: Mapping[str, float], takes: Callable[[Control], bool]) -> None:
        known = [control.name for control in self.welcome.controls if takes(control)] if self.welcome else []
        for name in named:
            if name not in known:
                raise ValueError(
                    f"the game has no axis {name!r} to move so; choose among: {', '.join(known) or 'none'}"
                )

    async def frame(self, timeout: float = 10.0) -> Envelope:
        """Receive and acknowledge the next frame; text messages on the way land in `heard`.

        Raises:
            TimeoutError: none came for `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while True:
                message = await self._next()
                if isinstance(message, Envelope):
                    return message

    async def receive(self, kind: type[Wanted], timeout: float = 10.0) -> Wanted:
        """Receive messages up to the next text of one kind; frames on the way are acknowledged and lost.

        Raises:
            TimeoutError: none came for `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while True:
                message = await self._next()
                if isinstance(message, kind):
                    return message

    async def _next(self) -> Envelope | ServerMessage:
        data = await self.socket.recv()
        if isinstance(data, bytes):
            frame = Envelope.unpack(data)
            await self.send(Ack(frame=frame.frame))
            return frame
        message = parse_server(data)
        self.heard.append(message)
        return message
