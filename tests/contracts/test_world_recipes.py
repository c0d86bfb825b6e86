"""What recipes of worlds outside this package promise: they say where play comes from, suit it, train and dream."""

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.csgo import write_csgo
from samples.dino_wm import write_deformable, write_point_maze, write_pusht, write_wall
from samples.lerobot import write_lerobot

import hallucade
from hallucade.actions import ActionSpace, Axis
from hallucade.cli import main
from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig, record_environment
from hallucade.data.manifest import StoreError
from hallucade.data.store import EpisodeStore
from hallucade.games.environments import known_environments
from hallucade.models.base import DiffusionModel
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.recipes.registry import RECIPES, find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import find_or_record, train
from hallucade.rollout import dream
from hallucade.tokenizers.pixel import PixelTokenizerConfig
from hallucade.training.curriculum import Stage

SIZES = {  # action features, and parameters of the small and of the reference recipe
    "point_maze": (2, 1_538_126, 158_600_464),
    "wall": (2, 1_523_790, 158_600_464),
    "pusht": (2, 1_662_578, 158_600_464),
    "rope": (4, 1_607_284, 158_595_856),
    "granular": (4, 1_607_284, 158_595_856),
    "rt1": (7, 1_665_143, 158_598_160),
    "csgo": (15, 1_787_519, 558_687_248),
    "doom": (9, 1_781_369, 39_719_440),
    "doom_third_person": (9, 1_781_369, 39_719_440),
    "crafter": (17, 1_670_273, 39_719_824),
    "atari_pong": (6, 1_664_630, None),
    "atari_breakout": (4, 1_663_604, None),
    "car_racing": (3, 1_663_091, None),
}
SMALL = [f"{world}_small" for world in SIZES]
REFERENCE = [f"{world}_nanowm" for world, (_, _, reference) in SIZES.items() if reference is not None]
PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def option(command: str, name: str, count: int = 1) -> list[int]:
    """Return the numbers after an option of a command; nothing if it is not there."""
    words = shlex.split(command)
    return [int(word) for word in words[words.index(name) + 1 :][:count]] if name in words else []


def frame_size(recipe: RunConfig) -> tuple[int, int]:
    """Return height and width of the frames that the recipe's data have."""
    if isinstance(recipe.recording, EnvironmentRecordingConfig):
        assert recipe.recording.conversion.size is not None
        return recipe.recording.conversion.size
    height, width = option(recipe.importing or "", "--size", 2)
    return height, width


def features(recipe: RunConfig, world: str) -> ActionSpace:
    joined = option(recipe.importing or "", "--join") or [1]
    return ActionSpace(axes=tuple(Axis(name=f"{i}", low=-1, high=1) for i in range(SIZES[world][0] * joined[0])))


@pytest.mark.parametrize("name", SMALL + REFERENCE)
def test_it_travels_as_json_and_says_where_its_play_comes_from(name: str) -> None:
    recipe = RECIPES[name]()
    assert RunConfig.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.recipe == name
    assert (recipe.recording is None) != (recipe.importing is None)
    if recipe.recording is not None:
        assert isinstance(recipe.recording, EnvironmentRecordingConfig)
        assert recipe.recording.source.environment in known_environments()
        return
    assert recipe.importing is not None
    with pytest.raises(StoreError, match=re.escape(f"make it with `{recipe.importing.format(store='gone/play')}`, or")):
        find_or_record(recipe, Path("gone/play"))
    assert recipe.importing.format(store=f"stores/{name}") in PAGE.read_text(), "the page of recipes has the command"


