"""From recorded play to a trained tokenizer, and to its codes of every frame."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from hallucade.cli import main
from hallucade.data.clips import ClipWindows
from hallucade.data.latent_cache import LatentCache
from hallucade.data.manifest import StoreError
from hallucade.data.recorder import RecordingConfig, record
from hallucade.evaluation.tokenizer_quality import evaluate_tokenizer
from hallucade.games.pong import PONG_ACTIONS
from hallucade.methods.tokenizer_training import ReconstructionConfig, TokenizerTraining
from hallucade.models.base import LatentClip
from hallucade.models.raster_transformer import RasterTransformerConfig
from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.objectives.raster_tokens import RasterTokensConfig
from hallucade.recipes.load import load
from hallucade.recipes.pong import pong_micro
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.token_worlds import token_small
from hallucade.recipes.tokenizer_run import TokenizerRunConfig, train_tokenizer
from hallucade.recipes.tokenizers import TOKENIZERS, tokenizer_vq
from hallucade.recipes.train import train
from hallucade.rollout import Session
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig
from hallucade.tokenizers.bottlenecks.residual_vq import ResidualVQConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig
from hallucade.tokenizers.convolutions import ConvolutionsConfig
from hallucade.tokenizers.learned import LearnedTokenizer, LearnedTokenizerConfig
from hallucade.tokenizers.learned_folder import LearnedFolder
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.tokenizers.tokenize import tokenize
from hallucade.training.checkpoint import CheckpointFolder
from hallucade.training.curriculum import Stage
from hallucade.training.ema import EMAConfig
from hallucade.training.schedules import WarmupStableDecayConfig

SMALL = ["--tokenizer.convolutions.widths", "8", "12", "--trainer.compile", "False", "--sample-every", "4"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("desk") / "store"
    return record(RecordingConfig(frame_size=24, frames=300, episode_length=40), path)


def recipe(steps=8, **reconstruction) -> TokenizerRunConfig:
    base = tokenizer_vq()
    return replace(
        base,
        tokenizer=LearnedTokenizerConfig(
            convolutions=ConvolutionsConfig(widths=(8, 12)), bottleneck=VQConfig(codes=20, width=6, patience=2)
        ),
        reconstruction=ReconstructionConfig(**reconstruction),
        stages=(Stage(steps=steps, frames=2, batch=6),),
        trainer=replace(base.trainer, steps=steps, compile=False, precision="32-true", checkpoint_every=5),
    )


def test_from_the_command_line_to_codes_on_disk(store, tmp_path, capsys):
    run, cache = tmp_path / "run", tmp_path / "codes"
    main(["train", "tokenizer_fsq", "--store", str(store.path), "--out", str(run), "--steps", "8", *SMALL])
    assert (run / "samples" / "step_00000008.png").is_file()
    assert LearnedFolder(run / "tokenizer").facts.step == 8
    main(["tokenize", str(store.path), str(cache), "--tokenizer", str(run), "--workers", "1"])
    assert "6x6 in uint16" in capsys.readouterr().out
    opened = LatentCache(cache)
    assert opened.manifest.codes == 1000
    frames = torch.from_numpy(np.array(store.episode(0).frames))[None]
    codes = LearnedFolder(run / "tokenizer").load().encode(frames)[0]
    assert np.array_equal(opened.episode(0), codes.numpy())
    clips = ClipWindows(store, store.actions, frames=4, batch=3, latents=[opened]).batch_at(0)
    assert clips.latents is not None
    assert clips.latents.dtype == torch.int64
    assert clips.latents.shape == (3, 4, 6, 6)


def test_codes_cannot_be_kept_as_floats(store, tmp_path, capsys):
    train_tokenizer(recipe(), store, tmp_path / "run", progress=False)
    options = ["--tokenizer", str(tmp_path / "run"), "--dtype", "float16", "--workers", "1"]
    with pytest.raises(SystemExit, match="2"):
        main(["tokenize", str(store.path), str(tmp_path / "codes"), *options])
    assert "are codes; they are kept as uint16" in capsys.readouterr().err


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_resumed_training_ends_with_the_same_bits(store, tmp_path, adversarial):
    choices = {"adversarial": adversarial, "adversarial_from": 2, "adversarial_warmup": 2, "critic_width": 4}
    whole = train_tokenizer(recipe(**choices), store, tmp_path / "whole", progress=False)
    half = recipe(**choices)
    short = replace(half, trainer=replace(half.trainer, minutes=1e-9))
    train_tokenizer(short, store, tmp_path / "halves", progress=False)  # out of time before the first step
    with pytest.raises(ValueError, match=r"holds another run: trainer\.minutes was 1e-09, is None"):
        train_tokenizer(half, store, tmp_path / "halves", resume=True, progress=False)
    interrupted(half, store, tmp_path / "killed", after=5)
    train_tokenizer(half, store, tmp_path / "killed", resume=True, progress=False)
    one, other = (CheckpointFolder(p / "checkpoints").load() for p in (tmp_path / "whole", tmp_path / "killed"))
    assert whole.step == one.step == other.step == 8
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name
    prints = [LearnedFolder(tmp_path / name / "tokenizer").fingerprint for name in ("whole", "killed")]
    assert prints[0] == prints[1]


def interrupted(config, store, run, after):
    """Train until something raises after so many steps."""
    original = TokenizerTraining.losses

    def losses(self, batch, step):
        if step == after:
            raise KeyError("power")
        return original(self, batch, step)

    TokenizerTraining.losses = losses
    try:
        with pytest.raises(KeyError, match="power"):
            train_tokenizer(config, store, run, progress=False)
    finally:
        TokenizerTraining.losses = original


def test_a_tokenizer_learns_what_frames_look_like(store, tmp_path):
    config = recipe(steps=60)
    quick = WarmupStableDecayConfig(warmup=5, decay=0.3)
    config = replace(config, trainer=replace(config.trainer, schedule=quick))
    train_tokenizer(config, store, tmp_path / "run", progress=False)
    frames = torch.from_numpy(np.array(store.episode(0).frames))[None]
    torch.manual_seed(config.trainer.seed)
    fresh, trained = config.tokenizer.build().eval(), LearnedFolder(tmp_path / "run" / "tokenizer").load()
    error = [(each.decode(each.encode(frames)).float() - frames.float()).abs().mean() for each in (fresh, trained)]
    assert error[1] < 0.5 * error[0]


def test_the_critic_learns_before_the_tokenizer_listens(store):
    config = recipe(adversarial=0.5, adversarial_from=3, adversarial_warmup=2, critic_width=4)
    method = TokenizerTraining(config.tokenizer.build(), config.reconstruction, None)
    batch = ClipWindows(store, store.actions, frames=2, batch=2).batch_at(0)
    roles = [[role for role, loss in method.losses(batch, step)] for step in (2, 3, 5)]
    assert roles == [["tokenizer"], ["tokenizer", "critic"], ["tokenizer", "critic"]]
    heard: list[bool] = []
    for step in (3, 5):
        next(iter(method.losses(batch, step)))
        heard.append("adversarial" in method.metrics)
    assert heard == [False, True]
    for role, loss in method.losses(batch, 5):
        names = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        assert not names, "gradients of one role are another's"
        loss.backward()
        names = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        assert names == {role}
        method.zero_grad()


def test_r10_a_loss_without_its_network_is_an_error_before_the_first_step(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="LPIPS's alex backbone"):
        train_tokenizer(recipe(lpips=0.1), store, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"lpips has the weight 0\.1 and no network"):
        TokenizerTraining(recipe().tokenizer.build(), ReconstructionConfig(lpips=0.1), None)
    assert not (tmp_path / "run").exists()


def test_frames_that_do_not_suit_are_refused_before_the_first_step(store, tmp_path):
    config = replace(recipe(), tokenizer=LearnedTokenizerConfig())
    config = replace(config, tokenizer=replace(config.tokenizer, convolutions=ConvolutionsConfig(widths=(8,) * 4)))
    with pytest.raises(ValueError, match="frames are 24x24 pixels and this tokenizer needs multiples of 16"):
        train_tokenizer(config, store, tmp_path / "run", progress=False)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_recipes_travel_as_json(name):
    config = TOKENIZERS[name]()
    assert TokenizerRunConfig.from_json(config.to_json()) == config
    assert config.recipe == name


def test_averages_are_refused():
    base = recipe()
    with pytest.raises(ValueError, match=r"use trainer\.ema none"):
        replace(base, trainer=replace(base.trainer, ema=EMAConfig()))


def test_a_world_model_is_no_tokenizer(store, tmp_path, capsys):
    (tmp_path / "own.py").write_text(
        "from hallucade.recipes.tokenizers import tokenizer_fsq\n\n\ndef own():\n    return tokenizer_fsq()\n"
    )
    with pytest.raises(SystemExit, match="2"):
        main(["ablate", f"{tmp_path / 'own.py'}", "--store", str(store.path), "--vary", "a=1"])
    assert "a RunConfig trains a world model" in capsys.readouterr().err


def token_world(steps=4) -> RunConfig:
    base = token_small()
    return replace(
        base,
        model=TokenTransformerConfig(width=24, depth=2, heads=2, window=4, code_width=8),
        sampler=MaskGITSamplerConfig(steps=2),
        stages=(Stage(steps=steps, frames=6, batch=3),),
        trainer=replace(base.trainer, steps=steps, compile=False, precision="32-true", checkpoint_every=2),
        prompt_frames=3,
    )


def test_a_world_of_codes_is_trained_and_played_from_its_folder_alone(store, tmp_path):
    train_tokenizer(recipe(), store, tmp_path / "tokens", progress=False)
    tokenizer = PretrainedTokenizerConfig(path=str(tmp_path / "tokens"))
    cache = tokenize(store, tmp_path / "cache", tokenizer)
    train(token_world(), store, tmp_path / "run", latents=[cache], progress=False)
    shutil.rmtree(tmp_path / "tokens")
    shutil.rmtree(tmp_path / "cache")
    world = load(tmp_path / "run", device="cpu")
    session = Session(world, world.prompts[0])
    shown = [session.step(world.actions.idle) for _ in range(3)]
    assert all(frames.shape == (1, 1, 24, 24, 3) for frames in shown)
    again = Session(world, world.prompts[0])
    assert all(torch.equal(again.step(world.actions.idle), frames) for frames in shown)


def test_r24_codes_that_the_tokenizer_has_not_are_refused_before_the_first_step(store, tmp_path, monkeypatch):
    train_tokenizer(recipe(), store, tmp_path / "tokens", progress=False)
    tokenizer, own = PretrainedTokenizerConfig(path=str(tmp_path / "tokens")), LearnedTokenizer.encode_pixels
    good = tokenize(store, tmp_path / "good", tokenizer)
    with monkeypatch.context() as patch:
        patch.setattr(LearnedTokenizer, "encode_pixels", lambda self, pixels: own(self, pixels) + 20)
        patch.setattr(LearnedFolder, "_check_probe", lambda self, tokenizer: None)  # it would have found out
        high = tokenize(store, tmp_path / "high", tokenizer)
    with pytest.raises(StoreError, match=r"episode 0 holds the code \d+, and its tokenizer has 20, counted from 0"):
        train(token_world(), store, tmp_path / "run", latents=[high], progress=False)
    good.manifest = replace(good.manifest, codes=9)
    with pytest.raises(StoreError, match="holds 9 codes, and its tokenizer makes 20 codes"):
        train(token_world(), store, tmp_path / "run", latents=[good], progress=False)
    assert not (tmp_path / "run").exists()


def test_r24_a_cache_of_another_tokenizer_is_refused_before_the_first_step(store, tmp_path):
    for name in ("one", "other"):
        config = recipe(steps=2 if name == "one" else 3)
        train_tokenizer(config, store, tmp_path / name, progress=False)
    made = PretrainedTokenizerConfig(path=str(tmp_path / "one"))
    cache = tokenize(store, tmp_path / "cache", made)
    other = PretrainedTokenizerConfig(path=str(tmp_path / "other"))
    both = f"{cache.manifest.tokenizer_fingerprint}.*{other.pinned().fingerprint}"
    with pytest.raises(StoreError, match=both):
        train(replace(token_world(), tokenizer=other), store, tmp_path / "run", latents=[cache], progress=False)
    shutil.rmtree(cache.path / "tokenizer")
    shutil.copytree(tmp_path / "other" / "tokenizer", cache.path / "tokenizer")
    with pytest.raises(ValueError, match=f"{other.pinned().fingerprint}.*{cache.manifest.tokenizer_fingerprint}"):
        train(token_world(), store, tmp_path / "run", latents=[cache], progress=False)
    assert not (tmp_path / "run").exists()


def test_r1_a_model_of_codes_is_built_for_those_of_its_tokenizer():
    convolutions = ConvolutionsConfig(widths=(8, 12))
    tokenizer = LearnedTokenizerConfig(convolutions=convolutions, bottleneck=VQConfig(codes=7, width=5)).build()
    for config in (token_world().model, RasterTransformerConfig(width=24, depth=2, heads=2)):
        model = config.build_on(tokenizer, PONG_ACTIONS, (24, 24))
        tokens = torch.zeros(1, 3, 6, 6, dtype=torch.int64)
        clip = LatentClip(tokens, torch.zeros(1, 2, model.action_features))
        assert model.forced_logits(clip, tokens[:, 1:]).shape == (1, 2, 6, 6, 7)


@pytest.mark.parametrize("raster", [False, True])
def test_worlds_of_several_codes_a_cell_are_trained_and_played(store, tmp_path, raster):
    """A frame of them is a picture of codes twice as high; raster tokens are the other way to draw one."""
    pytest.importorskip("vector_quantize_pytorch", reason="pip install 'hallucade[quantisers]'")
    several = LearnedTokenizerConfig(
        convolutions=ConvolutionsConfig(widths=(8, 12)), bottleneck=ResidualVQConfig(codes=16, width=6)
    )
    train_tokenizer(replace(recipe(steps=3), tokenizer=several), store, tmp_path / "tokens", progress=False)
    evaluated = evaluate_tokenizer(LearnedFolder(tmp_path / "tokens" / "tokenizer").load(), store)
    assert evaluated.metrics["tokenizer/bits"] == 2 * 36 * 4
    cache = tokenize(store, tmp_path / "cache", PretrainedTokenizerConfig(path=str(tmp_path / "tokens")))
    assert cache.latent_shape == (12, 6)
    world = token_world(steps=2)
    if raster:
        model = RasterTransformerConfig(width=24, depth=2, heads=2, window=4, code_width=8)
        world = replace(world, model=model, objective=RasterTokensConfig(), sampler=RasterSamplerConfig())
    train(world, store, tmp_path / "run", latents=[cache], progress=False)
    played = load(tmp_path / "run", device="cpu")
    frames = Session(played, played.prompts[0]).step(played.actions.idle)
    assert frames.shape == (1, 1, 24, 24, 3)


def test_r1_codes_and_channels_are_not_mixed_up(store, tmp_path):
    train_tokenizer(recipe(), store, tmp_path / "tokens", progress=False)
    codes = PretrainedTokenizerConfig(path=str(tmp_path / "tokens"))
    with pytest.raises(ValueError, match=r"a UNet dreams float channels, and the tokenizer makes one of 20 codes"):
        train(replace(pong_micro(), tokenizer=codes), store, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"a TokenTransformer dreams codes, and the tokenizer makes floats of 3x24x24"):
        train(token_world(), store, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"the MaskGIT sampler fills in codes, and a UNet has none"):
        MaskGITSamplerConfig().view(pong_micro().model.build(store.actions, (3, 24, 24)))
    world = replace(token_world(), tokenizer=codes, sampler=FlowSamplerConfig())
    with pytest.raises(ValueError, match=r"steps through noise levels, and TokenTransformer has none"):
        train(world, store, tmp_path / "run", progress=False)
