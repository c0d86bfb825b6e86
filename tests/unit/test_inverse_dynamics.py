"""Inverse dynamics: what its windows hold, how actions are told, and what it learns in seconds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from slide_game import SLIDE, clip

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.methods.inverse_dynamics_training import (
    HEAVIEST,
    InverseDynamicsTraining,
    InverseDynamicsTrainingConfig,
    control_losses,
    control_weights,
)
from hallucade.models.inverse_dynamics import ControlLogits, ControlTargets, InverseDynamicsConfig
from hallucade.nn.frame_trunk import DIFFERENCE, FrameTrunkConfig, stacked_frames
from hallucade.nn.mu_law import MuLawConfig
from hallucade.training.optimizers import OptimizerConfig

PLAY = ActionSpace(
    buttons=(Button(name="fire"), Button(name="jump")),
    choices=(Choice(name="gear", options=("neutral", "first", "second")),),
    axes=(Axis(name="yaw", low=-10, high=20, kind="delta"), Axis(name="gas", low=0, high=2)),
)
TINY = InverseDynamicsConfig(before=1, after=0, trunk=FrameTrunkConfig(widths=(8, 8), features=16))


def test_mu_law_bins_are_those_of_the_formula() -> None:
    bins = MuLawConfig(bins=11, mu=10.0)
    centres = bins.centres()
    assert bins.bin_of(centres).tolist() == list(range(11))
    assert centres[[5, 0, 10]].tolist() == pytest.approx([0, -1, 1])
    bent = np.log1p(10 * 0.2) / np.log1p(10)  # MineWorld: 2 degrees of 10
    assert bins.bin_of(torch.tensor([0.2, -0.2, 7.0])).tolist() == [round(5 + 5 * bent), round(5 - 5 * bent), 10]


@pytest.mark.parametrize(("change", "message"), [({"bins": 4}, "odd"), ({"mu": 0.0}, "positive")])
def test_bins_that_are_none_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MuLawConfig(**change)  # type: ignore[arg-type]


def test_windows_hold_one_frame_as_it_is_and_what_changes() -> None:
    frames = torch.randint(0, 256, (2, 3, 4, 6, 3), dtype=torch.uint8)
    stacked = stacked_frames(frames, 1)
    pixels = frames.movedim(-1, 2).float() / 127.5 - 1
    assert stacked.shape == (2, 9, 4, 6)
    torch.testing.assert_close(stacked[:, :3], pixels[:, 1])
    torch.testing.assert_close(stacked[:, 6:], DIFFERENCE * (pixels[:, 2] - pixels[:, 1]))


def test_the_action_in_the_middle_is_the_one_that_is_told() -> None:
    network = replace(TINY, before=2, after=1).build(SLIDE, (8, 12))
    batch = clip(0, batch=3, frames=7)
    assert network.stacked(batch.frames).shape[0] == 3 * (7 - 5 + 1)
    told = network.told(batch.actions).reshape(3, 3)
    assert torch.equal(told, batch.actions[:, 2:5].argmax(-1).float())


def test_rows_are_read_as_they_were_told() -> None:
    network = InverseDynamicsConfig(reach=0.5, trunk=TINY.trunk).build(PLAY, (8, 8))
    rows = torch.tensor([[1.0, 0.0, 2.0, -5.0, 0.25], [0.0, 1.0, 0.0, 15.0, 2.0]])
    targets = network.targets(rows)
    assert targets.buttons.tolist() == [[1, 0], [0, 1]]
    assert targets.choices.tolist() == [[2], [0]]
    assert targets.bins[1].tolist() == [10, 10]  # both beyond half of their range
    sure = ControlLogits(
        100 * (2 * targets.buttons - 1),
        (100 * torch.nn.functional.one_hot(targets.choices[:, 0], 3).float(),),
        100 * torch.nn.functional.one_hot(targets.bins, 11).float(),
    )
    read = network.rows(sure)
    assert torch.equal(read[:, :3], rows[:, :3])
    assert torch.equal(network.targets(read).bins, targets.bins)
    assert read[1, 3:].tolist() == pytest.approx([10.0, 1.0])  # the outermost bins stand for half of the range


def test_an_undecided_axis_is_read_as_the_mean_of_its_bins() -> None:
    network = TINY.build(ActionSpace(axes=(PLAY.axes[0],)), (8, 8))
    halves = torch.full((1, 1, 11), -100.0)
    halves[..., [2, 8]] = 0.0
    assert network.rows(ControlLogits(torch.zeros(1, 0), (), halves))[0, 0] == pytest.approx(0, abs=1e-5)


def test_what_is_rare_weighs_more_and_what_never_comes_no_more() -> None:
    rows = np.zeros((100, 5), np.float32)
    rows[:4, 0] = 1  # fire: 4 in 100; jump never
    rows[:20, 2] = 1
    half = control_weights(PLAY, rows, 0.5)
    assert half.buttons.tolist() == pytest.approx([24**0.5, 1.0])
    shares = np.array([0.8, 0.2])
    rarity = shares**-0.5
    assert half.choices[0].tolist() == pytest.approx([*(rarity / (shares * rarity).sum()), 0.0])
    assert control_weights(PLAY, rows, 0.0).buttons.tolist() == [1.0, 1.0]
    assert control_weights(PLAY, np.concatenate([rows, np.zeros((10**4, 5), np.float32)]), 1.0).buttons[0] == HEAVIEST


def test_losses_are_means_over_controls() -> None:
    logits = ControlLogits(torch.zeros(3, 2), (torch.zeros(3, 3),), torch.zeros(3, 2, 11))
    targets = ControlTargets(torch.zeros(3, 2), torch.ones(3, 1).long(), torch.ones(3, 2).long())
    rows = np.zeros((10, 5), np.float32)
    rows[:, 2] = 1
    parts = control_losses(logits, targets, control_weights(PLAY, rows, 0.5))
    found = {name: float(loss) for name, loss in parts.items()}
    assert found == pytest.approx({"buttons": np.log(2), "choices": np.log(3), "axes": np.log(11)}, rel=1e-5)


def test_it_learns_to_read_a_sliding_square() -> None:
    torch.manual_seed(0)
    network = TINY.build(SLIDE, (8, 12))
    weights = control_weights(SLIDE, clip(0, 1, 90).actions[0].argmax(-1, keepdim=True).float().numpy(), 0.5)
    method = InverseDynamicsTraining(network, InverseDynamicsTrainingConfig(), weights)
    optimizer = OptimizerConfig(learning_rate=3e-3, muon_learning_rate=3e-3).build(network)
    for step in range(60):
        ((role, loss),) = method.losses(clip(step, batch=16, frames=5), step)
        network.zero_grad()
        loss.backward()
        optimizer.step(1.0)
    assert role == "inverse_dynamics"
    held_out = clip(10**6, batch=40, frames=6)
    read = network.eval().read(held_out.frames, batch=7)
    assert read.shape == (40, 4, 1)
    assert (read[..., 0] == held_out.actions[:, 1:].argmax(-1)).float().mean() > 0.95


def test_clips_that_it_cannot_read_are_refused_with_both_numbers() -> None:
    network = TINY.build(SLIDE, (8, 12))
    with pytest.raises(ValueError, match="the frames are 8x8 pixels, and this inverse dynamics model reads 8x12"):
        network.read(torch.zeros(1, 5, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"clips have 2 frames, .* off 3 \(1 before, 0 after it\)"):
        network.read(torch.zeros(1, 2, 8, 12, 3, dtype=torch.uint8))


@pytest.mark.parametrize("change", [{"before": -1}, {"after": -2}, {"reach": 0.0}, {"reach": 1.5}])
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is"):
        replace(TINY, **change)
