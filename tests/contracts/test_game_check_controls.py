"""The Pong check against worlds whose faults are known: a score that cannot tell them apart is worth nothing."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hallucade.evaluation.game_check.pong import PongCheckConfig, evaluate_pong
from hallucade.evaluation.game_check.pong_truth import held_out_games
from hallucade.evaluation.result import Evaluation
from hallucade.games.pong import BALL_X, PONG_ACTIONS, PongConfig
from hallucade.models.base import WorldModel
from hallucade.rollout import Prompt, World
from hallucade.samplers.base import Generators
from hallucade.tokenizers.pixel import PixelTokenizer

RULES = PongConfig()
CONFIG = PongCheckConfig(
    rollouts=12,
    horizon=112,
    horizons=(1, 8, 32),
    switching=48,
    response_rollouts=12,
    survival_rollouts=3,
    survival_frames=260,
    batch=5,
    shown=2,
    shown_frames=5,
    seed=3,
)
BALL_DELETED_AT = 100


@dataclass(frozen=True)
class Memory:
    """Everything that a control may remember, a row a game."""

    state: np.ndarray  # simulator states, float64
    previous: tuple[np.ndarray, ...]  # actions that were pressed, newest last, as raw rows
    frames: int  # dreamed so far


class Simulator(WorldModel[Memory]):
    """The true game as a world model: every control is a fault built into it."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))  # worlds live where their weights are

    def initial(self, latent: Tensor) -> Memory:
        raise AssertionError("controls start from simulator states")

    def fork(self, state: Memory) -> Memory:
        return state

    def observe(self, state: Memory, action: Tensor, latent: Tensor) -> Memory:
        row = self.heard(state, _row(action))
        return Memory(_advance(state.state, row), (*state.previous, _row(action)), state.frames + 1)

    def heard(self, state: Memory, row: np.ndarray) -> np.ndarray:
        """Return the action rows that the game really gets."""
        return row

    def picture(self, state: Memory, row: np.ndarray, generators: Generators) -> np.ndarray:
        """Draw the next frame."""
        return _draw(_advance(state.state, self.heard(state, row)))


class CopyLast(Simulator):
    def picture(self, state: Memory, row: np.ndarray, generators: Generators) -> np.ndarray:
        return _draw(state.state)

    def observe(self, state: Memory, action: Tensor, latent: Tensor) -> Memory:
        return state


class ActionBlind(Simulator):
    def heard(self, state: Memory, row: np.ndarray) -> np.ndarray:
        return np.zeros_like(row)


class WrongDirection(Simulator):
    def heard(self, state: Memory, row: np.ndarray) -> np.ndarray:
        return np.choose(row.astype(np.int64), [0, 2, 1]).astype(np.float32)


class Delayed(Simulator):
    def heard(self, state: Memory, row: np.ndarray) -> np.ndarray:
        return state.previous[-2] if len(state.previous) > 1 else np.zeros_like(row)


class BallDeleted(Simulator):
    def picture(self, state: Memory, row: np.ndarray, generators: Generators) -> np.ndarray:
        frames = super().picture(state, row, generators)
        white = (frames.min(-1, keepdims=True) > 60) & (state.frames >= BALL_DELETED_AT)
        return np.where(white, np.array([6, 24, 24], np.uint8), frames)


class Noisy(Simulator):
    def picture(self, state: Memory, row: np.ndarray, generators: Generators) -> np.ndarray:
        frames = super().picture(state, row, generators)
        noise = np.stack([torch.randn(frames.shape[1:], generator=g).numpy() for g in generators])
        return np.clip(frames + 12 * noise, 0, 255).astype(np.uint8)


class Drawn:
    """The sampler of every control."""

    def __call__(self, model: Simulator, state: Memory, action: Tensor, generators: Generators) -> Tensor:
        frames = model.picture(state, _row(action), generators)
        return PixelTokenizer().encode(torch.from_numpy(frames)[:, None])


class ControlWorld(World):
    """Starts from the prompts' simulator states instead of their frames."""

    def prefill(self, prompts: Any) -> Memory:
        held = tuple(np.stack([p.actions[i] for p in prompts]) for i in range(len(prompts[0].actions)))
        return Memory(np.stack([p.state for p in prompts]), held, 0)


def _row(action: Tensor) -> np.ndarray:
    return action[:, 0].argmax(-1, keepdim=True).float().numpy()


def _advance(state: np.ndarray, row: np.ndarray) -> np.ndarray:
    games = RULES.build()
    games.set_state(state)
    games.act(row)
    return games.get_state()


def _draw(state: np.ndarray) -> np.ndarray:
    games = RULES.build()
    games.set_state(state)
    return games.frames()


def world_of(model: Simulator) -> World:
    return ControlWorld(PixelTokenizer(), model, Drawn(), PONG_ACTIONS, (24, 24), 30.0, "pong")


@cache
def judged(control: type[Simulator]) -> Evaluation:
    return evaluate_pong(world_of(control()), CONFIG)


def test_the_simulator_is_perfect():
    found = judged(Simulator).metrics
    for name in ("paddle_error_px@32", "paddle_error_max_px@32", "ball_error_px@8", "ball_error_p90_px@32"):
        assert found[f"pong/{name}"] < 0.02, name
    assert found["pong/response_direction"] == 1
    assert found["pong/response_gain"] == pytest.approx(1, abs=0.01)
    assert found["pong/response_lag"] == 0
    assert found["pong/response_drift_px"] < 0.02
    assert found["pong/one_ball_share@64"] == found["pong/one_ball_share@260"] == found["pong/survival@260"] == 1
    assert found["pong/violations_per_1000/any"] == found["pong/real_violations_per_1000/any"] == 0
    assert found["pong/frames_to_violation"] == 64
    assert found["pong/psnr@32"] == 100
    print({k: v for k, v in found.items()})
