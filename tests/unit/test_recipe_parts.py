"""Recipes by name and by file, prompts, sample videos, and what loading says of a folder that it cannot use."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from dot_game import ACTIONS, H, W, random_episode, write_store
from tiny_training import tiny_trainer
from torch import nn

import hallucade
from hallucade.data.pictures import overlay_keys
from hallucade.data.store import EpisodeStore
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.distilled_pong import pong_distilled
from hallucade.recipes.load import BUNDLED, export, folder_of, load, make_world, read_config, results_folder, run_facts
from hallucade.recipes.prompts import PROMPTS, load_prompts, prompt_of, save_prompts, validation_episodes
from hallucade.recipes.registry import RECIPES, find_recipe
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.samples import SampleVideos, real_and_dream
from hallucade.recipes.train import differences, find_or_record, trained_for
from hallucade.rollout import Prompt, World
from hallucade.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from hallucade.training.curriculum import Stage
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.trainer_config import TrainerConfig

SOURCE = Source(actions=ACTIONS, frame_size=(H, W), fps=15.0, game=None, fingerprint="abc")
CONFIG = RunConfig(
    recipe="tiny",
    model=UNetConfig(context=2, patch=1, widths=(8, 8), blocks=(1, 0), condition_width=9),
    objective=NextFrameConfig(),
    stages=(Stage(steps=2, frames=3, batch=4), Stage(steps=3, frames=5, batch=2)),
    trainer=TrainerConfig(steps=5),
    prompt_frames=3,
    source=SOURCE,
)


def world(config: RunConfig = CONFIG) -> World:
    """A world of random weights."""
    tokenizer = config.tokenizer.build()
    model = config.model.build(ACTIONS, tokenizer.latent_shape(H, W))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return make_world(config, tokenizer, model)


def prompts(count: int = 2, frames: int = 3) -> list[Prompt]:
    return [prompt_of(random_episode(8, seed), frames) for seed in range(count)]


def newest(run: Path) -> Path:
    return run / CHECKPOINTS / "step_00000005"


def write_run(folder: Path, config: RunConfig = CONFIG) -> World:
    """Write what a training leaves behind, and return its world."""
    made = world()
    weights = nn.ModuleDict({"tokenizer": made.tokenizer, "model": made.model}).state_dict()
    write_checkpoint(newest(folder), Checkpoint(5, weights, config.to_json(), {"commit": "1234567"}))
    save_prompts(folder, prompts())
    return made


# Recipes by name and by file

OWN = """
from __future__ import annotations
from dataclasses import dataclass, replace
from hallucade.config import Config
from hallucade.recipes.pong import pong_micro

@dataclass(frozen=True, kw_only=True)
class Own{n}(Config):
    size: int = 3

def {name}():
    return replace(pong_micro(), recipe="own", prompt_frames=Own{n}().size)

def quick():
    return replace({name}(), recipe="quick")

def wrong():
    return 7

def _helper():
    return 1
