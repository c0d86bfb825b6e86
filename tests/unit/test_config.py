"""Configs travel through JSON unchanged, and a wrong file is refused with the place and the remedy."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallucade.config import Config


@dataclass(frozen=True, kw_only=True)
class ConfigTestPart(Config):
    """Base of the parts below."""


@dataclass(frozen=True, kw_only=True)
class ConfigTestGear(ConfigTestPart):
    teeth: int = 12
    angle: float = 0.5

    def __post_init__(self) -> None:
        if self.teeth < 1:
            raise ValueError(f"teeth is {self.teeth}; use 1 or more")


@dataclass(frozen=True, kw_only=True)
class ConfigTestBelt(ConfigTestPart):
    name: str
    pulleys: tuple[ConfigTestPart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConfigTestMachine(Config):
    part: ConfigTestPart
    spare: ConfigTestPart | None = None
    mode: Literal["slow", "fast"] = "slow"
    order: Literal[1, 2] = 1
    size: tuple[int, int] = (6, 10)
    label: int | str = 3
    loud: bool = False
    shares: dict[str, float] = field(default_factory=dict)


MACHINE = ConfigTestMachine(
    part=ConfigTestBelt(name="left", pulleys=(ConfigTestGear(teeth=7), ConfigTestBelt(name="inner"))),
    spare=ConfigTestGear(angle=0.1),
    mode="fast",
    order=2,
    label="nine",
    loud=True,
    shares={"real": 0.25, "dream": 0.75},
)

integers = st.integers(-(2**63), 2**63 - 1)
gears = st.builds(ConfigTestGear, teeth=st.integers(1, 2**63 - 1), angle=st.floats(allow_nan=False))
parts = st.recursive(
    gears,
    lambda p: st.builds(ConfigTestBelt, name=st.text(), pulleys=st.lists(p, max_size=3).map(tuple)),
    max_leaves=7,
)
machines = st.builds(
    ConfigTestMachine,
    part=parts,
    spare=st.none() | parts,
    mode=st.sampled_from(["slow", "fast"]),
    order=st.sampled_from([1, 2]),
    size=st.tuples(integers, integers),
    label=integers | st.text(),
    loud=st.booleans(),
    shares=st.dictionaries(st.text(), st.floats(allow_nan=False)),
)


def refused(**changes: Any) -> str:
    """Return the error that `MACHINE`'s JSON gives with some fields changed."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers look at the message
        ConfigTestMachine.from_json(MACHINE.to_json() | changes)
    return str(caught.value)


@given(machines)
def test_json_round_trip_at_any_depth(machine):
    assert ConfigTestMachine.from_json(json.loads(json.dumps(machine.to_json()))) == machine


def test_json_names_the_class_and_holds_every_field():
    plain = MACHINE.to_json()
    assert plain["type"] == "ConfigTestMachine"
    assert plain["part"]["pulleys"][0] == {"type": "ConfigTestGear", "teeth": 7, "angle": 0.5}
    assert set(plain) == {"type", *(f.name for f in dataclasses.fields(MACHINE))}


def test_a_base_class_rebuilds_its_subclass_and_refuses_strangers():
    assert ConfigTestPart.from_json({"type": "ConfigTestGear", "teeth": 5}) == ConfigTestGear(teeth=5)
    with pytest.raises(ValueError, match="type 'ConfigTestMachine'; known types: ConfigTestBelt"):
        ConfigTestPart.from_json(MACHINE.to_json())
    with pytest.raises(ValueError, match="unknown ConfigTestPart type 'Sprocket'"):
        ConfigTestPart.from_json({"type": "Sprocket"})
    with pytest.raises(ValueError, match=r"unknown ConfigTestPart type \['ConfigTestGear'\]"):
        ConfigTestPart.from_json({"type": ["ConfigTestGear"]})


def test_defaults_fill_what_an_older_file_lacks():
    assert ConfigTestMachine.from_json({"part": {"type": "ConfigTestGear"}}) == ConfigTestMachine(part=ConfigTestGear())


def test_integers_are_read_as_floats_where_floats_are_meant():
    gear = ConfigTestGear.from_json({"angle": 2})
    assert isinstance(gear.angle, float)
    assert math.isclose(gear.angle, 2)


def test_unknown_and_missing_fields_are_refused_at_any_depth():
    assert refused(colour="red").startswith("unknown field(s) colour in ConfigTestMachine; known fields: part, spare")
    assert "unknown field(s) tooth in ConfigTestGear" in refused(spare={"type": "ConfigTestGear", "tooth": 3})
    inner = {"type": "ConfigTestBelt", "name": "a", "pulleys": [{"type": "ConfigTestGear", "tooth": 3}]}
    assert "unknown field(s) tooth in ConfigTestGear" in refused(part=inner)
    assert "missing field(s) name in ConfigTestBelt" in refused(part={"type": "ConfigTestBelt"})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"loud": 1}, "ConfigTestMachine.loud is 1"),
        ({"mode": "medium"}, "ConfigTestMachine.mode is 'medium'; choose one of 'slow', 'fast'"),
        ({"mode": ["slow"]}, "ConfigTestMachine.mode is ['slow']"),
        ({"order": True}, "ConfigTestMachine.order is True; choose one of 1, 2"),
        ({"order": 1.0}, "ConfigTestMachine.order is 1.0"),
        ({"size": [6, 10, 3]}, "ConfigTestMachine.size has 3 items; it takes 2"),
        ({"size": [6, "10"]}, "ConfigTestMachine.size[1] is '10'"),
        ({"size": None}, "ConfigTestMachine.size is None"),
        ({"label": 0.5}, "ConfigTestMachine.label is 0.5"),
        ({"shares": {"real": "half"}}, "ConfigTestMachine.shares['real'] is 'half'"),
        ({"part": None}, "ConfigTestMachine.part is None"),
        ({"part": {"type": "ConfigTestGear", "teeth": True}}, "ConfigTestGear.teeth is True"),
        ({"part": {"type": "ConfigTestGear", "teeth": 7.0}}, "ConfigTestGear.teeth is 7.0"),
        ({"part": {"type": "ConfigTestGear", "teeth": 0}}, "teeth is 0; use 1 or more"),
        ({"part": {"type": "ConfigTestGear", "teeth": 2**63}}, "ConfigTestGear.teeth is 9223372036854775808; whole"),
        ({"shares": {"real": float("nan")}}, "ConfigTestMachine.shares['real'] is nan, which is not a number"),
        ({"shares": {"real": 10**400}}, "; whole numbers have 64 bits here"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(changes, place):
    assert place in refused(**changes)


def test_two_classes_of_one_name_are_refused_unless_a_module_is_loaded_again():
    source = "@dataclass(frozen=True, kw_only=True)\nclass ConfigTestTwin(Config):\n    size: int = 1\n"
    names = {"Config": Config, "dataclass": dataclass}
    exec(source, names | {"__name__": "first_recipe"})
    exec(source, names | {"__name__": "first_recipe"})
    with pytest.raises(
        ValueError, match=r"second_recipe defines .* ConfigTestTwin, and so does first_recipe; rename one"
    ):
        exec(source, names | {"__name__": "second_recipe"})
    assert type(Config.from_json({"type": "ConfigTestTwin"})).__module__ == "first_recipe"


def test_only_plain_values_can_be_written():
    with pytest.raises(TypeError, match="a config cannot hold a complex"):
        ConfigTestBelt(name=3j).to_json()  # pyright: ignore[reportArgumentType]


def test_a_config_is_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MACHINE.loud = False  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match="positional"):
        ConfigTestGear(5)  # pyright: ignore[reportCallIssue]
