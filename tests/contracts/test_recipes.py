"""What every recipe promises: it travels as JSON, its losses teach what they name, its runs resume and load exactly.

Recipes that record a game of this package; `test_world_recipes` has those of other worlds.
"""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import fingerprint, losses

import hallucade
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.registry import known_games
from hallucade.models.base import DiffusionModel, LatentClip, TokenModel
from hallucade.models.conv_gru import TokenConvGRUConfig
from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.base import Setting
from hallucade.objectives.unroll_curriculum import UnrollRamp
from hallucade.recipes.load import export
from hallucade.recipes.registry import RECIPES
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.samples import SAMPLES, SampleVideos
from hallucade.recipes.train import train
from hallucade.rollout import Session, World, dream
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.trainer import Trainer

PARAMETERS = {
    "pong_micro": 703_999,
    "pong": 703_999,
    "pong_teacher": 703_999,
    "pong_transformer": 1_328_492,
    "pong_toy_wm": 19_509_243,
    "pong_ablation": 881_088,
    "maze": 1_654_238,
    "unet_small": 1_775_219,
    "transformer_small": 1_350_080,
    "transformer_medium": 5_064_000,
    "token_small": 2_127_272,
    "token_raster_small": 2_570_344,
    "token_independent_small": 2_127_272,
    "token_self_conditioned": 2_127_272,
    "token_gru_small": 3_326_251,
    "token_gru_v452": 2_957_355,
}
pytestmark = pytest.mark.filterwarnings("ignore:sharpness .* asks for sure predictions")  # token_gru_v452 means it
SIZE = 12  # pixels: the smallest Pong
CODES = LearnedTokenizerConfig()  # with fresh weights, for recipes that ask the user for a tokenizer
PLAYED = [
    name
    for name, recipe in RECIPES.items()
    if isinstance(recipe().recording, RecordingConfig) and recipe().method is None  # integration tests distil
]