@pytest.mark.parametrize("name", SMALL + REFERENCE)
def test_the_page_names_it_with_its_parameters(name: str) -> None:
    world, _, kind = name.rpartition("_")
    recipe, (_, small, reference) = RECIPES[name](), SIZES[world]
    pixels, height, width = (3, *frame_size(recipe))
    latent = (pixels, height, width) if kind == "small" else (4, height // 8, width // 8)
    with torch.device("meta"):
        model = recipe.model.build(features(recipe, world), latent)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == (small if kind == "small" else reference)
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert f"{parameters:,}" in line
    assert f"{height} x {width}" in line
    assert isinstance(model, DiffusionModel)
    assert recipe.prompt_frames <= model.context
    assert all(model.lead < stage.frames for stage in recipe.stages)
    assert all(stage.batch % recipe.trainer.accumulate == 0 for stage in recipe.stages)


def test_the_recipe_that_the_page_writes_is_one(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my_doom.py").write_text(code)
    recording = find_recipe(str(tmp_path / "my_doom.py")).recording
    assert isinstance(recording, EnvironmentRecordingConfig)
    assert (recording.frames, recording.source.options()["map"]) == (200_000, "E1M1")


# Training: the same choices on networks and clips of a few kilobytes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is slow, and no test here pulls the plug; long sample videos are slower still."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr("hallucade.recipes.held_out.SAMPLE_FRAMES", 2)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets under the names that the recipes' commands have."""
    folder = tmp_path_factory.mktemp("sources")
    writers: dict[str, Callable[[Path], Any]] = {
        "point_maze": write_point_maze,
        "wall_single": write_wall,
        "pusht_noise": write_pusht,
        "deformable/rope": write_deformable,
        "deformable/granular": write_deformable,
        "counter-strike_deathmatch": write_csgo,
    }
    for name, write in writers.items():
        write(folder / name)
    (folder / "test_split.txt").write_text("hdf5_dm_july2021_2.hdf5\n")
    write_lerobot(folder / "rt1", "v2.0")
    return folder


def tiny(recipe: RunConfig) -> RunConfig:
    """The recipe for two steps on frames of 16 x 24 pixels, which stand for latents too."""
    if isinstance(recipe.model, UNetConfig):
        model = replace(recipe.model, widths=(8, 16), blocks=(1, 1), condition_width=16)
    else:
        assert isinstance(recipe.model, DiffusionTransformerConfig)
        model = replace(recipe.model, width=24, depth=2, heads=2, patch=8, window=min(recipe.model.window, 4))
    stages = tuple(Stage(steps=1, frames=min(s.frames, 4 + i), batch=2) for i, s in enumerate(recipe.stages))
    if isinstance(model, UNetConfig):
        stages = tuple(replace(stage, frames=model.context + 1 + i) for i, stage in enumerate(stages))
    trainer = replace(recipe.trainer, steps=len(stages), compile=False, accumulate=1)
    return replace(
        recipe, tokenizer=PixelTokenizerConfig(), model=model, stages=stages, trainer=trainer, prompt_frames=2
    )


def trains_and_dreams(recipe: RunConfig, store: EpisodeStore, run: Path) -> None:
    """Train two steps, load the run again, and dream under two actions."""
    assert train(tiny(recipe), store, run, progress=False).reason == "finished"
    world = hallucade.load(run, "cpu")
    rows = np.stack([world.actions.idle, *[np.ones_like(world.actions.idle)] * 2])[None]
    frames = np.concatenate([frame.numpy() for frame in dream(world, world.prompts[:1], rows)], 1)
    assert frames.shape == (1, 3, *store.frame_size, 3)
    assert world.sampler is not None


@pytest.mark.parametrize("name", [name for name in SMALL + REFERENCE if RECIPES[name]().importing])
def test_it_trains_on_what_its_command_imports_and_dreams(
    name: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]()
    assert recipe.importing is not None
    words = shlex.split(recipe.importing.format(store=tmp_path / "store"))[1:]
    words[2] = "rt1" if words[2].startswith("hf://") else words[2]
    if "--deltas" in words:  # the sample has three motors, and these two
        first = words.index("--deltas") + 1
        words[first : first + 6] = ["x", "y"]
    at = words.index("--size") + 1
    words[at : at + 2] = ["16", "24"]
    monkeypatch.chdir(sources)
    main([*words, "--workers", "1", "--validation-share", "0.5"])
    store = EpisodeStore(tmp_path / "store")
    assert len(store.actions.axes) % (option(recipe.importing, "--join") or [1])[0] == 0
    trains_and_dreams(recipe, store, tmp_path / "run")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """What a recording recipe makes, of an environment of a few pixels."""
    source = EnvironmentConfig(environment="tiny_environments:tiny/Ticker-v0", env_kwargs='{"length": 25}')
    conversion = ConversionConfig(size=(16, 24), fit="stretch")
    config = EnvironmentRecordingConfig(source=source, conversion=conversion, frames=80, validation_share=0.5)
    return record_environment(config, tmp_path_factory.mktemp("played") / "store", workers=1)


@pytest.mark.parametrize("name", [name for name in SMALL + REFERENCE if RECIPES[name]().recording])
def test_it_trains_on_an_environment_and_dreams(name: str, played: EpisodeStore, tmp_path: Path) -> None:
    trains_and_dreams(RECIPES[name](), played, tmp_path / "run")
