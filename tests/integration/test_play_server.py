"""Whole games over real sockets against a real server: what a player sees, does and changes."""

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from echo_world import DOWN, STAY, UP, EchoSampler, EchoSamplerConfig, echo_world
from live_play import KEYS, paused_game, play, step
from websockets.asyncio.client import connect

from hallucade.games.maze import MAZE_ACTIONS
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.registry import make_game
from hallucade.models.unet import UNetConfig
from hallucade.play.client import join
from hallucade.play.envelope import Envelope, Flag
from hallucade.play.protocol import (
    Error,
    Pause,
    Playing,
    Reset,
    Set,
    Status,
    Step,
    parse_server,
)
from hallucade.play.server import PlayServer, PortInUse, serve, serving
from hallucade.play.session_pool import WARM_UP_FRAMES
from hallucade.rollout import World, dream
from hallucade.samplers.flow import FlowSamplerConfig


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(echo_world()) as url:
        yield url


def small_unet() -> World:
    echo = echo_world()
    torch.manual_seed(3)
    model = UNetConfig(context=3, widths=(8, 16), blocks=(1, 1), condition_width=16).build(PONG_ACTIONS, (3, 24, 24))
    for parameter in model.parameters():  # fresh weights start with zeros, which would hide the actions
        torch.nn.init.normal_(parameter, std=0.2)
    return replace(echo, model=model.eval(), sampler=FlowSamplerConfig(steps=2).build())


# --- the dream and the real game --------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [echo_world(), echo_world(block=2), small_unet()], ids=["echo", "blocks", "unet"])
def test_live_frames_are_the_offline_dream_bit_by_bit(world: World) -> None:
    """Two players at once, with other seeds and keys: neither sees anything of the other."""
    rows = {1: [UP, UP, DOWN, DOWN, STAY, STAY, UP, UP], 2: [DOWN, DOWN, UP, UP, DOWN, DOWN, STAY, STAY]}
    seen: dict[int, list[Envelope]] = {}

    async def one(url: str, prompt: int) -> None:
        async with paused_game(url, prompt=prompt, seed=10 + prompt) as player:
            seen[prompt] = [await step(player, option) for option in rows[prompt]]

    async def both(url: str) -> None:
        await asyncio.gather(one(url, 1), one(url, 2))

    with serving(world) as url:
        play(both(url))
    for prompt, options in rows.items():
        start, actions = world.prompts[prompt], np.array(options, np.float32)[None, :, None]
        offline = torch.cat(list(dream(world, [start], actions, seed=10 + prompt)), 1)[0].numpy()
        simulator = make_game("pong", 24)
        simulator.set_state(start.state)
        assert [frame.index for frame in seen[prompt]] == list(range(1, 9))
        for frame, dreamed, option in zip(seen[prompt], offline, options, strict=True):
            live, real = frame.images()
            np.testing.assert_array_equal(live, dreamed)
            np.testing.assert_array_equal(real, simulator.act(np.array([option], np.float32))[0])
            assert frame.row == (option,)


def test_a_game_starts_with_the_prompts_last_frame(server: str) -> None:
    world = echo_world()

    async def game() -> None:
        async with join(server) as player:
            await player.open(prompt=2, paused=True)
            start = await player.frame()
            for image in start.images():  # the real game stands where the recording ended
                np.testing.assert_array_equal(image, world.prompts[2].frames[-1])
            assert (start.index, start.flags) == (0, Flag.PROMPT | Flag.REAL)

    play(game())


def test_without_a_simulator_there_is_one_picture() -> None:
    async def game(url: str) -> None:
        async with paused_game(url) as player:
            assert player.welcome is not None
            assert not player.welcome.real
            assert len((await step(player, UP)).images()) == 1

    with serving(echo_world(6, 10, game=None)) as url:
        play(game(url))


# --- input ------------------------------------------------------------------------------------------------------------


def test_newest_input_wins(server: str) -> None:
    async def game() -> None:
        async with paused_game(server) as player:
            for option in (UP, STAY, DOWN, STAY):
                await player.press(*KEYS[option])
            await player.send(Step())
            await player.frame()  # obeys the taps
            await player.press(*KEYS[UP])
            newest = await player.press(*KEYS[UP], *KEYS[DOWN])
            await player.press()
            newest = await player.press(*KEYS[DOWN])
            await player.send(Step(count=2))
            await player.frame()
            frame = await player.frame()
            assert (frame.row, frame.input_seq) == ((DOWN,), newest)
            assert frame.images()[0][5, 5].tolist() == [0, 0, 255]
            assert 0 < frame.wait_us < 10e6

    play(game())


