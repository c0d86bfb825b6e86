"""The recipes at Matrix-Game 2's size: their numbers on the meta device, and twins of a few thousand weights."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import tiny_config

from hallucade.data.clips import Clip
from hallucade.methods.base import freeze
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.models.base import WorldModel
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.keyboard_mouse import MATRIX_GAME_2
from hallucade.recipes import matrix_game
from hallucade.recipes.matrix_game import KEYS, LATENT, matrix_game_model
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import method_of
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.trainer import Trainer

RECIPES = [
    matrix_game.matrix_game_teacher,
    matrix_game.matrix_game_causal,
    matrix_game.matrix_game_self_forcing,
    matrix_game.matrix_game_streaming,
]
SMALL = (16, 4, 6)  # a latent of the twins


def on_meta(stride: int) -> WorldModel:
    with torch.device("meta"):
        return matrix_game_model(stride=stride).build(KEYS, LATENT)


def expected_size(channels: int, frames: int) -> int:
    """Parameters, counted from the paper's sizes: width 1536, 30 blocks, keys and mouse in the first 15."""
    width, hidden = 1536, 8960
    attention = (width + 1) * 3 * width + (width + 1) * width + 2 * width // 12
    feed_forward = (width + 1) * hidden + (hidden + 1) * width
    modulation = (width + 1) * 6 * width
    mouse = (width + 2 * frames + 1) * 1024 + 1025 * 1024 + 2 * 1024 + 3 * 1024**2 + 2 * 64 + 1024 * width
    keys = 5 * 128 + 129 * 128 + width * 1024 + frames * 128 * 2048 + 2 * 64 + 1024 * width
    blocks = 30 * (attention + feed_forward + modulation) + 15 * (mouse + keys)
    ends = (4 * channels + 1) * width + (width + 1) * 2 * width + (width + 1) * 4 * 16
    return blocks + ends


@pytest.mark.parametrize(("stride", "channels", "total"), [(1, 33, 1_711_208_518), (4, 36, 1_746_892_888)])
def test_the_network_has_the_public_size_where_it_has_the_public_parts(stride: int, channels: int, total: int) -> None:
    network = on_meta(stride)
    assert network.embed.project.in_features == 4 * channels  # a patch of 2 x 2
    assert sum(p.numel() for p in network.parameters()) == total
    levels = sum(p.numel() for p in network.embed_level.parameters())
    actions = network.no_action.numel()
    assert total == expected_size(channels, 3 * stride) + levels + actions
    assert network.rows * network.positions.columns == 22 * 40 == 880  # tokens a latent


def test_four_steps_are_the_published_levels() -> None:
    levels = FewStepSamplerConfig(steps=4, shift=matrix_game.SHIFT).build().levels
    assert [1000 * level for level in levels] == pytest.approx([1000, 937.5, 833.3333, 625])
    assert matrix_game.matrix_game_self_forcing().sampler.build().levels == levels


def test_a_sequence_of_39_latents_is_drawn_in_the_published_chunks() -> None:
    config = matrix_game.matrix_game_streaming()
    assert isinstance(config.method, StreamingLongTuningConfig)
    walk = config.method.walk(0, matrix_game.HORIZON, matrix_game.BLOCK)
    ends = [(chunk.start, chunk.end, chunk.overlap) for chunk in walk.chunks()]
    assert ends[0][:2] == (0, 9)
    assert ends[1:] == [(9 + 6 * i, 15 + 6 * i, 3) for i in range(5)]
    assert math.gcd(len(ends), config.method.student_every) == 1  # the student learns in every place of a sequence


class Latents(Tokenizer):
    lossless = True

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    decode = encode

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return SMALL


class LatentClips:
    def __init__(self, frames: int) -> None:
        self.frames = frames

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        generator = torch.Generator().manual_seed(step)
        latents = torch.randn(2, self.frames, *SMALL, generator=generator)
        actions = torch.rand(2, self.frames - 1, KEYS.features, generator=generator)
        return Clip(torch.empty((2, self.frames, 0, 0, 3), dtype=torch.uint8), actions, step, latents=latents)


def twin(config: RunConfig) -> RunConfig:
    """Return the recipe with a network of a few thousand weights; all that says how it learns stays."""
    assert isinstance(config.model, DiffusionTransformerConfig)
    keys = replace(MATRIX_GAME_2, blocks=1, width=8, heads=2, key_features=4)
    return replace(config, model=replace(config.model, width=24, depth=2, heads=2, injection=keys))


def taught(config: RunConfig) -> WorldModel:
    """Return a network that has learnt something: fresh ones all predict alike, and cannot teach each other."""
    network = config.model.build(KEYS, SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return network


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_twin_trains_two_steps(recipe: Callable[[], RunConfig], tmp_path: Path) -> None:
    config, teacher = twin(recipe()), twin(matrix_game.matrix_game_teacher())
    networks = {"model": taught(config)}
    if config.method is not None:
        networks |= {"critic": taught(teacher), "teacher": freeze(taught(teacher))}
    method = method_of(config, Latents(), networks)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    settings = tiny_config(steps=2, optimizer=config.trainer.optimizer, role_optimizers=config.trainer.role_optimizers)
    clips = LatentClips(config.stages[0].frames)
    trainer = Trainer(settings, method, clips, tmp_path / "run", run_config={}, progress=False)
    assert trainer.train().skipped == 0
    changed = {name.split(".")[0] for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"model"} | ({"critic"} if config.method else set())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_what_it_lacks_before_anything_is_read(recipe: Callable[[], RunConfig]) -> None:
    config = recipe()
    assert config.recipe == recipe.__name__
    assert RunConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="16x44x80 made by an image autoencoder of 16 channels"):
        config.tokenizer.build()
