"""One player's socket: who is there, what they say, and when they have gone. What it starts ends with it."""

import asyncio
import contextlib
import logging
import secrets
import time

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.play.controller import Controller
from hallucade.play.limits import Limits, RateLimit
from hallucade.play.live_game import steps_of
from hallucade.play.outbox import Outbox
from hallucade.play.protocol import (
    CLOSE_CODES,
    PROTOCOL_VERSION,
    Ack,
    AxisRange,
    ClientMessage,
    Control,
    Error,
    ErrorCode,
    Hello,
    Input,
    Open,
    Option,
    Pause,
    Reset,
    ServerMessage,
    Set,
    Stats,
    Status,
    Step,
    Welcome,
    parse_client,
)
from hallucade.play.running_game import RunningGame
from hallucade.play.session_pool import PoolFull, SessionPool
from hallucade.play.steering import check_axes
from hallucade.rollout import World

logger = logging.getLogger(__name__)
WATCH_PERIOD = 0.5  # seconds between looks at the timeouts, and between stats


class Goodbye(Exception):
    """The server ends the connection with one of ``CLOSE_CODES``."""

    def __init__(self, code: int) -> None:
        super().__init__(CLOSE_CODES[code])
        self.code = code


class Connection:
    """Serves one socket from ``accept`` to its end; errors end this connection and no other."""

    def __init__(self, socket: WebSocket, pool: SessionPool, limits: Limits, token: str) -> None:
        self._socket, self._pool, self._limits, self._token = socket, pool, limits, token
        self._heard = time.monotonic()
        self._rate = RateLimit(limits.messages_per_second, limits.burst, self._heard)
        self._bad_messages = 0
        self._greeted = self._welcomed = False
        self._controller, self._outbox = Controller(), Outbox()
        self._game: RunningGame | None = None

    async def run(self) -> None:
        """Serve until either side ends it."""
        await self._socket.accept()
        with contextlib.ExitStack() as self._place:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._tasks.create_task(self._watch())
                    await self._read()
            except* (WebSocketDisconnect, WebSocketDisconnected):
                pass
            except* Goodbye as group:
                await self._close(_first_code(group))
            except* Exception:
                logger.exception("a game failed; the server goes on")
                await self._close(1011)

    async def _read(self) -> None:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(event["code"])
            self._heard = time.monotonic()
            if not self._rate.allow(self._heard):
                raise Goodbye(1008)
            text = event.get("text")
            if text is None:
                raise Goodbye(1003)
            try:
                message = parse_client(text)
            except ValueError as error:
                await self._complain("bad message", str(error))
            else:
                await self._obey(message)

    async def _obey(self, message: ClientMessage) -> None:
        match message:
            case Hello():
                await self._greet(message)
            case Open():
                await self._open(message)
            case Input():
                await self._hold(message)
            case Ack(frame=frame):
                try:
                    self._outbox.acknowledge(frame)
                except ValueError as error:
                    await self._complain("bad message", str(error))
            case _:
                await self._control(message)

    async def _hold(self, message: Input) -> None:
        if message.values or message.moved:
            if not self._welcomed:
                return await self._complain("wrong order", "axes come after welcome, which names them")
            try:
                check_axes(self._pool.world.actions, message)
            except ValueError as error:
                return await self._complain("refused", str(error))
        self._controller.update(message, self._heard)
        return None

    async def _greet(self, hello: Hello) -> None:
        if self._greeted:
            return await self._complain("wrong order", "hello was said already")
        if hello.protocol != PROTOCOL_VERSION:
            raise Goodbye(4002)
        if not secrets.compare_digest(hello.token.encode(), self._token.encode()):
            raise Goodbye(1008)
        self._greeted = True
        self._tasks.create_task(self._welcome())
        return None

    async def _welcome(self) -> None:
        async for phase in self._pool.phases():
            await self._send(Status(phase=phase))
        self._welcomed = True
        await self._send(_welcome(self._pool.world))

    async def _open(self, wish: Open) -> None:
        if not self._welcomed or self._game is not None:
            return await self._complain("wrong order", "open comes once, after welcome")
        try:
            self._place.enter_context(self._pool.place())
        except PoolFull:
            raise Goodbye(4003) from None
        try:
            self._game = await RunningGame.open(wish, self._pool, self._controller, self._outbox)
        except ValueError as error:
            self._place.close()
            return await self._complain("refused", str(error))
        await self._send(self._game.describe())
        self._tasks.create_task(self._game.run())
        self._tasks.create_task(self._send_frames())
        return None

    async def _control(self, message: Pause | Step | Reset | Set) -> None:
        game = self._game
        if game is None:
            return await self._complain("wrong order", f"{message.type} comes after open")
        try:
            match message:
                case Pause(paused=paused):
                    game.pause(paused)
                case Step(count=count):
                    game.step(count)
                case Reset(prompt=prompt, seed=seed):
                    await game.reset(prompt, seed)
                case Set(steps=steps, fps=fps):
                    await game.set(steps, fps)
        except ValueError as error:
            return await self._complain("refused", str(error))
        await self._send(game.describe())
        return None

    async def _send_frames(self) -> None:
        while True:
            await self._socket.send_bytes(await self._outbox.take())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_PERIOD)
            if time.monotonic() - self._heard > self._limits.idle_timeout:
                raise Goodbye(4000)
            if self._outbox.stalled > self._limits.stall_timeout:
                raise Goodbye(4001)
            if self._game is not None:
                with contextlib.suppress(TimeoutError):  # a full socket must not stop the watch
                    async with asyncio.timeout(WATCH_PERIOD):
                        await self._send(self._stats(self._game))

    def _stats(self, game: RunningGame) -> Stats:
        return Stats(
            dreamed=game.dreamed, dropped=self._outbox.dropped, late=game.pacer.late, sessions=self._pool.taken
        )

    async def _complain(self, code: ErrorCode, detail: str) -> None:
        self._bad_messages += 1
        if self._bad_messages > self._limits.bad_messages:
            raise Goodbye(1008)
        await self._send(Error(code=code, detail=detail))

    async def _send(self, message: ServerMessage) -> None:
        await self._socket.send_text(message.model_dump_json())

    async def _close(self, code: int) -> None:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, WebSocketDisconnected):
            async with asyncio.timeout(self._limits.close_timeout):
                await self._socket.close(code, CLOSE_CODES[code])


