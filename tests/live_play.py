"""How tests play: short games over real sockets, in the words of the tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from echo_world import DOWN, STAY, UP
from websockets.exceptions import ConnectionClosed

from hallucade.play.client import Player, join
from hallucade.play.envelope import Envelope, Flag
from hallucade.play.protocol import Step

KEYS = {STAY: (), UP: ("ArrowUp",), DOWN: ("KeyS",)}


def play(game: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(game, 60))


@contextlib.asynccontextmanager
async def paused_game(url: str, **wish: Any) -> AsyncIterator[Player]:
    """A game that only moves by `Step`, with its prompt's frame already received."""
    async with join(url) as player:
        await player.open(paused=True, **wish)
        assert Flag.PROMPT in (await player.frame()).flags
        yield player


async def goodbye(talk: Coroutine[Any, Any, Any]) -> int:
    """Return the code with which the server ends a conversation."""
    with pytest.raises(ConnectionClosed) as closed:
        await talk
    assert closed.value.rcvd is not None, "the connection broke without a goodbye"
    return closed.value.rcvd.code


async def step(player: Player, option: int) -> Envelope:
    await player.press(*KEYS[option])
    await player.send(Step())
    return await player.frame()