def test_a_tap_shorter_than_a_frame_reaches_exactly_one_frame(server: str) -> None:
    async def game() -> None:
        async with paused_game(server) as player:
            await player.press("ArrowUp")
            released = await player.press()
            await player.send(Step(count=2))
            frames = [await player.frame(), await player.frame()]
            assert [frame.row for frame in frames] == [(UP,), (STAY,)]
            assert [frame.input_seq for frame in frames] == [released, released]

    play(game())


def test_the_true_game_looks_where_the_mouse_and_the_stick_say() -> None:
    world = echo_world(24, 36, game="maze", actions=MAZE_ACTIONS, block=2)
    simulator = make_game("maze", (24, 36))
    start = world.prompts[1].state.copy()

    async def game(url: str) -> None:
        async with paused_game(url, prompt=1) as player:
            for _ in range(4):
                await player.look(yaw=3.0, pitch=-1.5)
            await player.send(Step(count=2))
            frames = [await player.frame() for _ in range(2)]
            assert [frame.row[-2:] for frame in frames] == [(6, -3)] * 2, "a block's frames share the movement"
            await player.hold(yaw=-4.5)
            newest = await player.press("KeyW", "ArrowRight", "ArrowUp")
            await player.send(Step(count=2))
            frames = [await player.frame() for _ in range(2)]
            assert [frame.row for frame in frames] == [(1, 0, 0, 0, -4.5, 3)] * 2
            assert frames[-1].input_seq == newest
            await player.hold()
            await player.press()
            await player.send(Step(count=2))
            still = [await player.frame() for _ in range(2)][-1]
            for yaw, pitch, forward in [(6, -3, 0)] * 2 + [(-4.5, 3, 1)] * 2 + [(0, 0, 0)] * 2:
                simulator.act(np.array([forward, 0, 0, 0, yaw, pitch], np.float32))
            np.testing.assert_array_equal(still.images()[1], simulator.frame())

    simulator.set_state(start)
    with serving(world) as url:
        play(game(url))


def test_a_new_start_forgets_what_was_left_of_a_flick() -> None:
    async def game(url: str) -> None:
        async with paused_game(url) as player:
            await player.look(yaw=25.0)
            await player.send(Step())
            assert (await player.frame()).row[-2] == 15
            await player.send(Reset())
            await player.frame()
            await player.send(Step())
            assert (await player.frame()).row[-2] == 0

    with serving(echo_world(24, 36, game="maze", actions=MAZE_ACTIONS)) as url:
        play(game(url))


# --- controls ---------------------------------------------------------------------------------------------------------


def test_frames_come_at_the_rate_that_was_asked_for(server: str) -> None:
    async def game() -> None:
        async with join(server) as player:
            await player.open(fps=50.0)
            await player.frame()
            began, frames = time.monotonic(), 0
            while time.monotonic() - began < 1.0:
                index = (await player.frame()).index
                frames += 1
            assert 20 <= frames <= 60  # a busy machine may be slower; frames that waited on their way come at once
            await player.send(Set(fps=5.0))
            began, before = time.monotonic(), index
            while time.monotonic() - began < 1.0:
                index = (await player.frame()).index
            assert 3 <= index - before <= 8

    play(game())


def test_pause_stops_the_clock_and_step_moves_it(server: str) -> None:
    async def game() -> None:
        async with join(server) as player:
            await player.open(fps=100.0)
            for _ in range(5):
                await player.frame()
            await player.send(Pause(paused=True))
            while not (await player.receive(Playing)).paused:
                pass
            with contextlib.suppress(TimeoutError):
                while True:  # what was on its way
                    await player.frame(timeout=0.3)
            await player.send(Step())
            last = (await player.frame()).index
            await player.send(Step(count=3))
            assert [(await player.frame()).index for _ in range(3)] == [last + 1, last + 2, last + 3]
            with pytest.raises(TimeoutError):
                await player.frame(timeout=0.3)
            await player.send(Pause(paused=False))
            assert (await player.frame()).index == last + 4

    play(game())


