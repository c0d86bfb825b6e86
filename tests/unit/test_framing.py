"""Recorded play shown at another size and rate: which frames, what was done between them, and that none is lost."""

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, H, W, random_episode, write_store

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.balance import Balance
from hallucade.data.clips import ClipWindows
from hallucade.data.focus import Focus
from hallucade.data.framing import Framing, frames_between
from hallucade.data.store import EpisodeStore

MOUSE = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="yaw", low=-5, high=5, kind="delta"),))
LENGTHS = [13, 4, 9, 22]  # actions; the second is too short for most windows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "store"
    write_store(path, LENGTHS, validation_share=0.0)
    return EpisodeStore(path)


def test_between_two_shown_frames_turns_add_up_and_a_button_counts_if_it_was_held_at_all():
    rows = np.array([[[0, 1], [1, 2], [0, -4], [0, 0.5], [0, 0.5], [0, 0.5]]], np.float32)
    shown = Framing(stride=3).rows(rows, MOUSE)
    assert shown.tolist() == [[[1, -1], [0, 1.5]]]


@pytest.mark.parametrize(("frames", "stride"), [(2, 3), (3, 2), (4, 5)])
def test_r23_every_window_of_every_stride_comes_once_an_epoch_and_none_crosses_an_episode(store, frames, stride):
    windows = ClipWindows(store, ACTIONS, frames=frames, batch=1, framing=Framing(stride=stride))
    span = (frames - 1) * stride + 1
    episodes = [random_episode(length, i).frames for i, length in enumerate(LENGTHS)]
    legal = {e[s : s + span : stride].tobytes() for e in episodes for s in range(len(e) - span + 1)}
    seen = [windows.batch_at(i).frames.numpy().tobytes() for i in range(len(windows))]
    assert len(windows) == sum(max(length + 2 - span, 0) for length in LENGTHS)  # the last one included
    assert set(seen) == legal
    assert len(set(seen)) == len(seen)


def test_pictures_are_scaled_and_actions_stay_those_between_them(store):
    plain = ClipWindows(store, ACTIONS, frames=5, batch=3).batch_at(2)
    framed = ClipWindows(store, ACTIONS, frames=3, batch=3, framing=Framing((3, 5), 2), pace=0.5)
    clip = framed.batch_at(2)
    assert clip.frames.shape == (3, 3, 3, 5, 3)
    assert (clip.pace, clip.split(3)[1].pace) == (0.5, 0.5)
    expected = plain.frames[:, ::2].unflatten(2, (3, 2)).unflatten(4, (5, 2)).float().mean((3, 5))
    assert (clip.frames.float() - expected).abs().max() <= 0.5
    choice, tilt = plain.actions[..., :3], plain.actions[..., 3:]
    assert torch.equal(clip.actions[..., :3], choice[:, 1::2])  # a choice keeps its last option
    torch.testing.assert_close(clip.actions[..., 3:], (tilt[:, ::2] + tilt[:, 1::2]) / 2)  # a position is averaged


def test_an_episode_is_shown_with_all_that_was_recorded():
    episode, framing = random_episode(8, 3), Framing((3, 5), 3)
    shown = framing.episode(episode, ACTIONS)
    assert shown.frames.shape == (3, 3, 5, 3)
    assert np.array_equal(shown.state, episode.state[:7:3])
    assert np.array_equal(shown.extras["depth"], episode.extras["depth"][:7:3])
    np.testing.assert_allclose(shown.rewards, [episode.rewards[:3].sum(), episode.rewards[3:6].sum()], rtol=1e-6)
    assert shown.actions.shape == (2, 2)


def test_focus_and_balance_judge_what_happens_between_shown_frames_too(store):
    framing = Framing(stride=3)
    focus = Focus(changes=("x",), share=1.0, lead=1, aftermath=0)
    assert ClipWindows(store, ACTIONS, frames=2, batch=2, framing=framing, focus=focus).batch_at(0).frames.shape[1] == 2
    with pytest.raises(ValueError, match="counts changes from frame 2 of a window on, and windows have 2 frames"):
        ClipWindows(store, ACTIONS, frames=2, framing=framing, focus=Focus(changes=("x",), lead=2, aftermath=0))
    with pytest.raises(ValueError, match="lead to frames from 2 on, and windows have 2 frames"):
        ClipWindows(store, ACTIONS, frames=2, framing=framing, balance=Balance(lead=2))


def test_rates_divide_and_sizes_exist(store):
    assert (frames_between(30, 10), frames_between(29.97, 15), frames_between(15, 15)) == (3, 2, 1)
    for shown in (20.0, 60.0):
        with pytest.raises(ValueError, match=f"fps is {shown:g} and the play has 30 frames a second; use a whole part"):
            frames_between(30, shown)
    with pytest.raises(ValueError, match=r"size is \(0, 5\); give a height and width"):
        Framing((0, 5))
    assert Framing.of(store, (H, W), 5.0) == Framing(None, 3)
