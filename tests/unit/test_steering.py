"""Keys, mice and sticks on their way to an action row: what is summed, clipped, carried over and forgotten."""

import threading

import numpy as np
import pytest

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.play.controller import Controller
from hallucade.play.protocol import Input
from hallucade.play.steering import Steering, check_axes

SPACE = ActionSpace(
    buttons=(Button(name="fire", keys=("Mouse0", "KeyJ")),),
    axes=(
        Axis(name="grip", low=0.5, high=3.0, positive_keys=("KeyG",)),
        Axis(
            name="yaw",
            low=-10.0,
            high=15.0,
            kind="delta",
            negative_keys=("ArrowLeft",),
            positive_keys=("ArrowRight",),
            by_key=4.0,
            turns="right",
        ),
        Axis(name="pitch", low=-7.0, high=7.0, kind="delta", turns="up"),
    ),
)


class Hands:
    """A player and the frames that obey him."""

    def __init__(self, frames: int = 1) -> None:
        self.controller, self.steering, self.seq = Controller(), Steering(SPACE, frames), 0

    def say(self, *keys: str, seq: int | None = None, **axes: dict[str, float]) -> None:
        self.seq = self.seq + 1 if seq is None else self.seq
        self.controller.update(Input(seq=seq or self.seq, time=0.0, keys=list(keys), **axes), received=0.0)

    def frame(self) -> list[float]:
        row = self.steering.row(self.controller.read())
        SPACE.validate(row)
        return row.tolist()

    def yaw(self) -> float:
        return float(self.steering.row(self.controller.read())[2])


def test_newest_input_wins_and_an_older_one_is_ignored() -> None:
    hands = Hands()
    hands.say("ArrowLeft", seq=1)
    hands.say("ArrowRight", moved={"pitch": 2.0}, values={"grip": 1.0}, seq=3)
    hands.say("KeyX", moved={"pitch": 1.0}, values={"grip": 2.0}, seq=2)
    held = hands.controller.read()
    assert (held.seq, held.values, held.moved) == (3, {"grip": 1.0}, {"pitch": 2.0})
    assert hands.controller.read().keys == {"ArrowRight"}


def test_a_tap_between_two_frames_is_seen_by_exactly_one() -> None:
    hands = Hands()
    hands.say("Mouse0")
    hands.say()
    assert hands.frame() == [1, 0.5, 0, 0]
    assert hands.frame() == [0, 0.5, 0, 0]


def test_a_released_key_does_not_linger_as_a_tap() -> None:
    hands = Hands()
    hands.say("ArrowLeft")
    hands.frame()
    hands.say("ArrowRight")
    assert hands.frame() == [0, 0.5, 4, 0]


def test_movement_between_two_frames_is_summed_and_obeyed_once() -> None:
    hands = Hands()
    for total in (1.0, 1.5, 4.25):
        hands.say(moved={"yaw": total, "pitch": -total})
    assert hands.frame() == [0, 0.5, 4.25, -4.25]
    assert hands.frame() == [0, 0.5, 0, 0]
    hands.say(moved={"yaw": 3.0})
    assert hands.frame() == [0, 0.5, -1.25, 0]


def test_lost_late_and_repeated_messages_turn_the_view_no_further() -> None:
    hands = Hands()
    hands.say(moved={"yaw": 2.0}, seq=2)
    assert hands.yaw() == 2
    hands.say(moved={"yaw": 2.0}, seq=2)  # a heartbeat
    hands.say(moved={"yaw": 1.0}, seq=1)  # late
    assert hands.yaw() == 0
    hands.say(moved={"yaw": 9.0}, seq=9)  # those in between were lost
    assert [hands.yaw(), hands.yaw()] == [7, 0]
    hands.say(seq=10)  # an axis that is left out stood still
    assert hands.yaw() == 0


def test_movement_adds_to_keys_and_to_held_values() -> None:
    hands = Hands()
    hands.say("ArrowLeft", moved={"yaw": 1.5})
    assert [hands.yaw(), hands.yaw()] == [-2.5, -4]
    hands.say("ArrowLeft", values={"yaw": 6.0}, moved={"yaw": 2.0})
    assert [hands.yaw(), hands.yaw()] == [6.5, 6]


