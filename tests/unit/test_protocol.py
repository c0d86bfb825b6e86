"""The play protocol: what is refused, what survives the wire, and the page that documents it."""

import asyncio
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hallucade.play.envelope import HEADER_BYTES, Codec, Envelope, Flag, codec_for, encode_picture
from hallucade.play.limits import Limits, RateLimit
from hallucade.play.outbox import Outbox
from hallucade.play.pacer import Pacer
from hallucade.play.protocol import Input, Open, Reset, parse_client, parse_server
from hallucade.play.protocol_page import protocol_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "JSON"),
        ("[]", "dictionary|object"),
        ('{"type": "fly"}', "type"),
        ('{"seq": 1}', "type"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "colour": 3}', "colour"),
        ('{"type": "input", "seq": "1", "time": 0, "keys": []}', "seq"),
        ('{"type": "input", "seq": 1, "time": NaN, "keys": []}', "time"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": ["Key W"]}', "keys"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": ["../../etc"]}', "keys"),
        (json.dumps({"type": "input", "seq": 1, "time": 0, "keys": ["KeyW"] * 17}), "keys"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": NaN}}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": -Infinity}}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": 1e10}}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": {"yaw": "1"}}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": [1, 2]}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "moved": null}', "moved"),
        ('{"type": "input", "seq": 1, "time": 0, "keys": [], "values": {"x": true}}', "values"),
        (json.dumps({"type": "input", "seq": 1, "time": 0, "keys": [], "values": {"x" * 65: 0}}), "values"),
        (
            json.dumps(
                {"type": "input", "seq": 1, "time": 0, "keys": [], "values": dict.fromkeys(map(str, range(65)), 0)}
            ),
            "values",
        ),
        ('{"type": "open", "steps": 51}', "steps"),
        ('{"type": "open", "steps": 0}', "steps"),
        ('{"type": "open", "fps": 241}', "fps"),
        ('{"type": "open", "fps": Infinity}', "fps"),
        ('{"type": "open", "prompt": -1}', "prompt"),
        ('{"type": "open", "prompt": 1.5}', "prompt"),
        ('{"type": "ack", "frame": 4294967296}', "frame"),
        ('{"type": "step", "count": 65}', "count"),
        ('{"type": "pause"}', "paused"),
        ("[" * 2000, "JSON|recursion"),
    ],
)
def test_what_is_not_a_message_is_refused_and_the_field_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_client(text)


def test_a_complaint_never_repeats_the_input() -> None:
    with pytest.raises(ValueError, match="keys") as caught:
        parse_client('{"type": "input", "seq": 1, "time": 0, "keys": ["<script>"]}')
    assert "script" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        Input(seq=7, time=12.5, keys=["ArrowUp", "KeyW"]),
        Input(seq=7, time=12.5, keys=["Mouse0"], values={"grip": 0.25}, moved={"yaw": -1234.5, "pitch": 0.1}),
        Open(prompt=3, seed=5, steps=50, fps=240.0, paused=True),
        Reset(prompt=None, seed=4),
    ],
)
def test_messages_survive_the_wire(message: Input | Open | Reset) -> None:
    assert parse_client(message.model_dump_json()) == message


def test_an_input_of_before_mice_is_still_understood() -> None:
    old = parse_client('{"type": "input", "seq": 1, "time": 0, "keys": ["KeyW"]}')
    assert old == Input(seq=1, time=0.0, keys=["KeyW"], values={}, moved={})


def test_players_ignore_what_a_newer_server_adds() -> None:
    told = '{"type": "stats", "dreamed": 1, "dropped": 2, "late": 3, "sessions": 4, "weather": "fine"}'
    assert parse_server(told).sessions == 4


