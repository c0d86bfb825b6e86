"""Recordings that recipes ask for: made, continued, opened without a simulator, and refused where they are others'."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from dot_game import write_store

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig, record_environment
from hallucade.data.executors import serial
from hallucade.data.manifest import StoreError
from hallucade.data.store import EpisodeStore
from hallucade.recipes.registry import RECIPES
from hallucade.recipes.train import find_or_record

TICKER = EnvironmentConfig(environment="tiny_environments:tiny/Ticker-v0", env_kwargs='{"length": 9}')
CONFIG = EnvironmentRecordingConfig(source=TICKER, conversion=ConversionConfig(size=(5, 7)), frames=25)


def crcs(store: EpisodeStore) -> list[object]:
    return [(record.seed, record.split, record.crc32) for record in store.episodes]


def test_a_recording_goes_on_where_it_ended(tmp_path: Path) -> None:
    short = record_environment(CONFIG, tmp_path / "store", workers=1, command="hallucade train mine")
    assert (len(short), short.frame_size, short.manifest.command) == (3, (5, 7), "hallucade train mine")
    longer = record_environment(replace(CONFIG, frames=45), tmp_path / "store", workers=1)
    assert longer.total_frames == 50
    assert crcs(longer)[:3] == crcs(short)
    assert crcs(longer) == crcs(record_environment(replace(CONFIG, frames=45), tmp_path / "once", workers=1))


def test_a_whole_recording_needs_no_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record_environment(CONFIG, tmp_path / "store", workers=1)

    def refuse(self: EnvironmentConfig) -> None:
        raise AssertionError("the environment was asked for")

    monkeypatch.setattr(EnvironmentConfig, "build", refuse)
    assert record_environment(CONFIG, tmp_path / "store").fingerprint == made.fingerprint


def test_what_is_another_recording_is_named_and_left_alone(tmp_path: Path) -> None:
    made = record_environment(CONFIG, tmp_path / "store", workers=1)
    other = replace(CONFIG, source=replace(TICKER, seed=4))
    with pytest.raises(StoreError, match=r"it was made with source\.seed 0, not 4; train on it with --store, or"):
        record_environment(other, tmp_path / "store", workers=1)
    joined = replace(CONFIG, conversion=replace(CONFIG.conversion, join=2))
    with pytest.raises(StoreError, match="it was made with join 1, not 2"):
        record_environment(joined, tmp_path / "store", workers=1)
    assert crcs(EpisodeStore(tmp_path / "store")) == crcs(made)
    write_store(tmp_path / "imported", [30, 40])
    with pytest.raises(StoreError, match=r"it was made with source\.environment None, not 'tiny_environments:"):
        record_environment(CONFIG, tmp_path / "imported", workers=1)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="frames is 0; it must be at least 1"):
        replace(CONFIG, frames=0)


def test_a_missing_game_is_named_with_its_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(ValueError, match="needs module 'vizdoom'; install it: pip install vizdoom"):
        find_or_record(RECIPES["doom_small"](), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_recipe_records_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hallucade.data.environment_recording.executor_of", lambda workers, frames: serial)
    recipe = replace(RECIPES["point_maze_small"](), recording=CONFIG)
    assert find_or_record(recipe, tmp_path / "store").manifest.command == "hallucade train point_maze_small"
