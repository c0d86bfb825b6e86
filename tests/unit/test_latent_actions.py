"""Latent actions: what the encoder and the decoder see, how codes are numbered, and that they become actions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slide_game import SLIDE, clip

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.evaluation.latent_action_check import (
    action_metrics,
    code_metrics,
    contingency,
    entropy,
    mutual_information,
)
from hallucade.methods.latent_action_training import LatentActionTraining, LatentActionTrainingConfig
from hallucade.models.latent_actions import LatentActionsConfig, shifted
from hallucade.nn.frame_trunk import FrameTrunkConfig
from hallucade.recipes.labelled_play import KEYS, latent_action_space
from hallucade.tokenizers.bottlenecks.gaussian import GaussianConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig
from hallucade.training.optimizers import OptimizerConfig

SIZE = (8, 12)
TINY = LatentActionsConfig(
    past=1,
    bottleneck=VQConfig(codes=3, width=4, commitment=0.25, decay=0.95, patience=20),
    encoder=FrameTrunkConfig(widths=(16, 16), features=32, pooled=True),
    widths=(16,),
    condition=16,
)


def test_codes_become_the_actions_that_nobody_told() -> None:
    torch.manual_seed(0)
    network, steps = TINY.build(SIZE), 200
    method = LatentActionTraining(network, LatentActionTrainingConfig(), steps)
    optimizer = OptimizerConfig(learning_rate=2e-3, muon_learning_rate=2e-3).build(network)
    for step in range(steps):
        ((role, loss),) = method.losses(replace(clip(step, 32, 3), actions=torch.zeros(32, 2, 3)), step)
        network.zero_grad()
        loss.backward()
        optimizer.step(min(1.0, (step + 1) / 10, (steps - step) / 80))
    assert role == "latent_actions"
    assert set(method.metrics) == {"next_frame", "commitment", "perplexity", "codes_used"}
    held_out = clip(10**6, 64, 3)
    network.eval()
    codes = network.codes_of(network.windows(held_out.frames)).numpy()
    rows = held_out.actions.argmax(-1).flatten()[:, None].float().numpy()
    found = action_metrics(SLIDE, codes, rows, np.random.default_rng(0))
    assert found["one_to_one"] > 0.97
    assert found["information_share"] > 0.9
    assert network.counts.sum() == pytest.approx(1, abs=0.35)  # a running mean of shares
    whole = network.actions(held_out.frames[0])
    assert torch.equal(whole, torch.from_numpy(codes[:2]))


def test_the_decoder_never_sees_the_next_frame_but_through_the_code() -> None:
    network = replace(TINY, past=2).build(SIZE).eval()
    torch.nn.init.normal_(network.decoder.head.weight)
    windows = network.windows(clip(0, 2, 4).frames)
    assert windows.shape == (4, 3, *SIZE, 3)
    told = network.predicted(windows, torch.zeros(4, dtype=torch.int64))
    windows[:, -1] = 0
    assert torch.equal(network.predicted(windows, torch.zeros(4, dtype=torch.int64)), told)
    windows[:, 0] = 255
    assert not torch.equal(network.predicted(windows, torch.zeros(4, dtype=torch.int64)), told)


def test_the_encoder_sees_the_frames_that_it_is_given_and_no_others() -> None:
    for seen, changes in ((1, False), (2, True)):
        network = replace(TINY, past=2, seen=seen).build(SIZE).eval()
        windows = network.windows(clip(0, 2, 3).frames)
        before = network._encoded(windows)
        windows[:, 0] = 255
        assert torch.equal(network._encoded(windows), before) != changes


def test_codes_are_numbered_by_how_often_they_came() -> None:
    network = TINY.build(SIZE).eval()
    network.counts.copy_(torch.tensor([0.2, 0.5, 0.3]))
    windows = network.windows(clip(0, 5, 3).frames)
    own = network.bottleneck.latents(network._encoded(windows)).flatten()
    assert torch.equal(network.codes_of(windows), torch.tensor([2, 0, 1])[own])
    torch.nn.init.normal_(network.decoder.head.weight)
    torch.nn.init.normal_(network.embed.weight)
    assert torch.equal(
        network.predicted(windows, network.codes_of(windows)),
        network._decoded(windows[:, :1], network.bottleneck.features(own[:, None, None])),
    )


def test_windows_are_shifted_down_and_right_and_repeat_their_edge() -> None:
    frames = torch.randint(0, 256, (2, 3, 5, 7, 3), dtype=torch.uint8)
    moved = shifted(frames, torch.tensor([[2, -1], [0, 0]]))
    assert torch.equal(moved[1], frames[1])
    assert torch.equal(moved[0, :, 2:, :6], frames[0, :, :3, 1:])
    assert torch.equal(moved[0, :, 1, :6], frames[0, :, 0, 1:])


def test_an_episode_is_read_from_its_first_action_on() -> None:
    network = replace(TINY, past=3).build(SIZE).eval()
    frames = clip(0, 1, 9).frames[0]
    assert network.actions(frames, batch=3).shape == (8,)
    assert torch.equal(network.actions(frames, batch=3), network.actions(frames))


def test_information_is_that_of_hand_counts_and_absent_without_actions(rng: np.random.Generator) -> None:
    assert entropy(np.array([0.5, 0.25, 0.25, 0.0])) == pytest.approx(1.5)
    assert mutual_information(np.array([[5, 0], [0, 5]])) == pytest.approx(1)
    assert mutual_information(np.array([[4, 2], [2, 1]])) == pytest.approx(0)
    assert contingency(np.array([0, 0, 2]), np.array([1, 1, 0])).tolist() == [[0, 2], [0, 0], [1, 0]]
    codes = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    rows = np.array([0, 0, 1, 1, 1, 1, 0, 0], np.float32)[:, None]
    fire = ActionSpace(buttons=(Button(name="fire"),))
    found = action_metrics(fire, codes, rows, rng)
    assert found["one_to_one"] == pytest.approx(4 / 8)
    assert found["many_to_one"] == pytest.approx(7 / 8)
    assert found["commonest"] == pytest.approx(4 / 8)
    assert found["information_share/fire"] == pytest.approx(found["information_share"])
    assert action_metrics(fire, codes, np.zeros((8, 1), np.float32), rng) == {}
    assert code_metrics(np.array([0, 0, 1, 1]), 4) == {"usage": 0.5, "perplexity": pytest.approx(2.0)}


def test_of_an_axis_its_sign_counts(rng: np.random.Generator) -> None:
    yaw = ActionSpace(axes=(Axis(name="yaw", low=-10, high=10, kind="delta"),))
    rows = np.array([-3, -0.5, 0, 0, 2, 9], np.float32)[:, None]
    found = action_metrics(yaw, np.array([0, 0, 1, 1, 2, 2]), rows, rng)
    assert found["one_to_one"] == pytest.approx(1)
    assert found["information_share"] == pytest.approx(1)


def test_every_latent_action_has_a_key_and_the_commonest_is_held_where_none_is() -> None:
    space = latent_action_space(12)
    assert space.from_keys([]).tolist() == [0]
    assert [space.from_keys([key]).tolist() for key in ("Digit1", "Digit3", "Digit0", "KeyW")] == [[0], [2], [9], [11]]
    assert len(set(KEYS)) == len(KEYS) == 36


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"past": 0}, "past is 0"),
        ({"seen": 2}, "seen is 2 frames of a past of 1"),
        ({"widths": (12,)}, "multiples of 8"),
        ({"bottleneck": VQConfig(codes=37)}, "the bottleneck has 37 codes; latent actions are 2 to 36"),
        ({"bottleneck": GaussianConfig()}, "has None codes"),
        ({"patch": 4, "widths": (16, 16)}, "frames are 8x12 pixels, and this decoder needs multiples of 8"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change).build(SIZE)


@pytest.mark.parametrize("change", [{"free": 1.0}, {"noise": -1.0}, {"shift": -1}, {"motion_weight": -0.1}])
def test_impossible_trainings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"use 0 or more|share of the steps"):
        LatentActionTrainingConfig(**change)  # type: ignore[arg-type]
