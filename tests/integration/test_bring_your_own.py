"""Every foreign format from its files to a game in play: import, validate, train, live frames over a socket."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_recipe
from samples import csgo, dino_wm, folder, game_factory, lerobot, matrix_game, minerl, plain_video, toy_wm, vpt
from samples.scene import walk

from hallucade.data.checks.validate import validate_store
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.registry import IMPORTERS, guess_format
from hallucade.data.store import EpisodeStore
from hallucade.play.client import join
from hallucade.play.server import serving
from hallucade.recipes.load import load
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import train
from hallucade.training.curriculum import Stage

WALKS = [walk(seed, 40, (54, 96), 20) for seed in range(2)]
SIZE = (20, 32)  # height, width
SAMPLES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "folder": ("folder", folder.write_folder),
    "vpt": ("vpt", vpt.write_vpt),
    "minerl": ("minerl", minerl.write_minerl),
    "game-factory": ("game-factory", game_factory.write_game_factory),
    "csgo": ("csgo", csgo.write_csgo),
    "lerobot v2.0": ("lerobot", lambda path: lerobot.write_lerobot(path, "v2.0")),
    "lerobot v2.1": ("lerobot", lambda path: lerobot.write_lerobot(path, "v2.1")),
    "lerobot v3.0": ("lerobot", lambda path: lerobot.write_lerobot(path, "v3.0")),
    "point maze": ("dino-wm", dino_wm.write_point_maze),
    "wall": ("dino-wm", dino_wm.write_wall),
    "pusht": ("dino-wm", dino_wm.write_pusht),
    "rope and granular": ("dino-wm", dino_wm.write_deformable),
    "matrix-game": ("matrix-game", lambda path: matrix_game.write_pairs(path, WALKS)),
    "worldmodel-mc": ("worldmodel-mc", lambda path: matrix_game.write_recordings(path, WALKS)),
    "video": ("video", plain_video.write_videos),
    "toy-wm": ("toy-wm", lambda path: toy_wm.write_toy_wm(path, frames=1000)),
}


def test_every_format_has_a_sample() -> None:
    assert {name for name, _ in SAMPLES.values()} == set(IMPORTERS)


@pytest.mark.parametrize("sample", SAMPLES)
def test_foreign_files_become_a_game_in_play(sample: str, tmp_path: Path) -> None:
    name, write = SAMPLES[sample]
    write(tmp_path / "foreign")
    source = _root(tmp_path / "foreign", name)
    assert guess_format(source) == name
    imported = collect(IMPORTERS[name](path=str(source)), tmp_path / "store", ConversionConfig(size=SIZE))
    assert not imported.refused
    validation = validate_store(imported.store)
    assert not validation.failed, [str(problem) for problem in validation.problems]

    result = train(_recipe(imported.store), imported.store, tmp_path / "run", progress=False)
    assert (result.reason, result.step) == ("finished", 20)
    world = load(tmp_path / "run", "cpu")
    assert world.actions == imported.store.actions
    asyncio.run(asyncio.wait_for(_play(tmp_path / "run"), 60))


def _root(folder: Path, name: str) -> Path:
    """Return what a user would name: some samples hold their data set one folder further in."""
    if IMPORTERS[name].recognises(folder):
        return folder
    inner = [path for path in sorted(folder.rglob("*")) if path.is_dir() and IMPORTERS[name].recognises(path)]
    assert inner, f"no folder of the {name} sample is recognised"
    return inner[0]


def _recipe(store: EpisodeStore) -> RunConfig:
    base = tiny_recipe.tiny_recipe()
    return replace(
        base,
        recording=None,
        focus=None,
        model=replace(base.model, context=4),
        stages=(Stage(steps=20, frames=6, batch=2),),
        trainer=replace(base.trainer, steps=20),
        prompt_frames=4,
        sample_every=20,
    )


async def _play(run: Path) -> None:
    with serving(load(run, "cpu")) as url:
        async with join(url) as player:
            await player.open()
            shown = [await player.frame() for _ in range(5)]
    assert (shown[-1].height, shown[-1].width) == SIZE
    assert [frame.frame for frame in shown] == sorted({frame.frame for frame in shown})
