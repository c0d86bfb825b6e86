"""From action spaces to named controls and back."""

import numpy as np
import pytest
from gymnasium import spaces

from hallucade.actions import Axis, Button, Choice
from hallucade.games.native_actions import controls_of
from hallucade.games.players import RandomHold

ARM = spaces.Box(np.array([-1, 0, 5], np.float32), np.array([1, 0, 9], np.float32))
SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([3, 1, 4]),
    spaces.MultiDiscrete(np.array([[2, 3], [1, 5]])),
    spaces.MultiBinary((2, 3)),
    spaces.MultiBinary(4),
    ARM,
    spaces.Box(0, 7, (2, 3), np.int64),
    spaces.Dict({"arm": ARM, "keys": spaces.MultiBinary(3), "mode": spaces.Discrete(1), "tool": spaces.Discrete(3)}),
    spaces.Tuple((spaces.Discrete(4), ARM, spaces.Dict({"left": spaces.Discrete(2), "right": spaces.Discrete(2)}))),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_row_is_an_action_of_the_space(space: spaces.Space, rng: np.random.Generator) -> None:
    controls = controls_of(space)
    play = RandomHold(controls.actions, mean_hold=1)
    frame = np.zeros((1, 1, 3), np.uint8)
    for row in (controls.actions.idle, *(play(frame, None, rng) for _ in range(50))):
        controls.actions.validate(row)
        assert space.contains(controls.native(row))


@pytest.mark.parametrize(
    ("space", "row", "action"),
    [
        (spaces.Discrete(3, start=-1), [2], 1),
        (spaces.MultiDiscrete([3, 1, 4]), [2, 3], [2, 0, 3]),
        (spaces.MultiBinary((2, 2)), [0, 1, 1, 0], [[0, 1], [1, 0]]),
        (ARM, [-0.5, 6], [-0.5, 0, 6]),
        (spaces.Box(0, 7, (2,), np.int64), [2.4, 6.6], [2, 7]),
    ],
)
def test_a_row_says_which_action(space: spaces.Space, row: list[float], action: object) -> None:
    np.testing.assert_array_equal(controls_of(space).native(np.array(row, np.float32)), action)


def test_nested_spaces_have_telling_names_and_columns_in_the_order_of_a_raw_row() -> None:
    space = spaces.Dict({"arm": spaces.Box(-1, 1, (2,)), "keys": spaces.MultiBinary(2), "tool": spaces.Discrete(3)})
    controls = controls_of(space)
    assert controls.actions.names == ("keys_0", "keys_1", "tool", "arm_0", "arm_1")
    action = controls.native(np.array([0, 1, 2, 0.25, -0.5], np.float32))
    np.testing.assert_array_equal(action["keys"], [0, 1])
    np.testing.assert_array_equal(action["arm"], [0.25, -0.5])
    assert action["tool"] == 2


def test_every_control_has_keys_of_its_own() -> None:
    space = spaces.Tuple((spaces.Box(-1, 1, (3,)), spaces.Discrete(4), spaces.MultiBinary(2)))
    keys: list[str] = []
    for control in controls_of(space).actions.controls:
        match control:
            case Button():
                keys += control.keys
            case Choice():
                keys += [key for option in control.keys for key in option]
            case Axis():
                keys += [*control.negative_keys, *control.positive_keys]
    assert len(keys) == len(set(keys)) == 2 * 3 + 3 + 2


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        (spaces.Box(-np.inf, np.inf, (2,)), "without limits"),
        (spaces.Text(4), "cannot be recorded"),
        (spaces.Dict({"a": spaces.Graph(spaces.Discrete(2), None)}), "cannot be recorded"),
        (spaces.Discrete(1), "nothing to choose"),
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_refused(space: spaces.Space, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        controls_of(space)
