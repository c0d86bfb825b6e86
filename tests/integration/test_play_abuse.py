"""What broken and hostile players and pages can do to a server: nothing."""

import asyncio
import contextlib
import http.client
import json
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from echo_world import STAY, UP, echo_world
from live_play import goodbye, paused_game, play, step
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from hallucade.games.maze import MAZE_ACTIONS
from hallucade.play.client import join
from hallucade.play.limits import Limits
from hallucade.play.protocol import Ack, Error, Input, Open, Pause, Reset, Set, Step
from hallucade.play.server import serving


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(echo_world()) as url:
        yield url


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"type": "fly"}',
        '{"type": "input", "seq": 1, "time": NaN, "keys": []}',
        '{"type": "input", "seq": 1, "time": 0, "keys": [999]}',
        '{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": Infinity}}',
        '{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": 1e99}}',
        '{"type": "input", "seq": 1, "time": 0, "keys": [], "values": {"x": {}}}',
        '{"type": "ack", "frame": 77}',
        '{"type": "set", "steps": 51}',
        '{"type": "hello"}',
        '{"type": "open"}',
        "[" * 4000,
    ],
)
def test_a_bad_message_gets_a_typed_error_and_the_game_goes_on(server: str, text: str) -> None:
    async def game() -> None:
        async with paused_game(server) as player:
            await player.socket.send(text)
            assert (await player.receive(Error)).code in ("bad message", "wrong order")
            assert (await step(player, UP)).row == (UP,)

    play(game())


def test_axes_of_another_game_are_refused_and_nothing_of_that_message_counts(server: str) -> None:
    async def game() -> None:
        async with paused_game(server) as player:  # Pong has no axes
            for axes in ({"moved": {"yaw": 1.0}}, {"values": {"move": 1.0}}):
                await player.send(Input(seq=2**31, time=0.0, keys=["ArrowUp"], **axes))
                refused = await player.receive(Error)
                assert (refused.code, refused.detail.endswith("it takes: none")) == ("refused", True)
            await player.send(Step())
            assert (await player.frame()).row == (STAY,)
            with pytest.raises(ValueError, match="no axis 'yaw'"):
                await player.look(yaw=1.0)
            assert (await step(player, UP)).row == (UP,)

    play(game())


def test_axes_before_the_welcome_are_refused(server: str) -> None:
    async def game() -> None:
        address = urlsplit(server).netloc
        async with connect(f"ws://{address}/play", origin=f"http://{address}") as socket:
            await socket.send(Input(seq=1, time=0.0, keys=[], moved={"yaw": 1.0}).model_dump_json())
            assert json.loads(await socket.recv())["code"] == "wrong order"

    play(game())


def test_wild_mice_and_sticks_stay_within_the_game() -> None:
    """The true game refuses rows that are out of range: one such row would end the game."""
    extremes = (1e9, -1e9, 1e-300, -0.0, 14.9999999, 15.0000001, 7.5)
    chance = random.Random(3)

    async def game(url: str) -> None:
        async with paused_game(url) as player:
            for seq in range(1, 120):
                axes = {
                    name: {"yaw": chance.choice(extremes), "pitch": chance.choice(extremes)}
                    for name in ("moved", "values")
                }
                await player.send(Input(seq=seq, time=0.0, keys=["ArrowLeft"], **axes))
                await player.send(Step())
                assert all(abs(value) <= 15 for value in (await player.frame()).row)
            await player.send(Input(seq=1000, time=0.0, keys=[], moved={"yaw": 0.0, "pitch": 0.0}))
            await player.send(Step(count=3))  # what is left of the last leap ends in the second frame
            assert [(await player.frame()).row[-2:] for _ in range(3)][-1] == (0, 0)
            assert not [message for message in player.heard if isinstance(message, Error)]

    with serving(echo_world(24, 36, game="maze", actions=MAZE_ACTIONS)) as url:
        play(game(url))


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([b"\x00\x01"], 1003),
        (['{"type": "input", "seq": 1, "time": 0, "keys": []' + " " * 5000 + "}"], 1009),
        (['{"type": "fly"}'] * 21, 1008),
        (['{"type": "ack", "frame": 0}'] * 2000, 1008),
        (['{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": 1}}'] * 21, 1008),
        (['{"type": "hello", "protocol": 2}'], 4002),
        (['{"type": "hello", "token": "guess"}'], 1008),
    ],
    ids=["binary", "oversized", "too many bad ones", "flood", "too many unknown axes", "other version", "wrong token"],
)
def test_abuse_ends_the_connection_with_its_code(server: str, messages: list[str | bytes], code: int) -> None:
    async def say(socket: ClientConnection) -> None:
        for message in messages:
            await socket.send(message)
        while True:
            await socket.recv()

    async def game() -> None:
        address = urlsplit(server).netloc
        async with connect(f"ws://{address}/play", origin=f"http://{address}") as socket:
            assert await goodbye(say(socket)) == code
        async with paused_game(server) as other:
            assert (await step(other, UP)).row == (UP,)

    play(game())


