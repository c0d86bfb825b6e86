import json

import numpy as np
import pytest
import torch

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.config import Config

MOVE = Choice(
    name="move",
    options=("stay", "up", "down", "dash"),
    keys=((), ("ArrowUp", "KeyW"), ("ArrowDown", "KeyS"), ("KeyX",)),
)
SPACE = ActionSpace(
    buttons=(Button(name="fire", keys=("Space",)), Button(name="jump", keys=("KeyJ", "ShiftLeft+KeyK"))),
    choices=(MOVE, Choice(name="gear", options=("neutral", "first"))),
    axes=(
        Axis(name="throttle", low=1, high=5, positive_keys=("KeyT",)),
        Axis(name="mouse", low=-10, high=30, kind="delta", negative_keys=("KeyA",), positive_keys=("KeyD",)),
    ),
)


def row(**held: float) -> np.ndarray:
    values = SPACE.idle
    for name, value in held.items():
        values[SPACE.names.index(name)] = value
    return values


def test_columns_are_buttons_then_choices_then_axes() -> None:
    assert SPACE.names == ("fire", "jump", "move", "gear", "throttle", "mouse")
    assert (SPACE.size, SPACE.features) == (6, 2 + 4 + 2 + 2)
    assert SPACE.idle.tolist() == [0, 0, 0, 0, 1, 0]  # a throttle of 1 to 5 rests at 1


def test_encode_is_bits_one_hots_and_scaled_axes() -> None:
    features = SPACE.encode(row(fire=1, move=2, gear=1, throttle=4, mouse=-10))
    assert features.dtype == np.float32
    assert features.tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0.5, -1]


def test_encode_is_the_same_for_numpy_and_torch_and_for_any_leading_axes() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([row(move=rng.integers(4), mouse=rng.uniform(-10, 30)) for _ in range(15)]).reshape(3, 5, 6)
    features = SPACE.encode(rows)
    assert features.shape == (3, 5, 10)
    assert isinstance(features, np.ndarray)
    assert np.array_equal(SPACE.encode(torch.from_numpy(rows)).numpy(), features)
    assert np.array_equal(SPACE.encode(rows[2, 4]), features[2, 4])


def test_encode_reads_integers_and_read_only_rows() -> None:
    rows = np.array([[1, 0, 3, 0, 1, 10]])
    rows.flags.writeable = False  # as in a memory map
    assert SPACE.encode(rows).tolist() == [[1, 0, 0, 0, 0, 1, 1, 0, -1, 0]]


def test_aggregate_keeps_what_a_player_did() -> None:
    rows = np.stack([row(fire=1, move=1, throttle=2, mouse=20), row(move=2, throttle=3, mouse=25), row(throttle=4)])
    assert SPACE.aggregate(rows).tolist() == [1, 0, 0, 0, 3, 45]
    assert SPACE.aggregate(rows[None, :2]).tolist() == [[1, 0, 2, 0, 2.5, 45]]
    with pytest.raises(ValueError, match="'mouse' is 45"):
        SPACE.validate(SPACE.aggregate(rows))
    SPACE.over(3).validate(SPACE.aggregate(rows))


@pytest.mark.parametrize(
    ("pressed", "held"),
    [
        (set(), ()),
        ({"KeyW"}, ("up",)),
        ({"ArrowUp", "KeyW", "Space"}, ("fire", "up")),
        ({"ArrowUp", "KeyS"}, ()),  # opposite directions cancel, on whichever keys
        ({"ArrowUp", "ArrowDown", "KeyX"}, ("dash",)),
        ({"ArrowUp", "KeyX"}, ("dash",)),  # no opposites: the last option in the list
        ({"KeyA", "KeyD"}, ()),
        ({"KeyA"}, ("mouse-",)),
        ({"KeyD", "KeyT"}, ("throttle+", "mouse+")),
        ({"KeyK"}, ()),  # half of a chord
        ({"KeyK", "ShiftLeft"}, ("jump",)),
        ({"F13"}, ()),
    ],
)
def test_keys_become_what_a_player_means(pressed: set[str], held: tuple[str, ...]) -> None:
    pressed_row = SPACE.from_keys(pressed)
    SPACE.validate(pressed_row)
    assert SPACE.keys_of(pressed_row) == held


