"""From losses on the command line's objects to runs that are judged and compared: of codes, and of pixels."""

import json
from dataclasses import replace

import pytest

from hallucade.cli import main
from hallucade.data.recorder import RecordingConfig, record
from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.token_losses.action_ranking import ActionRankingLossConfig
from hallucade.objectives.token_losses.entropy_floor import EntropyFloorLossConfig
from hallucade.objectives.token_losses.inverse_dynamics import InverseDynamicsLossConfig
from hallucade.objectives.token_losses.lpips import LpipsLossConfig
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.sharpness import SharpnessLossConfig
from hallucade.objectives.token_losses.sobel import SobelLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.recipes.pong import pong_micro
from hallucade.recipes.token_worlds import token_small
from hallucade.recipes.train import train
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.training.curriculum import Stage

LOSSES = TokenLossesConfig(
    semantic=SemanticLossConfig(weight=1.0),
    inverse_dynamics=InverseDynamicsLossConfig(weight=0.1, width=8),
    action_ranking=ActionRankingLossConfig(weight=0.5),
    sobel=SobelLossConfig(weight=0.1, every=2),
)
SIZES = {24: "store", 16: "small"}
FEW = ["--clips", "3", "--prompt-frames", "4", "--horizons", "1", "3", "--games", "2", "--long", "12", "--shown", "1"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    share = {"game": "maze", "frames": 240, "episode_length": 40, "validation_share": 0.5}
    return {size: record(RecordingConfig(frame_size=size, **share), folder / name) for size, name in SIZES.items()}


def shortened(config, frames):
    trainer = replace(config.trainer, steps=2, compile=False, precision="32-true", log_every=1, checkpoint_every=2)
    return replace(
        config,
        stages=(Stage(steps=2, frames=frames, batch=2),),
        trainer=trainer,
        prompt_frames=4,
        sample_every=10,
        focus=None,
    )


def of_codes(losses=LOSSES):
    return shortened(
        replace(
            token_small(),
            tokenizer=LearnedTokenizerConfig(convolutions=ConvolutionsConfig(widths=(8, 8))),
            model=TokenTransformerConfig(width=16, depth=2, heads=2, window=4, code_width=8),
            objective=MaskedTokensConfig(losses=losses),
            sampler=MaskGITSamplerConfig(steps=2),
        ),
        frames=5,
    )


def of_pixels(seed=0):
    model = UNetConfig(context=4, widths=(8, 16), blocks=(1, 1), condition_width=16)
    config = shortened(replace(pong_micro(), model=model), frames=5)
    return replace(config, trainer=replace(config.trainer, seed=seed))


@pytest.fixture(scope="module")
def runs(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.warns(UserWarning, match="sobel counts every 2 steps only"):
        train(of_codes(), stores[24], folder / "codes", progress=False)
    train(of_pixels(), stores[24], folder / "pixels", progress=False)
    train(of_pixels(seed=1), stores[24], folder / "again", progress=False)
    train(of_pixels(), stores[16], folder / "small", progress=False)
    return folder


def test_what_was_trained_is_in_the_log_step_by_step(runs):
    rows = [json.loads(line) for line in (runs / "codes" / "metrics.jsonl").read_text().splitlines()]
    always = {"cross_entropy", "semantic", "inverse_dynamics", "action_ranking", "loss/inverse_dynamics"}
    assert all(always <= set(row) for row in rows)
    assert ["sobel" in row for row in rows] == [True, False]


def test_runs_of_codes_and_of_pixels_are_compared(runs, stores, tmp_path, capsys):
    store, out = str(stores[24].path), tmp_path / "out"
    main(["compare", str(runs / "codes"), str(runs / "pixels"), "--store", store, "--out", str(out), *FEW])
    table = capsys.readouterr().out
    assert "pixels less codes" in table
    found = json.loads((out / "compare.json").read_text())
    assert set(found["differences"]["pixels"]) == {
        *("psnr@1", "psnr@3", "ssim@1", "ssim@3"),
        *(f"{name}@{horizon}" for name in ("sharpness_ratio", "survival") for horizon in (10, 12)),
    }
    assert "unique_codes_ratio@10" in found["scores"]["codes"]
    assert found["runs"]["pixels"]["step"] == "2"
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(runs / "codes"), str(runs / "small"), "--store", store, "--out", str(out), *FEW])
    assert "codes dreams 24x24 pixels and small 16x16" in capsys.readouterr().err


def test_runs_that_differ_in_their_seed_alone_are_one_column(runs, stores, tmp_path, capsys):
    given = [str(runs / name) for name in ("codes", "pixels", "again")]
    main(["compare", *given, "--store", str(stores[24].path), "--out", str(tmp_path), *FEW])
    head = capsys.readouterr().out.splitlines()[0]
    assert "token_small, 1 seed  pong_micro, 2 seeds  pong_micro less token_small" in head
    found = json.loads((tmp_path / "compare.json").read_text())["over_seeds"]
    assert found["pong_micro"]["runs"] == {"0": "pixels", "1": "again"}


def test_a_world_of_codes_is_judged_as_such_by_evaluate(runs, stores, tmp_path):
    few = ["--quick", "--long.frames", "0", "--clips.clips", "2", "--clips.horizons", "1"]
    tokens = ["--tokens.clips", "2", "--tokens.draws", "2", "--tokens.games", "1", "--tokens.long", "12"]
    world = ["evaluate", str(runs / "codes"), "--store", str(stores[24].path), "--out", str(tmp_path)]
    main([*world, *few, *tokens, "--tokens.prompt-frames", "4", "--tokens.frames", "4", "--clips.prompt-frames", "4"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"tokens/action_kl", "tokens/loss_gap", "tokens/unique_codes_ratio@10"} <= set(metrics)
    assert "tokens/film_scale" not in metrics
    report = (tmp_path / "report.html").read_text()
    assert "Storyboard" in report
    assert "Different codes in a frame" in report


def test_r10_lpips_without_its_weights_is_an_error_before_the_first_step(stores, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    config = of_codes(TokenLossesConfig(lpips=LpipsLossConfig(weight=0.1)))
    with pytest.raises(ValueError, match="LPIPS's alex backbone"):
        train(config, stores[24], tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_weights_that_oppose_each_other_are_told_before_training(stores, tmp_path):
    losses = TokenLossesConfig(
        sharpness=SharpnessLossConfig(weight=0.1), entropy_floor=EntropyFloorLossConfig(weight=0.1, floor=9.0)
    )
    with pytest.warns(UserWarning, match="they oppose each other"):
        train(of_codes(losses), stores[24], tmp_path / "run", progress=False)


def test_all_runs_are_sampled_as_is_asked_for(runs, stores, tmp_path, capsys):
    store, pixels = str(stores[24].path), str(runs / "pixels")
    more = ["--store", store, "--out", str(tmp_path), *FEW]
    main(["compare", pixels, str(runs / "again"), "--sampling-steps", "3", *more])
    about = json.loads((tmp_path / "compare.json").read_text())["runs"]
    assert {json.loads(about[name]["sampler"])["steps"] for name in ("pixels", "again")} == {3}
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(runs / "codes"), pixels, "--temperature", "0", *more])
    assert "FlowSamplerConfig chooses no codes, and has no temperature" in capsys.readouterr().err