@pytest.fixture(params=PLAYED)
def recipe(request: pytest.FixtureRequest) -> RunConfig:
    return RECIPES[request.param]()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    config = RecordingConfig(frames=1500, frame_size=SIZE, episode_length=120, games=4, validation_share=0.2)
    return record(config, tmp_path_factory.mktemp("play") / "store")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Syncing is slow, and no test here pulls the plug; long sample videos are slower still."""
    patch.setattr(os, "fsync", lambda descriptor: None)
    patch.setattr("hallucade.recipes.held_out.SAMPLE_FRAMES", 7)


def shrunk(recipe: RunConfig, *steps: int, **trainer: Any) -> RunConfig:
    """The same choices on a network and on clips of a few kilobytes; a stage for each of `steps`."""
    if isinstance(recipe.model, UNetConfig):
        model = replace(recipe.model, widths=(8, 16), blocks=(1, 1), condition_width=16, patch=2)
    elif isinstance(recipe.model, TokenTransformerConfig):
        recipe = replace(recipe, tokenizer=replace(CODES, convolutions=ConvolutionsConfig(widths=(8,))))
        model = replace(recipe.model, width=24, heads=2, depth=2, window=6, patch=2)
    elif isinstance(recipe.model, TokenConvGRUConfig):
        unrolled = replace(recipe.objective, unroll=UnrollRamp(steps=12, most=2))
        recipe = replace(
            recipe, tokenizer=replace(CODES, convolutions=ConvolutionsConfig(widths=(8,))), objective=unrolled
        )
        model = replace(recipe.model, width=16, layers=2)
    else:
        model = replace(recipe.model, width=24, heads=2, depth=2, window=6, patch=4)
    lead = recipe.model.context if isinstance(recipe.model, UNetConfig) else 4
    stages = tuple(Stage(steps=n, frames=lead + 1 + i, batch=4 - 2 * (i % 2)) for i, n in enumerate(steps))
    settings = {"steps": sum(steps), "compile": False, "log_every": 1, "checkpoint_every": 10}
    return replace(
        recipe, model=model, stages=stages, trainer=replace(recipe.trainer, **settings | trainer), sample_every=10**6
    )


def dreamed(world: World, steps: int = 9) -> np.ndarray:
    """Dream from two prompts of the run under known actions."""
    rows = np.random.default_rng(2).integers(0, 3, (2, steps, 1)).astype(np.float32)
    return np.concatenate([frames.numpy() for frames in dream(world, world.prompts[:2], rows, seed=5)], 1)


def dictionaries(data: Any) -> list[dict[str, Any]]:
    """List every config inside a config as JSON."""
    if isinstance(data, dict):
        below = [found for value in data.values() for found in dictionaries(value)]
        return [data, *below] if "type" in data else below
    return [found for value in data for found in dictionaries(value)] if isinstance(data, list) else []


def test_config_travels_as_json(recipe: RunConfig) -> None:
    assert RunConfig.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_unknown_keys_are_refused_at_any_depth(recipe: RunConfig) -> None:
    count = len(dictionaries(recipe.to_json()))
    assert count >= 9
    for i in range(count):
        data = json.loads(json.dumps(recipe.to_json()))
        config = dictionaries(data)[i]
        config["colour"] = "red"
        with pytest.raises(ValueError, match=f"unknown field.* colour in {config['type']}"):
            RunConfig.from_json(data)


def test_a_recipe_is_named_as_it_is_found_and_says_what_to_record(recipe: RunConfig) -> None:
    assert RECIPES[recipe.recipe]() == recipe
    assert isinstance(recipe.recording, RecordingConfig)
    assert recipe.recording.game in known_games()


def test_clips_and_prompts_suit_the_model(recipe: RunConfig) -> None:
    assert isinstance(recipe.recording, RecordingConfig)
    model = build(recipe)
    assert sum(stage.steps for stage in recipe.stages) == recipe.trainer.steps
    assert all(stage.frames > model.lead for stage in recipe.stages)
    assert all(stage.frames <= recipe.recording.episode_length for stage in recipe.stages)
    assert all(stage.batch % recipe.trainer.accumulate == 0 for stage in recipe.stages)
    assert recipe.focus is None or recipe.focus.lead == model.lead
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[recipe.recipe]


def build(recipe: RunConfig) -> DiffusionModel[Any] | TokenModel[Any]:
    assert isinstance(recipe.recording, RecordingConfig)
    size = recipe.recording.frame_size
    tokenizer = CODES if isinstance(recipe.model, TokenTransformerConfig | TokenConvGRUConfig) else recipe.tokenizer
    model = recipe.model.build_on(tokenizer.build(), PONG_ACTIONS, (size, size))
    assert isinstance(model, DiffusionModel | TokenModel)
    return model


def test_every_loss_teaches_every_parameter(recipe: RunConfig) -> None:
    model = build(recipe)
    with torch.no_grad():
        for parameter in model.parameters():  # zero-initialised layers let no gradient past them
            parameter += 0.02 * torch.randn_like(parameter)
    frames = model.lead + 3
    shape = (2, frames, *model.latent_shape)
    tokens = isinstance(model, TokenModel)
    latents = torch.randint(0, model.codes, shape) if tokens else torch.rand(shape) * 2 - 1
    clip = LatentClip(latents, torch.rand(2, frames - 1, 3))
    objective = recipe.objective.build_for(Setting(CODES.build(), PONG_ACTIONS, (SIZE, SIZE)))
    losses = objective(model, clip, torch.Generator().manual_seed(1))
    untaught = {"null_action"} if recipe.objective.action_dropout == 0 else set()
    assert losses
    for name, loss in losses.items():
        if float(loss.detach()) == 0:  # a bound that is kept, such as that of entropy at first
            continue
        model.zero_grad()
        loss.backward(retain_graph=True)
        silent = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
        assert silent <= untaught, f"{name} does not reach {silent - untaught}"


# Runs


@pytest.fixture(scope="module", params=PLAYED)
def run(request: pytest.FixtureRequest, store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned enough for its dreams to depend on everything."""
    recipe = RECIPES[request.param]()
    quick = {
        "optimizer": replace(recipe.trainer.optimizer, learning_rate=1e-2, muon_learning_rate=5e-2),
        "schedule": replace(recipe.trainer.schedule, warmup=1),
    }
    folder = tmp_path_factory.mktemp("runs") / request.param
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        result = train(shrunk(recipe, 24, **quick), store, folder, progress=False)
    assert (result.reason, result.step) == ("finished", 24)
    return folder


