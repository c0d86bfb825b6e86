"""A world without learning for tests of play: its dream shows the pressed key, the frame count, the steps and noise."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.games.pong import PONG_ACTIONS
from hallucade.games.registry import make_game
from hallucade.models.base import WorldModel
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import Generators, SamplerConfig, normal
from hallucade.tokenizers.pixel import PixelTokenizer

STAY, UP, DOWN = 0, 1, 2  # Pong's options; the dream lights the channel of the option that is held


class EchoModel(WorldModel[Tensor]):
    """Remembers how many blocks it has seen."""

    def __init__(self, height: int, width: int, block: int = 1) -> None:
        super().__init__()
        self.latent_shape, self.block = (3, height, width), block
        self.weight = nn.Parameter(torch.zeros(()))

    def initial(self, latent: Tensor) -> Tensor:
        return torch.zeros(latent.shape[0])

    def observe(self, state: Tensor, action: Tensor, latent: Tensor) -> Tensor:
        return state + 1

    def fork(self, state: Tensor) -> Tensor:
        return state.clone()


@dataclass(frozen=True, kw_only=True)
class EchoSamplerConfig(SamplerConfig):
    steps: int = 3
    seconds: float = 0.0  # that a block takes

    def build(self) -> "EchoSampler":
        return EchoSampler(self)


class EchoSampler:
    """Paints the last three action features, a channel each; row 0 holds the block count, the steps, and noise."""

    def __init__(self, config: EchoSamplerConfig) -> None:
        self.config = config

    def __call__(self, model: EchoModel, state: Tensor, action: Tensor, generators: Generators) -> Tensor:
        time.sleep(self.config.seconds)
        noise = normal((action.shape[0], model.block, *model.latent_shape), generators, torch.device("cpu"))
        picture = action[:, :, -3:, None, None].expand_as(noise) * 2.0 - 1
        picture = picture.clone()
        picture[:, :, :, 0, 0] = grey(state[:, None, None] + 1)
        picture[:, :, :, 0, 1] = grey(self.config.steps)
        picture[:, :, :, 0, 2:] = noise[:, :, :, 0, 2:].tanh()
        return picture


def grey(level: Any) -> Any:
    """Return the latent of a grey level; levels wrap at 256."""
    return level % 256 / 127.5 - 1


def echo_world(
    height: int = 24,
    width: int = 24,
    *,
    game: str | None = "pong",
    actions: ActionSpace = PONG_ACTIONS,
    block: int = 1,
    prompts: int = 3,
    **sampler: Any,
) -> World:
    """Build a world of three prompts; with `game` they carry simulator states.

    `actions` have three features or more.
    """
    starts = [_prompt(height, width, game, actions, moves=i) for i in range(prompts)]
    return World(
        tokenizer=PixelTokenizer(),
        model=EchoModel(height, width, block),
        sampler=EchoSamplerConfig(**sampler).build(),
        actions=actions,
        frame_size=(height, width),
        fps=30.0,
        game=game,
        prompts=tuple(starts),
    )


def _prompt(height: int, width: int, game: str | None, space: ActionSpace, moves: int) -> Prompt:
    actions = np.stack([space.idle] * 3)
    if game is None:
        return Prompt(np.full((4, height, width, 3), 40 * moves, np.uint8), actions)
    simulator = make_game(game, (height, width))
    move = space.idle
    move[0] = 1  # up, or forward
    for _ in range(moves):
        simulator.act(move)
    frames = [simulator.frame()] + [simulator.act(row)[0] for row in actions]
    return Prompt(np.stack(frames), actions, simulator.get_state())
