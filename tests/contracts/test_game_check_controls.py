"""The Pong check against worlds whose faults are known: a score that cannot tell them apart is worth nothing."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hallucade.evaluation.game_check.pong import PongCheckConfig, evaluate_pong
from hallucade.evaluation.result import Evaluation
from hallucade.games.pong import PONG_ACTIONS, PongConfig
from hallucade.models.base import WorldModel
from hallucade.rollout import World
from hallucade.samplers.base import Generators
from hallucade.tokenizers.pixel import PixelTokenizer

RULES = PongConfig()
GAMES = RULES.build()
CONFIG = PongCheckConfig(
    rollouts=12,
    horizon=48,
    warm_up=(8, 40),
    horizons=(1, 8, 32),
    switching=40,
    response_rollouts=12,
    survival_rollouts=3,
    survival_frames=60,
    batch=12,
    shown=2,
    shown_frames=5,
    seed=3,
)
BALL_DELETED_AT = 40


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

    def prefill(self, prompts: Any, generators: Any = None) -> Memory:
        held = tuple(np.stack([p.actions[i] for p in prompts]) for i in range(len(prompts[0].actions)))
        return Memory(np.stack([p.state for p in prompts]), held, 0)


def _row(action: Tensor) -> np.ndarray:
    return action[:, 0].argmax(-1, keepdim=True).float().numpy()


def _advance(state: np.ndarray, row: np.ndarray) -> np.ndarray:
    GAMES.set_state(state)
    GAMES.act(row)
    return GAMES.get_state()


def _draw(state: np.ndarray) -> np.ndarray:
    GAMES.set_state(state)
    return GAMES.frames()


def world_of(model: Simulator) -> World:
    return ControlWorld(PixelTokenizer(), model, Drawn(), PONG_ACTIONS, (24, 24), 30.0, "pong")


@cache
def judged(control: type[Simulator]) -> Evaluation:
    return evaluate_pong(world_of(control()), CONFIG)


def test_the_simulator_is_perfect():
    found = judged(Simulator).metrics
    for name in (
        "paddle_error_worst_px@32",
        "paddle_error_max_px@32",
        "opponent_error_max_px@32",
        "ball_error_p90_px@32",
    ):
        assert found[f"pong/{name}"] < 0.1, name
    assert found["pong/ball_error_px@8"] < 0.01
    assert found["pong/response_direction"] == 1
    assert found["pong/response_gain"] == pytest.approx(1, abs=0.01)
    assert found["pong/response_lag"] == 0
    assert found["pong/response_drift_px"] < 0.02
    assert found["pong/one_ball_share@48"] == found["pong/one_ball_share@60"] == found["pong/survival@60"] == 1
    assert found["pong/violations_per_1000/any"] == found["pong/real_violations_per_1000/any"] == 0
    assert found["pong/frames_to_violation"] == CONFIG.horizon
    assert found["pong/psnr@32"] == found["pong/psnr_moving@32"] == 100
    assert found["pong/ssim@32"] == pytest.approx(1, abs=1e-4)
    assert found["pong/valid_horizon"] >= found["pong/valid_horizon_observer"] >= 32


def test_a_frozen_picture_is_the_copy_last_baseline_and_no_living_game():
    found = judged(CopyLast).metrics
    assert found["pong/ball_error_px@8"] == pytest.approx(found["pong/copy_last_ball_error_px@8"], abs=0.02)
    assert found["pong/paddle_error_px@32"] == pytest.approx(found["pong/copy_last_paddle_error_px@32"], abs=0.02)
    assert found["pong/ball_error_px@1"] == pytest.approx(RULES.ball_speed, abs=0.02)
    assert found["pong/valid_horizon"] == 2  # two steps of 0.75 are within one ball, three are not
    assert found["pong/survival@60"] == 0
    assert found["pong/one_ball_share@60"] == 1  # the ball is there, it only does not move
    assert found["pong/violations_per_1000/ball_speed"] > 500
    assert "pong/response_lag" not in found


@pytest.mark.parametrize("control", [CopyLast, ActionBlind])
def test_deaf_worlds_do_not_respond(control: type[Simulator]):
    found = judged(control).metrics
    assert found["pong/response_direction"] == 0
    assert found["pong/response_gain"] == pytest.approx(0, abs=0.01)
    assert found["pong/action_swap_ratio"] == pytest.approx(1)
    assert found["pong/delta_psnr@8"] == 0


def test_actions_matter_to_the_simulator_and_less_to_a_late_one():
    ratio = {
        control: judged(control).metrics["pong/action_swap_ratio"] for control in (Simulator, Delayed, ActionBlind)
    }
    assert ratio[Simulator] > 10 * ratio[Delayed] > 10 * ratio[ActionBlind]
    assert judged(Simulator).metrics["pong/delta_psnr@8"] > 3


def test_reversed_controls_go_the_wrong_way():
    found = judged(WrongDirection).metrics
    assert found["pong/response_direction"] == 0
    assert -1.01 < found["pong/response_gain"] < -0.4  # walls stop some of the wrong ways
    assert found["pong/paddle_error_px@32"] > judged(ActionBlind).metrics["pong/paddle_error_px@32"]
    assert found["pong/violations_per_1000/any"] == 0  # it is a lawful game, only not the player's


def test_a_late_answer_shows_as_lag_and_not_as_gain():
    found = judged(Delayed).metrics
    assert found["pong/response_lag"] == 2
    assert found["pong/response_direction"] == 1
    assert found["pong/response_gain"] == pytest.approx(1, abs=0.01)
    assert 0.1 < found["pong/paddle_error_px@32"] < judged(ActionBlind).metrics["pong/paddle_error_px@32"]


def test_a_vanished_ball_is_noticed_at_once():
    found = judged(BallDeleted).metrics
    lost = CONFIG.horizon - BALL_DELETED_AT
    assert found["pong/frames_to_violation"] == BALL_DELETED_AT
    assert found["pong/violations_per_1000/one_ball"] == pytest.approx(1000 * lost / CONFIG.horizon)
    assert found["pong/one_ball_share@60"] == pytest.approx(BALL_DELETED_AT / 60)
    assert found["pong/survival@60"] == 0
    assert found["pong/ball_error_p90_px@32"] < 0.1  # until then it was right


def test_noise_costs_likeness_and_hardly_any_state():
    noisy, clean = judged(Noisy).metrics, judged(Simulator).metrics
    assert noisy["pong/psnr@8"] < 35 < clean["pong/psnr@8"]
    assert clean["pong/ball_error_px@8"] < noisy["pong/ball_error_px@8"] < 0.2
    assert noisy["pong/one_ball_share@48"] > 0.98
    assert noisy["pong/response_lag"] == 0


def test_the_batch_changes_nothing():
    small = replace(CONFIG, rollouts=7, response_rollouts=7, batch=3, survival_rollouts=2, survival_frames=20)
    assert (
        evaluate_pong(world_of(Noisy()), small).metrics
        == evaluate_pong(world_of(Noisy()), replace(small, batch=7)).metrics
    )


def test_every_metric_is_a_finite_number_and_the_protocol_is_told():
    evaluation = judged(BallDeleted)
    assert all(np.isfinite(value) for value in evaluation.metrics.values())
    assert all(isinstance(value, float | int) for value in evaluation.metrics.values())
    assert "seed 3" in evaluation.protocol["Pong: starts"]
    assert len(evaluation.videos) == 2
    assert len(evaluation.plots) == 7


def test_progress_reaches_the_end_and_never_goes_back():
    told: list[tuple[str, float]] = []
    small = replace(CONFIG, rollouts=4, response_rollouts=3, swap_frames=8, survival_frames=20)
    evaluate_pong(world_of(CopyLast()), small, lambda stage, share: told.append((stage, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert len({stage for stage, _ in told}) == 4