def _welcome(world: World) -> Welcome:
    height, width = world.frame_size
    return Welcome(
        game=world.game,
        controls=_controls(world.actions),
        width=width,
        height=height,
        fps=world.fps,
        steps=steps_of(world.sampler),
        prompts=len(world.prompts),
        real=world.game is not None and any(prompt.state is not None for prompt in world.prompts),
    )


def _controls(space: ActionSpace) -> list[Control]:
    """Describe every column of an action row, and the keys that move it."""
    controls: list[Control] = []
    for control in space.controls:
        if isinstance(control, Button):
            kind, options = "button", [(control.name, control.keys)]
        elif isinstance(control, Axis):
            kind, options = "axis", [("-", control.negative_keys), ("+", control.positive_keys)]
        else:
            keys = control.keys or ((),) * len(control.options)
            kind, options = "choice", list(zip(control.options, keys, strict=True))
        described = [Option(name=name, keys=list(keys)) for name, keys in options]
        axis = _range(control) if isinstance(control, Axis) else None
        controls.append(Control(name=control.name, kind=kind, options=described, axis=axis))
    return controls


def _range(axis: Axis) -> AxisRange:
    return AxisRange(kind=axis.kind, low=axis.low, high=axis.high, idle=axis.idle, turns=axis.turns)


def _first_code(group: BaseExceptionGroup[Goodbye]) -> int:
    first = group.exceptions[0]
    return _first_code(first) if isinstance(first, BaseExceptionGroup) else first.code
