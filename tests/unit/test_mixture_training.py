"""A recipe trained on several stores, balanced, and what its run says of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import tiny_recipe

from hallucade.data.balance import Balance
from hallucade.data.mixture import Mixture, open_stores
from hallucade.data.recorder import RecordingConfig, record
from hallucade.recipes.load import find_checkpoint, load, read_config
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.train import held_out_episodes, make_clips, train
from hallucade.training.curriculum import Stage


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores of Pong, by different players."""
    folder = tmp_path_factory.mktemp("stores")
    for seed, bot in enumerate(("good", "random_hold")):
        record(RecordingConfig(frames=3_000, episode_length=120, bot=bot, seed=seed), folder / bot)
    return folder


def mixed(stores: Path, good: str = "2", held: str = "1") -> Mixture:
    mixture = open_stores(f"{stores}/good:{good},{stores}/random_hold:{held}")
    assert isinstance(mixture, Mixture)
    return mixture


def recipe() -> RunConfig:
    config = tiny_recipe()
    return replace(
        config,
        stages=(Stage(steps=2, frames=9, batch=4), Stage(steps=2, frames=12, batch=2)),
        balance=Balance(share=0.5),
        damage="skip",
        trainer=replace(config.trainer, steps=4, checkpoint_every=2),
        sample_every=4,
    )


def test_a_recipe_trains_on_a_mixture_and_its_run_can_be_dreamed(stores: Path, tmp_path: Path) -> None:
    run, mixture = tmp_path / "run", mixed(stores)
    assert train(recipe(), mixture, run, progress=False).step == 4
    config = read_config(*find_checkpoint(run))
    assert config == replace(recipe(), source=Source.of(mixture))
    assert config.source is not None
    assert (config.source.game, config.source.fingerprint) == (mixture.game, mixture.fingerprint)
    world = load(run)
    assert len(world.prompts) == 16
    assert all(prompt.state is not None for prompt in world.prompts)
    assert train(recipe(), mixture, run, resume=True, progress=False).step == 4
    with pytest.raises(ValueError, match=r"holds another run: source\.fingerprint was \w+, is \w+; choose another"):
        train(recipe(), mixed(stores, "1"), run, resume=True, progress=False)


def test_what_is_held_out_comes_from_every_store_in_turn(stores: Path) -> None:
    mixture = mixed(stores, "70%", "30%")
    held_out = held_out_episodes(mixture, 5, 104)
    own = [{e.frames.tobytes() for e in held_out_episodes(store, 3, 104)} for store in mixture.stores]
    assert [[e.frames.tobytes() in frames for frames in own].index(True) for e in held_out] == [0, 1, 0, 1, 0]
    assert all(e.state is not None for e in held_out)


def test_states_that_mean_different_things_are_no_prompts(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = mixed(stores)
    manifest = mixture.stores[1].manifest
    names = tuple(f"other_{name}" for name in manifest.state_names)
    monkeypatch.setattr(mixture.stores[1], "manifest", replace(manifest, state_names=names))
    assert [e.state for e in held_out_episodes(mixture, 3, 104)] == [None] * 3


def test_every_stage_reads_by_the_recipes_rules(stores: Path) -> None:
    clips = make_clips(recipe(), mixed(stores))
    assert [clips.batch_at(step).frames.shape[:2] for step in (0, 3)] == [(4, 9), (2, 12)]
    plain = make_clips(replace(recipe(), balance=Balance(share=0.0)), mixed(stores))
    assert not np.array_equal(clips.batch_at(0).frames, plain.batch_at(0).frames)


def test_runs_from_before_balance_and_damage_read_as_they_were() -> None:
    old = recipe().to_json()
    del old["balance"], old["damage"]
    config = RunConfig.from_json(old)
    assert (config.balance.share, config.damage) == (0.0, "raise")