def test_the_longest_chord_wins_and_opposites_leave_the_rest_of_it() -> None:
    stick = Choice(
        name="stick",
        options=("noop", "upright", "up", "right", "left"),
        keys=((), ("ArrowUp+ArrowRight",), ("ArrowUp",), ("ArrowRight",), ("ArrowLeft",)),
    )
    space = ActionSpace(choices=(stick,))
    assert space.keys_of(space.from_keys(["ArrowUp", "ArrowRight"])) == ("upright",)
    assert space.keys_of(space.from_keys(["ArrowUp", "ArrowRight", "ArrowLeft"])) == ("up",)


def test_two_players_on_one_keyboard_do_not_cancel_each_other() -> None:
    left = Choice(name="left", options=("stay", "up", "down"), keys=((), ("KeyW",), ("KeyS",)))
    right = Choice(name="right", options=("stay", "up", "down"), keys=((), ("ArrowUp",), ("ArrowDown",)))
    assert ActionSpace(choices=(left, right)).from_keys({"KeyW", "ArrowDown"}).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(jump=0.5), r"'jump' is 0\.5 in row 2; a button is 0 or 1"),
        (row(move=4), r"'move' is 4\.0 in row 2; use the index of an option: 0 stay, 1 up, 2 down, 3 dash"),
        (row(move=1.5), r"'move' is 1\.5 in row 2"),
        (row(throttle=0.5), r"'throttle' is 0\.5 in row 2; clip it to \[1, 5\]"),
        (row(mouse=np.nan), r"'mouse' is nan in row 2"),
        (row(mouse=-np.inf), r"'mouse' is -inf in row 2"),
    ],
)
def test_validate_names_column_value_row_and_remedy(bad: np.ndarray, message: str) -> None:
    rows = np.stack([row(), row(fire=1), bad, bad])
    with pytest.raises(ValueError, match=message):
        SPACE.validate(rows)
    with pytest.raises(ValueError, match=r"in row \(0, 2\)"):
        SPACE.validate(rows[None])
    SPACE.validate(rows[:2])


def test_a_wrong_number_of_columns_is_refused_by_name() -> None:
    for check in (SPACE.validate, SPACE.encode):
        with pytest.raises(ValueError, match=r"\(2, 5\).*6 column\(s\): fire, jump, move, gear, throttle, mouse"):
            check(np.zeros((2, 5), np.float32))


def test_a_space_travels_as_json() -> None:
    assert Config.from_json(json.loads(json.dumps(SPACE.to_json()))) == SPACE


def test_describe_names_everything() -> None:
    expected = (
        "fire, jump, move: stay | up | down | dash, gear: neutral | first, throttle: 1 to 5, mouse: -10 to 30 a frame"
    )
    assert SPACE.describe() == expected


def test_difference_is_about_what_models_see_and_not_about_keys() -> None:
    pong = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
    with_keys = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down"), keys=((), ("KeyI",), ())),))
    more = ActionSpace(buttons=(Button(name="fire"),), choices=pong.choices)
    fewer = ActionSpace(choices=(Choice(name="move", options=("stay", "up")),))
    assert pong.difference(with_keys) is None
    assert "fire unexpected" in str(pong.difference(more))
    assert "fire missing" in str(more.difference(pong))
    assert "expected actions [move: stay | up | down], got [move: stay | up]" in str(pong.difference(fewer))


def test_impossible_controls_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one button"):
        ActionSpace()
    with pytest.raises(ValueError, match="control 'a' is named twice"):
        ActionSpace(buttons=(Button(name="a"),), axes=(Axis(name="a", low=0, high=1),))
    with pytest.raises(ValueError, match="option of choice 'c' 'x' is named twice"):
        Choice(name="c", options=("x", "x"))
    with pytest.raises(ValueError, match="needs idle and at least one more"):
        Choice(name="c", options=("x",))
    with pytest.raises(ValueError, match="2 options and 1 tuples of keys"):
        Choice(name="c", options=("x", "y"), keys=((),))
    with pytest.raises(ValueError, match=r"range \[1, 1\]"):
        Axis(name="a", low=1, high=1)
    with pytest.raises(ValueError, match=r"range \[0, inf\]"):
        Axis(name="a", low=0, high=float("inf"))