def test_a_thousand_mutated_messages_do_not_kill_the_worker() -> None:
    seeds = [m.model_dump() for m in (Open(), Set(steps=2), Reset(), Step(), Pause(paused=True), Ack(frame=1))]
    seeds.append(Input(seq=1, time=0.0, keys=["KeyW"], moved={"yaw": 1.0}, values={"x": 0.5}).model_dump())
    values = [None, -1, 2**70, 1.5, "x", [], {}, True, "9" * 300, ["KeyW"] * 40, {"a": {"b": []}}]
    chance = random.Random(5)

    def mutant() -> str | bytes:
        message = dict(chance.choice(seeds))
        message[chance.choice([*message, "type", "extra"])] = chance.choice(values)
        text = json.dumps(message)
        cut = chance.randrange(len(text))
        return text[:cut] + chance.choice(["", "\x00", "}", "\\u0000"]) + text[cut + chance.randrange(3) :]

    async def game(url: str) -> None:
        async with join(url) as player:
            for _ in range(1000):
                await player.socket.send(mutant())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(player.socket.recv(), 0.001)
        async with paused_game(url) as other:
            assert (await step(other, UP)).row == (UP,)

    with serving(echo_world(), limits=Limits(bad_messages=10**6, messages_per_second=1e9, burst=10**6)) as url:
        play(game(url))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", None),
        (None, None),
        ("null", None),
        ("http://127.0.0.1:1", None),  # another server on this machine
        ("http://evil.example", "evil.example"),  # a name that was made to point here
    ],
)
def test_pages_of_other_sites_cannot_open_the_socket(server: str, origin: str | None, host: str | None) -> None:
    async def game() -> None:
        address = urlsplit(server).netloc
        uri = f"ws://{host or address}/play"
        at = {"host": "127.0.0.1", "port": urlsplit(server).port} if host else {}
        with pytest.raises(InvalidStatus) as refused:
            await connect(uri, origin=origin, **at).__aenter__()
        assert refused.value.response.status_code == 403

    play(game())


def get(url: str, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).hostname or "", urlsplit(url).port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def test_other_hosts_other_sites_and_other_methods_are_refused(server: str) -> None:
    assert get(server, "/").status == 200
    assert get(server, "/", Host="evil.example").status == 403
    assert get(server, "/", Host=f"localhost:{urlsplit(server).port}").status == 200
    assert get(server, "/", Origin="http://evil.example").status == 403
    assert get(server, "/", method="POST").status == 405


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/%2e%2e/server.py", "/static/app.js", "/..%5cserver.py", "/app.js%00", "//etc/passwd", "/docs"],
)
def test_nothing_but_the_page_is_served(server: str, path: str) -> None:
    assert get(server, path).status == 404


def test_the_page_may_load_nothing_from_elsewhere(server: str) -> None:
    for path in ("/", "/app.js", "/style.css"):
        headers = get(server, path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_beyond_this_machine_the_address_carries_a_token() -> None:
    async def game(url: str) -> None:
        async with paused_game(url) as player:
            assert (await step(player, UP)).row == (UP,)
        assert await goodbye(join(url.split("#")[0]).__aenter__()) == 1008

    with serving(echo_world(), host="127.0.0.2") as url:
        assert "#token=" in url
        play(game(url))