def test_reset_replays_or_takes_the_next_start(server: str) -> None:
    async def game() -> None:
        async with paused_game(server, prompt=2, seed=7) as player:
            first = await step(player, UP)
            await player.send(Reset(prompt=2, seed=7))
            assert (await player.frame()).index == 0
            again = await step(player, UP)
            assert again.pictures == first.pictures
            await player.send(Reset())
            start = await player.frame()
            assert Flag.PROMPT in start.flags
            assert [m.prompt for m in player.heard if isinstance(m, Playing)] == [2, 2, 2, 2, 0]
            state = next(m for m in reversed(player.heard) if isinstance(m, Playing))
            assert (state.prompt, state.seed, state.paused) == (0, 8, True)
            assert (await step(player, UP)).pictures != first.pictures

    play(game())


def test_steps_change_while_playing(server: str) -> None:
    async def game() -> None:
        async with paused_game(server) as player:
            assert (await step(player, STAY)).images()[0][0, 1, 0] == 3
            await player.send(Set(steps=17))
            assert (await step(player, STAY)).images()[0][0, 1, 0] == 17
            assert next(m for m in reversed(player.heard) if isinstance(m, Playing)).steps == 17
        async with paused_game(server, steps=9) as player:
            assert (await step(player, STAY)).images()[0][0, 1, 0] == 9

    play(game())


class StepsFreeSampler(EchoSampler):
    def __init__(self) -> None:
        super().__init__(EchoSamplerConfig())
        self._config, self.config = self.config, None

    def __call__(self, *args: Any) -> torch.Tensor:
        return EchoSampler(self._config)(*args)


def test_what_the_model_does_not_have_is_refused_and_the_game_goes_on() -> None:
    async def game(url: str) -> None:
        async with join(url) as player:
            await player.open(prompt=3)
            assert "no prompt 3" in (await player.receive(Error)).detail
            await player.open(steps=2)
            assert "StepsFreeSampler has no number of steps" in (await player.receive(Error)).detail
            await player.open(paused=True)
            await player.frame()
            assert (await step(player, UP)).row == (UP,)
            await player.send(Reset(prompt=99))
            assert (await player.receive(Error)).code == "refused"
            assert (await step(player, DOWN)).index == 2

    with serving(replace(echo_world(), sampler=StepsFreeSampler())) as url:
        play(game(url))


# --- the server itself ------------------------------------------------------------------------------------------------


def test_warm_up_comes_before_ready() -> None:
    may_load, calls, ready = threading.Event(), [0], threading.Event()

    class Counting(EchoSampler):
        def __call__(self, *args: Any) -> torch.Tensor:
            calls[0] += 1
            return super().__call__(*args)

    def load() -> World:
        may_load.wait(20)
        return replace(echo_world(), sampler=Counting(EchoSamplerConfig(seconds=0.02)))

    def came_up(url: str) -> None:
        assert calls[0] >= WARM_UP_FRAMES
        ready.set()

    async def game() -> None:
        address = urlsplit(server.url).netloc
        async with connect(f"ws://{address}/play", origin=f"http://{address}") as socket:
            await socket.send('{"type": "hello"}')
            phases = [parse_server(await socket.recv())]
            await socket.send('{"type": "open"}')  # too early
            early = parse_server(await socket.recv())
            assert isinstance(early, Error)
            may_load.set()
            phases += [parse_server(await socket.recv()) for _ in range(3)]
            assert [getattr(p, "phase", p.type) for p in phases] == ["loading", "warming up", "ready", "welcome"]
            assert isinstance(phases[0], Status)

    server = PlayServer(load, port=0, ready=came_up)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        play(game())
        assert ready.wait(10)
    finally:
        may_load.set()
        server.stop()
        thread.join()


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is in use by another program; choose .*--port"):
            serve(echo_world(), port=port)


def test_addresses_that_cannot_be_bound_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot serve on 192\.0\.2\.1 port 0"):
        serve(echo_world(), host="192.0.2.1", port=0)
    with pytest.raises(ValueError, match="port is 70000"):
        serve(echo_world(), port=70000)


def test_what_fails_while_loading_ends_the_server() -> None:
    with pytest.raises(ValueError, match="comes without prompts"):
        serve(replace(echo_world(), prompts=()), port=0)

    def load() -> World:
        raise ValueError("checkpoint is truncated")

    with pytest.raises(ValueError, match="checkpoint is truncated"), serving(load):
        pass


def test_ctrl_c_ends_serve_in_peace() -> None:
    told: list[str] = []

    def interrupt(url: str) -> None:
        told.append(url)
        signal.raise_signal(signal.SIGINT)

    serve(echo_world(), port=0, ready=interrupt)
    assert told[0].startswith("http://127.0.0.1:")
