"""One training over several picture sizes, rates and lengths: from the command line to a game that can be played."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_recipe import tiny_recipe

import hallucade
from hallucade.actions import ActionSpace, Button
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.dry_run import dry_run
from hallucade.recipes.registry import RECIPES
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.stages import counted
from hallucade.recipes.train import train
from hallucade.rollout import dream
from hallucade.tokenizers.pixel import PixelTokenizerConfig
from hallucade.training.curriculum import Stage, StagedClips
from hallucade.training.run_folder import RunFolder

STAGES = (
    Stage(size=(8, 8), frames=3, fps=15.0, steps=2, batch=6, lr=4e-3),
    Stage(size=(16, 16), frames=4, steps=2, tokens=4 * 16 * 5),
    Stage(frames=9, steps=2, batch=2),
)


def grown(stages: tuple[Stage, ...] = STAGES, **changes: object) -> RunConfig:
    """Return Pong in 8x8, 16x16 and 24x24, by a transformer whose positions are both turned and learned."""
    base = tiny_recipe()
    model = DiffusionTransformerConfig(width=24, heads=2, depth=2, patch=4, window=5, learned_positions=True)
    trainer = replace(base.trainer, steps=sum(stage.steps for stage in stages), checkpoint_every=99, log_every=1)
    settings = {"model": model, "stages": stages, "trainer": trainer, "objective": DiffusionForcingConfig()}
    return replace(base, **{**settings, "focus": None, "prompt_frames": 3, "sample_every": 2, **changes})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return record(RecordingConfig(frames=1_200, episode_length=24), tmp_path_factory.mktemp("play") / "store")


@pytest.fixture(scope="module")
def run(store: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "grown"
    train(grown(), store, folder, progress=False)
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_pictures_grow_and_then_clips_in_one_run_that_can_be_played(run: Path) -> None:
    assert [row["stage"] for row in rows(run)] == [0, 0, 1, 1, 2, 2]
    quick, usual = grown().stages[0].lr, grown().trainer.optimizer.learning_rate
    shares = [row["learning_rate"] / usual for row in rows(run)]
    warmup = grown().trainer.schedule.build(6)
    assert shares == pytest.approx([warmup(i) * (quick / usual if i < 2 else 1) for i in range(6)])
    world = hallucade.load(run)
    assert (world.frame_size, world.fps, world.game) == ((24, 24), 30.0, "pong")
    frames = next(dream(world, world.prompts[:2], np.zeros((2, 1, world.actions.size), np.float32)))
    assert frames.shape == (2, 1, 24, 24, 3)
    assert len(list((run / "samples").iterdir())) == 3  # one of each stage, in its own size


def test_tokens_make_batches_of_as_many_clips_as_they_hold(run: Path) -> None:
    config = RunConfig.from_json(json.loads((run / "config.json").read_text()))
    assert [(stage.batch, stage.tokens) for stage in config.stages] == [(6, 0), (5, 0), (2, 0)]


@pytest.mark.parametrize("step", [1, 2, 5])
def test_r7_a_run_that_stops_in_or_between_stages_goes_on_to_the_same_weights(
    store: EpisodeStore, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole, read = RunFolder(run).checkpoints.load(), StagedClips.batch_at

    def breaking(clips: StagedClips, at: int, *rest: int) -> object:
        if at == step and (tmp_path / "run" / "metrics.jsonl").exists():  # not in preflight
            raise RuntimeError("the disk is gone")
        return read(clips, at, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(StagedClips, "batch_at", breaking)
        with pytest.raises(RuntimeError, match="the disk is gone"):
            train(grown(), store, tmp_path / "run", progress=False)
    assert RunFolder(tmp_path / "run").checkpoints.load().step == step
    train(grown(), store, tmp_path / "run", resume=True, progress=False)
    resumed = RunFolder(tmp_path / "run").checkpoints.load()
    assert all(torch.equal(value, whole.weights[name]) for name, value in resumed.weights.items())
    assert all(torch.equal(value, whole.training[name]) for name, value in resumed.training.items())


def test_a_run_that_ends_small_and_slow_is_played_so(store: EpisodeStore, tmp_path: Path) -> None:
    model = UNetConfig(context=2, patch=2, widths=(8, 16), blocks=(1, 1), condition_width=16)
    stages = (Stage(frames=3, steps=1, batch=2), Stage(size=(12, 16), fps=10.0, frames=4, steps=1, batch=2))
    config = grown(stages, model=model, objective=tiny_recipe().objective, prompt_frames=2, sample_every=1)
    train(config, store, tmp_path / "run", progress=False)
    world = hallucade.load(tmp_path / "run")
    assert (world.frame_size, world.fps, world.game) == ((12, 16), 10.0, None)  # no simulator has that rate
    assert world.prompts[0].frames.shape == (2, 12, 16, 3)


def test_a_stage_starts_from_another_run_and_what_is_left_over_is_named(
    store: EpisodeStore, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = grown((Stage(size=(16, 16), frames=4, steps=1, batch=2),), sample_every=99)
    train(replace(small, model=replace(small.model, registers=2)), store, tmp_path / "small", progress=False)
    stages = (Stage(frames=4, steps=1, batch=2), Stage(frames=4, steps=1, batch=2, init_from=str(tmp_path / "small")))
    still = replace(
        grown().trainer, steps=2, optimizer=replace(grown().trainer.optimizer, learning_rate=1e-30, muon=False)
    )
    config = grown(stages, trainer=still, sample_every=99)
    train(config, store, tmp_path / "large", progress=True)
    said = capsys.readouterr().out
    assert "stage 1 starts from" in said
    assert "left over there: registers; as they are here: nothing" in said
    weights, given = (RunFolder(tmp_path / name).checkpoints.load().weights for name in ("large", "small"))
    assert torch.equal(weights["model.embed.project.weight"], given["model.embed.project.weight"])
    assert weights["model.places"].shape == (36, 24)  # of 16 places, interpolated
    networks = RunConfig.from_json(json.loads((tmp_path / "large" / "config.json").read_text())).networks
    assert networks["stages.1"].run == str(tmp_path / "small")


def test_the_dry_run_says_what_every_stage_needs(store: EpisodeStore) -> None:
    said = dry_run(grown((STAGES[0], STAGES[2])), store)
    assert [stage.batch for stage, _ in said.peaks] == [6, 2]
    assert said.budget.peak == max(peak for _, peak in said.peaks)
    lines = [line for line in said.lines() if line.startswith("stages.")]
    assert lines[0].startswith("stages.0 (3 frames of 8x8 at 15 fps, batch 6): ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"fps": 7.0},
            r"stages\.0 .*: fps is 7 and the play has 30 frames a second; use a whole part: 30, 15, 10, 7\.5",
        ),
        ({"size": (10, 16)}, r"stages\.0 .*: frames of 10x16 do not divide by patch 4"),
        ({"tokens": 60, "batch": 0}, r"stages\.0 .*: 60 tokens do not suffice for 1 clip\(s\) of 64; give 64 or more"),
    ],
)
def test_what_a_stage_cannot_show_is_refused_before_the_first_step(
    store: EpisodeStore, tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    stages = (Stage(**{"size": (16, 16), "frames": 4, "steps": 2, "batch": 2, **wrong}), STAGES[2])
    with pytest.raises(ValueError, match=message):
        train(grown(stages), store, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_r20_a_stage_without_a_single_clip_is_refused_before_the_first_step_by_name(
    store: EpisodeStore, tmp_path: Path
) -> None:
    stages = (STAGES[0], Stage(frames=45, fps=15.0, steps=2, batch=2))
    message = r"stages\.1 \(45 frames at 15 fps, batch 2\): no train episode of .* holds a window of 89 frames"
    with pytest.raises(ValueError, match=message):
        train(grown(stages), store, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_models_and_trainings_that_keep_one_size_say_so() -> None:
    with pytest.raises(ValueError, match="several sizes or rates, and a DiffusionTransformer such as this keeps one"):
        grown(model=replace(grown().model, positions="flat"))
    with pytest.raises(ValueError, match="sharded networks keep one; train each size in a run of its own"):
        grown(trainer=replace(grown().trainer, sharded=True))


def test_the_recipe_of_stages_has_as_many_tokens_in_every_step() -> None:
    recipe = RECIPES["doom_stages"]()
    assert RunConfig.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    recorded = Source(
        actions=ActionSpace(buttons=(Button(name="go"),)), frame_size=(64, 80), fps=17.5, game=None, fingerprint=""
    )
    run = counted(recipe, PixelTokenizerConfig().build(), recorded)
    assert [stage.batch for stage in run.stages] == [32, 8, 2]
    assert RECIPES["doom_third_person_small"]().recording == recipe.recording
    model = recipe.model.build(recorded.actions, (3, 64, 80))
    assert sum(p.numel() for p in model.parameters()) == 1_313_840 - 8 * 128  # one button in place of nine controls
    assert "`doom_stages` (1,313,840)" in (Path(__file__).parents[2] / "docs/recipes.md").read_text()