def test_a_saved_run_dreams_the_same_frames_wherever_it_is_loaded(run: Path, tmp_path: Path) -> None:
    first = hallucade.load(run, "cpu")
    frames = dreamed(first)
    assert frames.shape == (2, 9, SIZE, SIZE, 3)
    assert (frames[0, -1] != frames[1, -1]).any()
    for again in (run, run / CHECKPOINTS / "step_00000024", export(run, tmp_path / "shared")):
        world = hallucade.load(again, "cpu")
        np.testing.assert_array_equal(dreamed(world), frames)
        assert len(world.prompts) == len(first.prompts) == 16
    assert (first.game, first.fps, first.frame_size) == ("pong", 30.0, (SIZE, SIZE))


def test_live_frames_are_those_of_the_offline_dream(run: Path) -> None:
    world = hallucade.load(run, "cpu")
    rows = np.random.default_rng(2).integers(0, 3, (1, 12, 1)).astype(np.float32)
    offline = np.concatenate([frames.numpy() for frames in dream(world, world.prompts[:1], rows, seed=4)], 1)
    session = Session(world, world.prompts[0], seed=4)
    live = np.concatenate([session.step(row).numpy() for row in rows[0]], 1)
    np.testing.assert_array_equal(live, offline)
    assert (live[0, 1:] != live[0, :-1]).any()
    assert session.frame_index == 12


def test_a_run_dreams_what_is_pressed(run: Path) -> None:
    world = hallucade.load(run, "cpu")
    (up,), (down,) = (
        np.concatenate([f.numpy() for f in dream(world, world.prompts[:1], np.full((1, 9, 1), key, np.float32))], 1)
        for key in (1, 2)
    )
    assert (up != down).any()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_twenty_steps_are_ten_and_ten_more_after_resume(
    store: EpisodeStore, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundled model's recipe, stopped in its first stage, and its sample videos change nothing."""
    config = replace(shrunk(RECIPES["pong"](), 12, 8, precision=precision), sample_every=10)

    def stop(self: SampleVideos, step: int, trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    train(config, store, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(SampleVideos, "__call__", stop)
        result = train(config, store, tmp_path / "halves", progress=False)
    assert (result.reason, result.step) == ("interrupted", 10)
    torch.manual_seed(77)  # a new process draws other weights, and must not keep them
    assert train(config, store, tmp_path / "halves", resume=True, progress=False).step == 20
    assert len(losses(tmp_path / "whole")) == 20
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    assert fingerprint(tmp_path / "halves") == fingerprint(tmp_path / "whole")
    assert [p.name for p in (tmp_path / "halves" / SAMPLES).iterdir()] == ["step_00000020.mp4"]


def test_another_config_or_other_play_does_not_resume(store: EpisodeStore, tmp_path: Path) -> None:
    config = shrunk(RECIPES["pong"](), 2)
    train(config, store, tmp_path / "run", progress=False)
    before = fingerprint(tmp_path / "run")
    longer = replace(config, trainer=replace(config.trainer, clip_norm=0.5), prompt_frames=5)
    with pytest.raises(ValueError, match=r"holds another run: trainer.clip_norm was 1.0, is 0.5; prompt_frames was 8"):
        train(longer, store, tmp_path / "run", resume=True, progress=False)
    other = replace(config, objective=RECIPES["pong_toy_wm"]().objective)
    with pytest.raises(ValueError, match=r"objective was .*NextFrameConfig.*, is .*DiffusionForcingConfig"):
        train(other, store, tmp_path / "run", resume=True, progress=False)
    recording = RecordingConfig(frames=900, frame_size=SIZE, episode_length=120, games=4, validation_share=0.3, seed=8)
    with pytest.raises(ValueError, match=r"source.fingerprint was \w+, is \w+; choose another folder"):
        train(config, record(recording, tmp_path / "other"), tmp_path / "run", resume=True, progress=False)
    with pytest.raises(ValueError, match="is not empty; resume it, or choose another"):
        train(config, store, tmp_path / "run", progress=False)
    assert fingerprint(tmp_path / "run") == before


def test_a_run_killed_before_its_first_checkpoint_starts_when_resumed(store: EpisodeStore, tmp_path: Path) -> None:
    (tmp_path / "run" / CHECKPOINTS).mkdir(parents=True)
    result = train(shrunk(RECIPES["pong_micro"](), 1), store, tmp_path / "run", resume=True, progress=False)
    assert (result.reason, result.step) == ("finished", 1)
