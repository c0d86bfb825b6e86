"""A player without a page, for benchmarks, tests and agents."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from hallucade.play.envelope import Envelope
from hallucade.play.protocol import Ack, ClientMessage, Hello, Input, Open, ServerMessage, Welcome, parse_server

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

    async def send(self, message: ClientMessage) -> None:
        """Send any message."""
        await self.socket.send(message.model_dump_json())

    async def open(self, **wish: int | float | bool) -> None:
        """Start the game; arguments are the fields of `Open`."""
        await self.send(Open.model_validate(wish))

    async def press(self, *keys: str) -> int:
        """Hold exactly these keys from now on; return the `seq` that frames will carry."""
        self._seq += 1
        await self.send(Input(seq=self._seq, time=time.monotonic() * 1e3, keys=list(keys)))
        return self._seq

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
