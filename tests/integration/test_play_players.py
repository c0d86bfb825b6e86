"""Several players on one server: nobody slow, lost, greedy or failing is felt by another."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from echo_world import UP, EchoSampler, EchoSamplerConfig, echo_world
from live_play import goodbye, paused_game, play, step
from websockets.exceptions import ConnectionClosed

from hallucade.play.client import Player, join
from hallucade.play.envelope import Envelope
from hallucade.play.limits import Limits
from hallucade.play.protocol import (
    CREDIT_WINDOW,
    Ack,
    Error,
    Stats,
    parse_server,
)
from hallucade.play.server import serving


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(echo_world()) as url:
        yield url


def test_a_player_who_does_not_acknowledge_gets_two_frames_and_later_the_newest(server: str) -> None:
    async def game() -> None:
        async with join(server) as slow, join(server) as quick:
            await slow.open(fps=60.0)
            await quick.open(fps=60.0)
            held = [await recv_frame(slow) for _ in range(CREDIT_WINDOW)]
            began, frames = time.monotonic(), 0
            while time.monotonic() - began < 1.0:
                await quick.frame()
                frames += 1
            assert frames >= 20
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(recv_frame(slow), 0.3)
            assert held[-1].index <= 2
            await slow.send(Ack(frame=held[-1].frame))
            newest = await recv_frame(slow)
            assert newest.index > held[-1].index + 15
            assert newest.frame == held[-1].frame + 1
            assert any(isinstance(m, Stats) and m.dropped > 5 for m in slow.heard)

    play(game())


async def recv_frame(player: Player) -> Envelope:
    """Receive a frame without acknowledging it."""
    while True:
        data = await player.socket.recv()
        if isinstance(data, bytes):
            return Envelope.unpack(data)
        player.heard.append(parse_server(data))


def test_the_stalled_and_the_silent_are_sent_away() -> None:
    async def game(url: str) -> None:
        async with join(url) as stalled:
            await stalled.open()

            async def takes_no_frames() -> None:
                while True:
                    await stalled.press()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(recv_frame(stalled), 0.1)

            assert await goodbye(takes_no_frames()) == 4001
        async with join(url) as silent:
            assert await goodbye(silent.frame()) == 4000

    with serving(echo_world(), limits=Limits(stall_timeout=0.5, idle_timeout=1.0)) as url:
        play(game(url))


def test_a_lost_player_stops_his_game_and_nobody_elses() -> None:
    blocks: list[int] = []

    class Counting(EchoSampler):
        def __call__(self, *args: Any) -> torch.Tensor:
            blocks.append(self.config.steps)
            return super().__call__(*args)

    async def game(url: str) -> None:
        async with join(url) as stays:
            await stays.open(fps=20.0)
            async with join(url) as leaves:
                await leaves.open(fps=100.0, steps=None)
                for _ in range(5):
                    await leaves.frame()
                leaves.socket.transport.abort()  # no goodbye
            while (await stays.receive(Stats)).sessions != 1:
                await stays.frame()
            blocks.clear()
            began, index = time.monotonic(), (await stays.frame()).index
            while time.monotonic() - began < 1.0:
                last = (await stays.frame()).index
            assert len(blocks) <= last - index + 3

    with serving(replace(echo_world(), sampler=Counting(EchoSamplerConfig()))) as url:
        play(game(url))


def test_a_fast_game_does_not_starve_a_slow_one() -> None:
    async def game(url: str) -> None:
        async with join(url) as greedy, join(url) as modest:
            await greedy.open(fps=240.0)
            await modest.open(fps=20.0)

            async def count(player: Player) -> int:
                first = (await player.frame()).index
                began = time.monotonic()
                while time.monotonic() - began < 1.5:
                    last = (await player.frame()).index
                return last - first

            fast, slow = await asyncio.gather(count(greedy), count(modest))
            assert slow >= 0.7 * min(30, fast), "alone it would have got 30"

    with serving(echo_world(seconds=0.01)) as url:
        play(game(url))


def test_places_are_limited_and_come_free_again() -> None:
    async def game(url: str) -> None:
        async with join(url) as first:
            await first.open()
            await first.frame()
            async with join(url) as second:
                await second.open()
                assert await goodbye(second.frame()) == 4003
        for _ in range(50):  # the server learns of the goodbye in its own time
            async with join(url) as third:
                await third.open()
                with contextlib.suppress(ConnectionClosed):
                    await third.frame()
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("the place never came free")

    with serving(echo_world(), limits=Limits(sessions=1)) as url:
        play(game(url))


def test_a_failing_model_ends_its_game_and_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(EchoSampler):
        def __call__(self, model: Any, state: torch.Tensor, *args: Any) -> torch.Tensor:
            if self.config.steps == 13 and state.item() >= 2:
                raise RuntimeError("out of memory")
            return EchoSampler.__call__(self, model, state, *args)

    class FailingConfig(EchoSamplerConfig):
        def build(self) -> EchoSampler:
            return Failing(self)

    async def game(url: str) -> None:
        async with paused_game(url) as bystander:
            async with join(url) as victim:
                await victim.open(steps=13)
                assert await goodbye(victim.receive(Error)) == 1011
            assert (await step(bystander, UP)).row == (UP,)

    with serving(replace(echo_world(), sampler=FailingConfig().build())) as url:
        play(game(url))
    assert "out of memory" in caplog.text