@pytest.mark.parametrize(("height", "width", "codec"), [(6, 10, Codec.RAW), (64, 64, Codec.RAW), (66, 40, Codec.JPEG)])
def test_pictures_survive_the_wire(height: int, width: int, codec: Codec, rng: np.random.Generator) -> None:
    smooth = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    dream, real = smooth.astype(np.uint8), (255 - smooth).astype(np.uint8)
    assert codec_for(height, width) == codec
    sent = Envelope(
        codec=codec,
        width=width,
        height=height,
        pictures=(encode_picture(dream, codec), encode_picture(real, codec)),
        row=(1.0, -0.5),
        flags=Flag.REAL | Flag.LATE,
        index=11,
        input_seq=2**32 - 1,
        input_time=1.25,
        wait_us=2**40,  # an old input: clipped, never an error
        infer_us=3,
        decode_us=5,
        encode_us=7,
    )
    got = Envelope.unpack(sent.pack(13))
    assert (got.frame, got.index, got.input_seq, got.input_time, got.row) == (13, 11, 2**32 - 1, 1.25, (1.0, -0.5))
    assert (got.flags, got.wait_us, got.infer_us, got.decode_us, got.encode_us) == (sent.flags, 2**32 - 1, 3, 5, 7)
    tolerance = 0 if codec == Codec.RAW else 3  # grey levels
    for image, original in zip(got.images(), (dream, real), strict=True):
        assert image.shape == (height, width, 3)
        assert np.abs(image.astype(int) - original).max() <= tolerance


def test_broken_frames_are_refused() -> None:
    whole = Envelope(codec=Codec.RAW, width=2, height=1, pictures=(b"abcdef",), row=(0.0,)).pack(1)
    for broken in (b"", whole[: HEADER_BYTES - 1], whole[: HEADER_BYTES + 2], whole[:-1], whole + b"x"):
        with pytest.raises(ValueError, match="not a frame"):
            Envelope.unpack(broken)
    with pytest.raises(ValueError, match="version 9"):
        Envelope.unpack(b"\x09" + whole[1:])


def test_header_layout_is_fixed() -> None:
    """Players in other languages read it by offset."""
    packed = Envelope(codec=Codec.RAW, width=2, height=1, pictures=(b"abcdef",), row=(0.5,), input_time=3.5).pack(258)
    assert HEADER_BYTES == 44
    assert packed[:4] == bytes([1, 0, 0, 1])
    assert struct.unpack_from("<HHI", packed, 4) == (2, 1, 258)
    assert struct.unpack_from("<d", packed, 20) == (3.5,)
    assert packed[44:] == struct.pack("<fI", 0.5, 6) + b"abcdef"


def test_outbox_keeps_the_newest_frame_and_sends_two_without_acknowledgement() -> None:
    now = [0.0]
    frames = [Envelope(codec=Codec.RAW, width=1, height=1, pictures=(b"abc",), row=(), index=i) for i in range(5)]

    async def take(outbox: Outbox) -> int | None:
        """Return the index of the frame to send, None if there is none yet."""
        try:
            return Envelope.unpack(await asyncio.wait_for(outbox.take(), 0.01)).index
        except TimeoutError:
            return None

    async def game() -> None:
        outbox = Outbox(clock=lambda: now[0])
        assert await take(outbox) is None
        for frame in frames[:2]:
            outbox.offer(frame)
            assert await take(outbox) == frame.index
        for frame in frames[2:4]:
            outbox.offer(frame)
            assert await take(outbox) is None
        assert outbox.dropped == 1
        now[0] = 4.0
        assert outbox.stalled == 4.0
        outbox.acknowledge(1)
        assert outbox.stalled == 0.0
        assert await take(outbox) == 3
        with pytest.raises(ValueError, match="frame 9 was never sent"):
            outbox.acknowledge(9)

    asyncio.run(game())


def test_pacing_has_no_drift_and_gives_up_lost_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    now = [100.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds + 0.001  # always a little too long

    monkeypatch.setattr("hallucade.play.pacer.asyncio.sleep", sleep)
    pacer = Pacer(fps=50, clock=lambda: now[0])

    def wait() -> bool:
        try:
            pacer.wait().send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the pacer waited for something else than the clock")

    assert not any(wait() for _ in range(501))
    assert now[0] == pytest.approx(100 + 500 / 50 + 0.001)
    now[0] += 1.0  # a hiccup: fifty frames are lost, and not made up for in a rush
    assert wait()
    assert not wait()
    assert slept[-1] == pytest.approx(0.02, abs=0.002)
    assert pacer.late == 1


def test_rate_limit_lets_a_burst_and_then_a_steady_stream_through() -> None:
    limit = RateLimit(per_second=10, burst=3, now=0.0)
    assert [limit.allow(0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allow(0.1)
    assert not limit.allow(0.15)


def test_limits_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="sessions is 0"):
        Limits(sessions=0)


def test_the_documented_protocol_is_the_real_one() -> None:
    documented = (DOCS / "play-protocol.md").read_text()
    assert documented == protocol_page(), "run: python -m hallucade.play.protocol_page > docs/play-protocol.md"
