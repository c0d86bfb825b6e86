"""What player and server say to each other; docs/play-protocol.md is generated from this file.

The player sends JSON texts, the server JSON texts and binary frames. Keys travel as state, never as events: every
``input`` lists all keys that are down, so that a lost or late message cannot leave a key stuck. So does a mouse: every
``input`` says how far it moved in all, so that nothing is lost, counted twice or left turning.

A version changes when an old player would be misunderstood. What is added leaves it as it is: new fields from the
player may be left out, and players ignore what they do not know in a message from the server.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 4096  # of a message from the player
MAX_FPS = 240.0
MAX_STEPS = 50
MAX_KEYS = 16  # held at once
MAX_AXES = 64  # named in one message
MAX_TRAVEL = 1e9  # of one axis, in its own units
CREDIT_WINDOW = 2  # frames on their way that the player has not acknowledged

KeyCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,24}$")]  # a browser's KeyboardEvent.code, or Mouse0 and so on
Travel = Annotated[float, Field(ge=-MAX_TRAVEL, le=MAX_TRAVEL)]
Axes = Annotated[dict[Annotated[str, Field(max_length=64)], Travel], Field(max_length=MAX_AXES)]
Fps = Annotated[float, Field(ge=1, le=MAX_FPS)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
PromptIndex = Annotated[int, Field(ge=0, le=2**31 - 1)]
Counter = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Message(BaseModel):
    """Base of every text message: unknown fields, converted types, NaN and infinity are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )


class Hello(Message):
    """The first message of a player; the server answers ``welcome`` once it is ready."""

    type: Literal["hello"] = "hello"
    protocol: Counter = PROTOCOL_VERSION
    token: Annotated[str, Field(max_length=64)] = ""
    """From the page's address, when bound beyond this machine."""


class Open(Message):
    """Start the game; one a socket."""

    type: Literal["open"] = "open"
    prompt: PromptIndex = 0
    """Which recorded start."""
    seed: Seed = 0
    """Of the dream's noise."""
    steps: Steps | None = None
    """Sampling steps; null keeps the model's own."""
    fps: Fps | None = None
    """Null is the recorded game's rate."""
    paused: bool = False


class Input(Message):
    """All that is held now, and how far the mouse has come; on every change, and ten times a second."""

    type: Literal["input"] = "input"
    seq: Annotated[int, Field(ge=1, le=2**32 - 1)]
    """Grows with every change; a lower one than before is ignored."""
    time: Annotated[float, Field(ge=0, le=1e15)]
    """The player's clock in milliseconds, echoed by frames."""
    keys: Annotated[list[KeyCode], Field(max_length=MAX_KEYS)]
    """KeyboardEvent.code values; a mouse's buttons are Mouse0 (left), Mouse1 and Mouse2 (right)."""
    values: Axes = Field(default={})
    """Axes that are held and where, in their own units, clipped to their ranges; keys move those that are left out."""
    moved: Axes = Field(default={})
    """How far a mouse has moved delta axes since the socket opened, in their own units; those left out stood still."""


class Ack(Message):
    """Frame `frame`, and all before it, arrived; without it at most two frames are sent."""

    type: Literal["ack"] = "ack"
    frame: Counter


class Pause(Message):
    """Stop the clock, or start it again."""

    type: Literal["pause"] = "pause"
    paused: bool


class Step(Message):
    """Advance by some frames and pause."""

    type: Literal["step"] = "step"
    count: Annotated[int, Field(ge=1, le=64)] = 1


class Reset(Message):
    """Start again."""

    type: Literal["reset"] = "reset"
    prompt: PromptIndex | None = None
    """Null is the next one."""
    seed: Seed | None = None
    """Null is the next one."""


class Set(Message):
    """Change the sampling steps or the frame rate while playing; null leaves one as it is."""

    type: Literal["set"] = "set"
    steps: Steps | None = None
    fps: Fps | None = None


ClientMessage = Hello | Open | Input | Ack | Pause | Step | Reset | Set
Phase = Literal["loading", "warming up", "ready"]
ErrorCode = Literal[
    "bad message",  # not one of the messages, or a value out of range
    "wrong order",  # no ``hello`` or ``open`` yet, or one too many
    "refused",  # this model has no such prompt or setting
]


class Answer(Message):
    """Base of every text message from the server; players ignore fields that a newer server added."""

    model_config = ConfigDict(extra="ignore")


class Status(Answer):
    """Where the server stands; sent on every change until ``ready``."""

    type: Literal["status"] = "status"
    phase: Phase


class Option(Answer):
    """One thing that a control can do, and the keys that do it."""

    name: str
    keys: list[str]
    """Chords of KeyboardEvent.code joined by +; any of them does it."""


class AxisRange(Answer):
    """What an axis does."""

    kind: Literal["value", "delta"]
    low: float
    high: float
    idle: float
    """Where it is when nobody touches it."""
    turns: Literal["left", "right", "up", "down"] | None
    """Where a positive value turns the view."""


class Control(Answer):
    """One column of a frame's action row."""

    name: str
    kind: Literal["button", "choice", "axis"]
    options: list[Option]
    axis: AxisRange | None = None


class Welcome(Answer):
    """What can be played here; answers ``hello``, after warm-up."""

    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL_VERSION
    game: str | None
    controls: list[Control]
    width: int
    """Of a frame, in pixels."""
    height: int
    fps: float
    steps: int | None
    """The model's own sampling steps; null where they cannot be changed."""
    prompts: int
    """How many recorded starts there are."""
    real: bool
    """Whether the real game runs beside the dream."""


class Playing(Answer):
    """The game as it now stands; after ``open`` and after every control message that changed it."""

    type: Literal["playing"] = "playing"
    prompt: int
    seed: int
    steps: int | None
    fps: float
    paused: bool
    real: bool


class Stats(Answer):
    """The server's own figures, twice a second."""

    type: Literal["stats"] = "stats"
    dreamed: int
    """Frames since the socket opened."""
    dropped: int
    """Frames never sent, because a newer one was there when the player was ready for one."""
    late: int
    """Frames that started more than a frame time after they were due."""
    sessions: int
    """Games running on this server."""


class Error(Answer):
    """What was wrong with a message; the socket stays open unless it happens too often."""

    type: Literal["error"] = "error"
    code: ErrorCode
    detail: str


ServerMessage = Status | Welcome | Playing | Stats | Error

CLOSE_CODES = {
    1003: "a binary message; players send JSON texts",
    1008: "too many messages a second, too many bad ones, or a wrong token",
    1009: f"a message over {MAX_MESSAGE_BYTES} bytes",
    1011: "the game failed; the server goes on",
    1012: "the server stops",
    4000: "no message for too long",
    4001: "frames were not acknowledged for too long",
    4002: "another protocol version",
    4003: "all places are taken; try again later",
}

_client_messages: TypeAdapter[Any] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])
_server_messages: TypeAdapter[Any] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def parse_client(text: str) -> ClientMessage:
    """Read a player's message.

    Raises:
        ValueError: it is not one of ``ClientMessage``; the text says which field is wrong and never repeats the input.
    """
    return _validated(_client_messages.validate_json, text)


def parse_server(text: str) -> ServerMessage:
    """Read a server's message, for players written in Python.

    Raises:
        ValueError: it is not one of ``ServerMessage``.
    """
    return _validated(_server_messages.validate_json, text)


def _validated(validate: Callable[[str], Any], text: str) -> Any:
    try:
        return validate(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        raise ValueError(f"{where}: {first['msg']}"[:200] if where else first["msg"][:200]) from None