def test_r25_keys_and_mouse_reach_the_model_in_the_units_of_training() -> None:
    recorded = SPACE.idle
    recorded[SPACE.names.index("yaw")] = 4.0  # degrees a frame, as a store holds them
    by_key, by_mouse = Hands(), Hands()
    by_key.say("ArrowRight")  # `by_key` of the axis, and not its end
    by_mouse.say(moved={"yaw": 4.0})
    for hands in (by_key, by_mouse):
        played = hands.steering.row(hands.controller.read())
        assert np.array_equal(SPACE.encode(played), SPACE.encode(recorded))


def test_a_flick_spreads_over_two_frames_and_what_is_beyond_is_lost() -> None:
    hands = Hands()
    hands.say(moved={"yaw": 22.0})
    assert [hands.yaw() for _ in range(3)] == [15, 7, 0]
    hands.say(moved={"yaw": 22.0 - 500.0})
    assert [hands.yaw() for _ in range(3)] == [-10, -10, 0]


def test_the_view_stops_with_the_mouse_though_keys_leave_no_room() -> None:
    hands = Hands()
    hands.say(values={"yaw": 15.0}, moved={"yaw": 9.0})
    assert [hands.yaw() for _ in range(5)] == [15] * 5
    hands.say(moved={"yaw": 9.0})
    assert hands.yaw() == 0


def test_a_flick_there_and_back_is_one_nowhere() -> None:
    hands = Hands()
    hands.say(moved={"yaw": 300.0})
    hands.say(moved={"yaw": 0.0})
    assert [hands.yaw(), hands.yaw()] == [0, 0]


def test_a_block_of_frames_shares_the_movement() -> None:
    hands = Hands(frames=4)
    hands.say("ArrowRight", moved={"yaw": 8.0})
    assert [hands.yaw(), hands.yaw()] == [4 + 2, 4]
    hands.say(moved={"yaw": 8.0 + 70.0})
    assert [4 * hands.yaw() for _ in range(3)] == [60, 10, 0]


def test_held_values_replace_keys_and_stay_in_range() -> None:
    hands = Hands()
    hands.say("KeyG")
    assert hands.frame() == [0, 3, 0, 0]
    hands.say("KeyG", values={"grip": 1.25})
    assert hands.frame() == [0, 1.25, 0, 0]
    hands.say(values={"grip": 1e9, "pitch": -1e9})
    assert hands.frame() == [0, 3, 0, -7]
    hands.say()
    assert hands.frame() == [0, 0.5, 0, 0]


def test_nothing_is_lost_between_a_hasty_player_and_hasty_frames(rng: np.random.Generator) -> None:
    """The socket writes while the worker reads: every degree arrives in exactly one frame."""
    controller = Controller()
    totals = np.cumsum(rng.uniform(-3, 4, 3000))
    moved: list[float] = []

    def speak() -> None:
        for seq, total in enumerate(totals.tolist(), 1):
            controller.update(Input(seq=seq, time=0.0, keys=[], moved={"yaw": total}), received=0.0)

    player = threading.Thread(target=speak)
    player.start()
    while player.is_alive():
        moved.append(controller.read().moved.get("yaw", 0.0))
    moved.append(controller.read().moved["yaw"])
    assert sum(moved) == pytest.approx(totals[-1])


@pytest.mark.parametrize(
    "axes",
    [{"values": {"zoom": 0.0}}, {"moved": {"zoom": 0.0}}, {"moved": {"grip": 1.0}}, {"values": {"fire": 1.0}}],
    ids=["unknown value", "unknown movement", "a stick that moved", "a button"],
)
def test_axes_that_do_not_exist_are_refused_by_what_exists(axes: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValueError, match=r"it takes: .*yaw, pitch") as caught:
        check_axes(SPACE, Input(seq=1, time=0.0, keys=[], **axes))
    assert "zoom" not in str(caught.value)