"""
numbers = itertools.count()


def recipe_file(folder: Path, stem: str = "mine") -> Path:
    path = folder / f"{stem}.py"
    path.write_text(OWN.format(name=stem, n=next(numbers)))
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name(name: str) -> None:
    assert find_recipe(name).recipe == name


def test_a_recipe_is_found_by_its_file_and_function(tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    assert find_recipe(str(path)) == replace(RECIPES["pong_micro"](), recipe="own", prompt_frames=3)
    assert find_recipe(f"{path}:quick").recipe == "quick"


def test_a_recipe_file_shadows_no_module(tmp_path: Path) -> None:
    before = sys.modules["json"]
    assert find_recipe(str(recipe_file(tmp_path, "json"))).recipe == "own"
    assert sys.modules["json"] is before


def test_a_recipe_of_package_classes_needs_its_file_no_more(tmp_path: Path) -> None:
    path = recipe_file(tmp_path)
    config = replace(find_recipe(str(path)), source=SOURCE)
    path.unlink()
    checkpoint = Checkpoint(0, {}, json.loads(json.dumps(config.to_json())))
    assert read_config(tmp_path, checkpoint) == config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "pnog",
            r"unknown recipe .pnog.; known recipes: pong_micro, pong, .*unet_small, .*, or give a path",
        ),
        ("nowhere/mine.py", r"recipe file nowhere/mine\.py does not exist"),
        ("{path}:slow", r"has no recipe 'slow'; it defines mine, quick, wrong$"),
        ("{path}:pong_micro", "has no recipe 'pong_micro'; it defines mine"),  # imported is not defined
        ("{path}:wrong", r"recipe wrong in .*mine\.py returned a int; return a RunConfig"),
    ],
)
def test_a_wrong_name_says_what_there_is(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(name.format(path=recipe_file(tmp_path)))


def test_a_file_without_a_recipe_of_its_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"empty\.py has no recipe 'empty'; it defines none"):
        find_recipe(str(tmp_path / "empty.py"))


def test_stages_must_add_up_to_the_trainers_steps() -> None:
    with pytest.raises(ValueError, match="stages of recipe 'tiny' have 5 steps and its trainer 6; make them equal, or"):
        replace(CONFIG, trainer=TrainerConfig(steps=6))


def test_clips_that_leave_a_method_nothing_to_play_are_refused_at_once() -> None:
    recipe = pong_distilled()
    assert isinstance(recipe.method, SelfForcingConfig)
    frames = recipe.method.prompt
    with pytest.raises(ValueError, match=f"clips of {frames} frames leave nothing to play after a prompt of {frames}"):
        replace(recipe, stages=tuple(replace(stage, frames=frames) for stage in recipe.stages))


@pytest.mark.parametrize(("steps", "stages"), [(5, [2, 3]), (50, [20, 30]), (7, [3, 4]), (2, [1, 1]), (1, [1])])
def test_a_run_for_other_steps_keeps_the_shares_of_its_stages(steps: int, stages: list[int]) -> None:
    run = trained_for(CONFIG, steps)
    assert run.trainer.steps == steps
    assert [stage.steps for stage in run.stages] == stages
    assert run.sample_every <= steps
    assert replace(run, stages=CONFIG.stages, trainer=CONFIG.trainer, sample_every=CONFIG.sample_every) == CONFIG


def test_a_run_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0; train one or more"):
        trained_for(CONFIG, 0)


def test_without_a_recording_the_store_must_be_there(tmp_path: Path) -> None:
    write_store(tmp_path / "store", [4, 5])
    assert find_or_record(CONFIG, tmp_path / "store").total_frames == 11
    with pytest.raises(ValueError, match="nowhere"):
        find_or_record(CONFIG, tmp_path / "nowhere")


def test_differences_name_the_place_of_each() -> None:
    other = replace(CONFIG, model=replace(CONFIG.model, target="v", patch=2), focus=None, prompt_frames=4)
    found = list(differences(CONFIG.to_json(), other.to_json()))
    assert found == ["model.patch was 1, is 2", "model.target was x, is v", "prompt_frames was 3, is 4"]
    assert list(differences(CONFIG.to_json(), CONFIG.to_json())) == []


# Prompts


def test_prompts_come_back_as_they_were_saved(tmp_path: Path) -> None:
    for saved in (prompts(3), [replace(p, state=None) for p in prompts(2, frames=1)]):
        save_prompts(tmp_path, saved)
        loaded = load_prompts(tmp_path)
        assert len(loaded) == len(saved)
        for a, b in zip(saved, loaded, strict=True):
            np.testing.assert_array_equal(a.frames, b.frames)
            np.testing.assert_array_equal(a.actions, b.actions)
            assert a.frames.dtype == b.frames.dtype
            assert (b.state is None) == (a.state is None)
            np.testing.assert_array_equal(a.state, b.state)
    assert [path.name for path in tmp_path.iterdir()] == [PROMPTS]


def test_a_prompt_ends_in_the_state_of_its_last_frame() -> None:
    episode = random_episode(8, 1)
    prompt = prompt_of(episode, 3)
    assert (prompt.frames.shape, prompt.actions.shape) == ((3, H, W, 3), (2, 2))
    np.testing.assert_array_equal(prompt.state, episode.state[2])


def test_validation_stretches_are_spread_and_held_out(tmp_path: Path) -> None:
    lengths = [30, 40, 12, 9, 6, 25, 8]  # episodes 1 and 5 are for validation
    episodes = write_store(tmp_path / "store", lengths)
    store = EpisodeStore(tmp_path / "store")
    picked = validation_episodes(store, 5, frames=11)
    starts = []
    for k, stretch in enumerate(picked):
        whole = episodes[(1, 5)[k % 2]]
        (start,) = [s for s in range(len(whole.frames) - 10) if (whole.frames[s : s + 11] == stretch.frames).all()]
        np.testing.assert_array_equal(stretch.actions, whole.actions[start : start + 10])
        starts.append((k % 2, start))
    assert len(set(starts)) == 5
    assert len(validation_episodes(store, 3, frames=41)) == 3  # only the longer episode has as many
    with pytest.raises(
        ValueError, match=r"no validation episode of .*store holds 42 frames, the longest has 41; record more"
    ):
        validation_episodes(store, 3, frames=42)


def test_a_store_of_one_episode_says_what_training_needs(tmp_path: Path) -> None:
    write_store(tmp_path / "store", [30])
    with pytest.raises(ValueError, match=r"none of the 1 episode\(s\) of .* is for validation.*; import or record two"):
        validation_episodes(EpisodeStore(tmp_path / "store"), 3, frames=9)


def test_a_run_without_prompts_has_none_and_damaged_ones_are_named(tmp_path: Path) -> None:
    assert load_prompts(tmp_path) == ()
    save_prompts(tmp_path, prompts())
    content = (tmp_path / PROMPTS).read_bytes()
    for broken in (content[:200], content[:-7], b"", b"not tensors at all", content.replace(b"actions", b"motions")):
        (tmp_path / PROMPTS).write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"prompts\.safetensors is damaged .* copy it again"):
            load_prompts(tmp_path)


# Sample videos


def test_r22_a_sample_has_bytes_of_colour_and_shows_real_play_above_the_dream_of_the_same_start() -> None:
    episodes = [random_episode(8, seed) for seed in (0, 1, 2)]
    video = real_and_dream(world(), episodes, prompt_frames=3, scale=4)
    assert video.dtype == np.uint8
    assert (len(video), video.shape[2]) == (9, 3 * W * 4)
    half = video.shape[1] // 2
    real, dream = video[:, :half], video[:, half:]
    title = half - real_height(video)
    for e, episode in enumerate(episodes):
        columns = slice(e * W * 4, (e + 1) * W * 4)
        picture = slice(title, title + H * 4)
        enlarged = episode.frames.repeat(4, 1).repeat(4, 2)
        np.testing.assert_array_equal(real[:, picture, columns], enlarged)
        np.testing.assert_array_equal(dream[:3, picture, columns], enlarged[:3])
        assert (dream[3:, picture, columns] != enlarged[3:]).any()


def real_height(video: np.ndarray) -> int:
    """Rows of one picture with the strip of keys below it."""
    episode = random_episode(2, 0)
    return overlay_keys(episode.frames, ACTIONS, episode.actions, 4).shape[1]


def test_a_sample_video_is_written_under_its_step(tmp_path: Path) -> None:
    episodes = [random_episode(8, seed) for seed in (0, 1)]
    sample = SampleVideos(world(), episodes, 3, tmp_path / "samples", every=50)
    trainer = tiny_trainer(tmp_path / "run")
    sample(50, trainer)
    sample(100, trainer)
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == ["step_00000050.mp4", "step_00000100.mp4"]
    with av.open(str(tmp_path / "samples" / "step_00000050.mp4")) as video:
        assert len(list(video.decode(video=0))) == 9
        assert video.streams.video[0].average_rate == 15


# Loading


def test_a_run_loads_from_its_folder_alone(tmp_path: Path) -> None:
    made = write_run(tmp_path)
    loaded = load(tmp_path, "cpu")
    for key, value in made.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert (loaded.frame_size, loaded.fps, loaded.actions) == ((H, W), 15.0, ACTIONS)
    assert len(loaded.prompts) == 2


def test_one_checkpoint_of_a_run_has_the_runs_prompts(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert len(load(newest(tmp_path), "cpu").prompts) == 2


def test_a_bundled_world_has_a_name_until_a_folder_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of("pong") == folder_of(Path("pong")) == folder_of(None) == BUNDLED / "pong"
    assert results_folder("pong") == results_folder(None) == Path("runs/bundled/pong")
    write_run(tmp_path / "pong")
    assert folder_of("pong") == results_folder("pong") == Path("pong")
    assert folder_of(None) == BUNDLED / "pong"
    with pytest.raises(CheckpointError, match=r"gone does not exist; give a run folder, .* of a bundled world: .*pong"):
        load("gone")


def test_facts_of_a_run(tmp_path: Path) -> None:
    made = write_run(tmp_path)
    facts = run_facts(tmp_path)
    assert facts["parameters"] == sum(p.numel() for p in made.model.parameters())
    assert (facts["recipe"], facts["step"], facts["commit"]) == ("tiny", 5, "1234567")
    assert json.loads(facts["model"])["condition_width"] == 9


def test_an_export_holds_weights_config_and_prompts_and_nothing_to_resume(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    shared = export(tmp_path / "run", tmp_path / "deep" / "shared")
    files = {path.name for path in shared.iterdir()}
    assert files == {"weights.safetensors", "config.json", "metadata.json", "manifest.json", PROMPTS}
    assert read_checkpoint(shared).step == 5
    with pytest.raises(CheckpointError, match="shared is not empty; choose another folder"):
        export(tmp_path / "run", shared)
    assert {path.name for path in shared.iterdir()} == files


def newer(run: Path) -> None:
    manifest = newest(run) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 99}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: cut(newest(run) / "weights.safetensors"), "no whole checkpoint in .*checkpoints"),
        (lambda run: (newest(run) / "config.json").unlink(), "no whole checkpoint in .*checkpoints"),
        (newer, "step_00000005 has format 99, this version reads up to 1; update hallucade"),
        (lambda run: cut(run / PROMPTS), r"prompts\.safetensors is damaged"),
    ],
    ids=["truncated weights", "no config", "newer format", "damaged prompts"],
)
@pytest.mark.filterwarnings("ignore:.*trying the one before")
def test_a_damaged_run_says_what_is_wrong(tmp_path: Path, damage, message: str) -> None:
    write_run(tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, "cpu")


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist; give a run folder, as `hallucade train` makes"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"is not a whole checkpoint: it has no usable manifest\.json"):
        load(tmp_path)
    write_store(tmp_path / "store", [4])
    with pytest.raises(CheckpointError, match="store is not a hallucade-checkpoint: its manifest"):
        load(tmp_path / "store")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            replace(CONFIG, model=replace(CONFIG.model, widths=(16, 8))),
            r"does not fit ModuleDict: .*model\.backbone\.stem",
        ),
        (replace(CONFIG, model=replace(CONFIG.model, blocks=(1, 1))), r"missing model\.backbone\.middle\.0"),
        (replace(CONFIG, source=None), "does not say what it was trained on; train it again"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_names_what_differs(
    tmp_path: Path, config: RunConfig, message: str
) -> None:
    write_run(tmp_path, config)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, "cpu")


def test_a_config_of_another_version_names_the_field(tmp_path: Path) -> None:
    plain = CONFIG.to_json()
    plain["model"] |= {"colour": "red"}
    write_checkpoint(tmp_path / "run", Checkpoint(5, {}, plain))
    with pytest.raises(CheckpointError, match=r"does not fit this version: unknown field\(s\) colour in UNetConfig"):
        load(tmp_path / "run")


def test_frames_that_the_network_cannot_take_are_one_clear_error(tmp_path: Path) -> None:
    write_run(tmp_path, replace(CONFIG, source=replace(SOURCE, frame_size=(7, 10))))
    with pytest.raises(ValueError, match="frames of 7x10 do not divide"):
        hallucade.load(tmp_path, "cpu")
