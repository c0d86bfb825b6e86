"""How fast a dream is played: as fast as what it learned from, unless a player asks otherwise."""

import asyncio
from dataclasses import replace

import pytest
from echo_world import echo_world

from hallucade.play.controller import Controller
from hallucade.play.outbox import Outbox
from hallucade.play.protocol import Open
from hallucade.play.running_game import RunningGame
from hallucade.play.session_pool import SessionPool


@pytest.mark.parametrize(("asked", "played"), [(None, 17.5), (12.0, 12.0)])
def test_r25_a_dream_plays_at_the_rate_that_it_was_trained_at(asked: float | None, played: float) -> None:
    async def game() -> float:
        pool = SessionPool(lambda: replace(echo_world(), fps=17.5), 1)
        await pool.prepare()
        opened = await RunningGame.open(Open(fps=asked), pool, Controller(), Outbox())
        return opened.pacer.fps

    assert asyncio.run(game()) == played
