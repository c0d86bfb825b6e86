"""The binary message that carries one frame: a fixed header, the applied action, one or two pictures.

Little-endian. Header (`HEADER_FIELDS`), then one float32 a control, then each picture as its length (uint32) and bytes.
Pictures are the dream and, with `REAL`, the real game under the same keys.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import simplejpeg
from jaxtyping import UInt8

from hallucade.play.protocol import PROTOCOL_VERSION

LOSSLESS_PIXELS = 64  # frames up to this many pixels a side travel raw
JPEG_QUALITY = 90


class Codec(IntEnum):
    """How pictures are encoded."""

    RAW = 0  # rows of red, green, blue bytes
    JPEG = 1


class Flag(IntFlag):
    """What else is true of a frame."""

    NONE = 0
    REAL = 1  # a second picture follows: the real game
    PROMPT = 2  # the recorded frame that the dream starts from, not dreamed
    LATE = 4  # started more than a frame time after it was due


# name, struct code, meaning
HEADER_FIELDS = (
    ("version", "B", "protocol version"),
    ("flags", "B", "1 a real picture follows, 2 the prompt's last frame, 4 late"),
    ("codec", "B", "0 raw RGB rows, 1 JPEG"),
    ("controls", "B", "length of the action row"),
    ("width", "H", "pixels"),
    ("height", "H", "pixels"),
    ("frame", "I", "counts the frames sent on this socket, from 1; acknowledge this number"),
    ("index", "I", "counts the frames dreamed since the prompt; a gap means dropped frames"),
    ("input_seq", "I", "`seq` of the newest input that this frame obeys; 0 before the first"),
    ("input_time", "d", "`time` of that input: the player's own clock in milliseconds"),
    ("wait_us", "I", "from that input's arrival to the start of this frame, microseconds"),
    ("infer_us", "I", "sampling and observing, microseconds"),
    ("decode_us", "I", "latents to pixels, microseconds"),
    ("encode_us", "I", "the real game's frame and encoding, microseconds"),
)
_HEADER = struct.Struct("<" + "".join(code for _, code, _ in HEADER_FIELDS))
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One frame on its way to a player."""

    codec: Codec
    width: int
    height: int
    pictures: tuple[bytes, ...]  # the dream, and the real game where there is one
    row: tuple[float, ...]  # the raw action that led to this frame, one value a control
    flags: Flag = Flag.NONE
    frame: int = 0
    index: int = 0
    input_seq: int = 0
    input_time: float = 0.0  # milliseconds
    wait_us: int = 0
    infer_us: int = 0
    decode_us: int = 0
    encode_us: int = 0

    def pack(self, frame: int) -> bytes:
        """Return the message, numbered `frame`."""
        header = _HEADER.pack(
            PROTOCOL_VERSION,
            self.flags,
            self.codec,
            len(self.row),
            self.width,
            self.height,
            frame,
            self.index,
            self.input_seq,
            self.input_time,
            *(min(us, 2**32 - 1) for us in (self.wait_us, self.infer_us, self.decode_us, self.encode_us)),
        )
        parts = [header, struct.pack(f"<{len(self.row)}f", *self.row)]
        for picture in self.pictures:
            parts += [struct.pack("<I", len(picture)), picture]
        return b"".join(parts)

    @classmethod
    def unpack(cls, message: bytes) -> "Envelope":
        """Read a message.

        Raises:
            ValueError: it is cut short, has bytes left over, or is of another protocol version.
        """
        try:
            return cls._unpack(message)
        except struct.error as error:
            raise ValueError(f"not a frame: {len(message)} bytes, {error}") from None

    @classmethod
    def _unpack(cls, message: bytes) -> "Envelope":
        values = dict(zip((name for name, _, _ in HEADER_FIELDS), _HEADER.unpack_from(message), strict=True))
        if values.pop("version") != PROTOCOL_VERSION:
            raise ValueError(f"frame of protocol version {message[0]}; this is version {PROTOCOL_VERSION}")
        row = struct.unpack_from(f"<{values.pop('controls')}f", message, HEADER_BYTES)
        flags, codec = Flag(values.pop("flags")), Codec(values.pop("codec"))
        offset = HEADER_BYTES + 4 * len(row)
        pictures: list[bytes] = []
        for _ in range(2 if Flag.REAL in flags else 1):
            (length,) = struct.unpack_from("<I", message, offset)
            pictures.append(message[offset + 4 : offset + 4 + length])
            offset += 4 + length
        if offset != len(message):
            raise ValueError(f"not a frame: {len(message)} bytes, {offset} announced")
        return cls(codec=codec, flags=flags, row=row, pictures=tuple(pictures), **values)

    def images(self) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
        """Decode the pictures."""
        return tuple(_decode(picture, self.codec, self.height, self.width) for picture in self.pictures)


def codec_for(height: int, width: int) -> Codec:
    """Return the codec for frames of this size: lossless where bytes are few."""
    return Codec.RAW if max(height, width) <= LOSSLESS_PIXELS else Codec.JPEG


def encode_picture(image: UInt8[np.ndarray, "h w 3"], codec: Codec) -> bytes:
    """Encode one picture."""
    image = np.ascontiguousarray(image)
    if codec == Codec.RAW:
        return image.tobytes()
    return simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorsubsampling="444")


def _decode(picture: bytes, codec: Codec, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    if codec == Codec.RAW:
        return np.frombuffer(picture, np.uint8).reshape(height, width, 3)
    return simplejpeg.decode_jpeg(picture)
