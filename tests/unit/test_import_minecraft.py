"""What the Minecraft importers share: their samples answer as they should when held against their pictures."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.game_factory import write_game_factory
from samples.minerl import write_minerl
from samples.vpt import write_vpt

from hallucade.config import Config
from hallucade.data.checks.validate import validate_store
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.executors import Read, Reader
from hallucade.data.importers.game_factory import GameFactoryConfig
from hallucade.data.importers.minecraft import minecraft_actions
from hallucade.data.importers.minerl import MinerlConfig
from hallucade.data.importers.registry import IMPORTERS, guess_format
from hallucade.data.importers.vpt import VptConfig
from hallucade.data.source import ImporterConfig

FRAMES = 160
WRITERS: dict[type[ImporterConfig], Callable[..., object]] = {
    VptConfig: write_vpt,
    MinerlConfig: write_minerl,
    GameFactoryConfig: write_game_factory,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[type[ImporterConfig], ImporterConfig]:
    """One sample a format, long enough to tell lags and signs."""
    root = tmp_path_factory.mktemp("samples")
    for config, write in WRITERS.items():
        write(root / config.format, 0, FRAMES)
    return {config: config(path=str(root / config.format)) for config in WRITERS}


@pytest.mark.parametrize(
    ("config", "change", "answer"),
    [
        (VptConfig, {}, "aligned"),
        (MinerlConfig, {}, "aligned"),
        (GameFactoryConfig, {}, "aligned"),
        (VptConfig, {"delay": -1}, "early by 1"),
        (MinerlConfig, {"invert": ("pitch",)}, "inverted"),
        (GameFactoryConfig, {"delay": 1}, "late by 1"),  # what reading entry k as leaving frame k comes to
    ],
)
def test_a_sample_is_aligned_and_one_that_is_shifted_or_inverted_is_caught(
    samples: dict[type[ImporterConfig], ImporterConfig],
    tmp_path: Path,
    config: type[ImporterConfig],
    change: dict[str, Any],
    answer: str,
) -> None:
    store = collect(samples[config], tmp_path / "s", ConversionConfig(size=(45, 80), **change)).store
    validation = validate_store(store)
    (group,) = validation.alignment.groups
    assert group.decision == answer
    assert validation.failed == (answer != "aligned")
    pitch = next(control for control in group.controls if control.control == "pitch")
    assert pitch.decision == answer


@pytest.mark.parametrize("config", WRITERS)
def test_the_format_is_recognised_and_read_in_any_process(
    samples: dict[type[ImporterConfig], ImporterConfig], config: type[ImporterConfig]
) -> None:
    source = samples[config]
    assert IMPORTERS[config.format] is config
    assert guess_format(Path(source.path)) == config.format
    assert Config.from_json(json.loads(json.dumps(source.to_json()))) == source
    here = Reader(source, ConversionConfig(size=(9, 16)))
    there = pickle.loads(pickle.dumps(here))
    name = here.opened.episodes[-1]
    one, other = here(name), there(name)
    assert isinstance(one, Read)
    assert isinstance(other, Read)
    for a, b in zip(one.converted.episodes, other.converted.episodes, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_array_equal(a.actions, b.actions)
    assert one.converted.notes == other.converted.notes


@pytest.mark.parametrize("config", WRITERS)
def test_a_sample_is_written_the_same_every_time(tmp_path: Path, config: type[ImporterConfig]) -> None:
    written: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        WRITERS[config](tmp_path / name, 3, 45)
        files = [file for file in sorted((tmp_path / name).rglob("*")) if file.is_file()]
        written.append({str(file.relative_to(tmp_path / name)): file.read_bytes() for file in files})
    assert len(written[0]) > 5
    assert written[0] == written[1]


def test_arrow_keys_turn_as_slowly_as_a_hand_does() -> None:
    actions = minecraft_actions(("forward", "attack"), 15.0)
    assert actions.from_keys({"ArrowRight", "ArrowUp", "KeyW"}).tolist() == [1, 0, 5, 3]
    assert minecraft_actions((), 2.0).from_keys({"ArrowLeft"}).tolist() == [-2, 0]
    with pytest.raises(ValueError, match=r"max_turn is inf degrees a frame"):
        minecraft_actions((), float("inf"))
