"""toy-wm's Pong: which action belongs to which frame, how the recording is cut, and what is said of damage."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.damage import cuts, refusals
from samples.toy_wm import BACKGROUND, FRAMES, Played, write_toy_wm

from hallucade.data.collect import collect
from hallucade.data.importers.registry import guess_format
from hallucade.data.importers.toy_wm import ToyWmConfig
from hallucade.data.source import SourceError

LENGTH = 50


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Played]:
    folder = tmp_path_factory.mktemp("pong") / "pong1M"
    return folder, write_toy_wm(folder)


@pytest.fixture
def sample(written: tuple[Path, Played], tmp_path: Path) -> tuple[Path, Played]:
    return Path(shutil.copytree(written[0], tmp_path / "pong1M")), written[1]


def config(folder: Path) -> ToyWmConfig:
    return ToyWmConfig(path=str(folder), episode_frames=LENGTH)


def test_the_recording_is_cut_into_stretches_that_leave_no_frame_out(
    sample: tuple[Path, Played], tmp_path: Path
) -> None:
    assert guess_format(sample[0]) == "toy-wm"
    store = collect(config(sample[0]), tmp_path / "s").store
    played = sample[1]
    assert [record.frames for record in store.episodes] == [50, 50, 50, 7]
    assert (store.fps, store.frame_size) == (30, (24, 24))
    episodes = [store.episode(i) for i in range(4)]
    np.testing.assert_array_equal(np.concatenate([episode.frames for episode in episodes]), played.frames)
    assert episodes[0].frames[0, 0, 0].tolist() == list(BACKGROUND)
    for index, episode in enumerate(episodes):
        rows = slice(index * LENGTH, index * LENGTH + len(episode.actions))
        np.testing.assert_array_equal(episode.actions[:, 0], played.actions[rows])
        assert episode.rewards is not None
        np.testing.assert_array_equal(episode.rewards, played.rewards[rows])


def test_action_i_moves_the_paddle_between_frames_i_and_i_plus_1(sample: tuple[Path, Played]) -> None:
    played, source = sample[1], config(sample[0]).build()
    rows = source.read("frame_000000000").actions[:, 0]
    moves = np.sign(np.diff(played.paddle[:LENGTH]))
    wanted = np.array([0, -1, 1])[rows.astype(int)]  # stay, up, down: the picture's rows count downward
    inside = (played.paddle[: LENGTH - 1] > 4) & (played.paddle[: LENGTH - 1] < 20)
    assert inside.sum() > 20
    np.testing.assert_array_equal(moves[inside], wanted[inside])
    assert source.actions.choices[0].options == ("stay", "up", "down")


def test_frames_stay_on_the_disk(sample: tuple[Path, Played]) -> None:
    frames = list(config(sample[0]).build().read("frame_000000100").frames())
    assert isinstance(frames[0], np.memmap)
    assert len(frames) == LENGTH


@pytest.mark.parametrize(("frames", "names"), [(100, 2), (101, 2), (102, 3), (2, 1), (1, 0)])
def test_a_single_last_frame_is_no_episode(tmp_path: Path, frames: int, names: int) -> None:
    write_toy_wm(tmp_path / "p", frames=frames)
    assert len(config(tmp_path / "p").build().episodes) == names


def test_rewards_may_be_missing_and_columns_may_stand_upright(sample: tuple[Path, Played]) -> None:
    (sample[0] / "rewards.npy").unlink()
    np.save(sample[0] / "actions.npy", sample[1].actions[:, None].astype(np.uint8))
    foreign = config(sample[0]).build().read("frame_000000050")
    assert foreign.rewards is None
    np.testing.assert_array_equal(foreign.actions[:, 0], sample[1].actions[50:99])


def rows(values: dict[int, float]) -> np.ndarray:
    column = np.zeros(FRAMES)
    column[list(values)] = list(values.values())
    return column


BROKEN: dict[str, tuple[str, Any, str]] = {
    "frames as numbers": ("frames", np.zeros((FRAMES, 24, 24, 3), np.float32), "it is float32 of shape"),
    "colours first": ("frames", np.zeros((FRAMES, 3, 24, 24), np.uint8), r"of shape \(n, height, width, 3\)"),
    "a dictionary": ("frames", np.array({"a": 1}), "it holds a dict and no array"),
    "a table": ("actions", np.zeros((FRAMES, 2), np.int64), r"actions\.npy: it is int64 of shape \(157, 2\)"),
    "words": ("actions", np.full(FRAMES, "up"), r"actions\.npy: it is <U2"),
    "fewer": ("actions", np.zeros(FRAMES - 1), "it has 156 entries and frames.npy has 157 frames"),
    "more rewards": ("rewards", np.zeros(FRAMES + 1), r"rewards\.npy: it has 158 entries"),
    "no such action": (
        "actions",
        rows({70: 3}),
        r"actions\.npy: action 70 is 3; give 0 for stay, 1 for up, 2 for down",
    ),
    "half an action": ("actions", rows({70: 0.5}), "action 70 is 0.5"),
    "no number": ("actions", rows({70: np.nan}), "action 70 is nan"),
    "an infinite reward": ("rewards", rows({70: np.inf}), r"rewards\.npy: reward 70 is inf"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(sample: tuple[Path, Played], name: str) -> None:
    where, content, message = BROKEN[name]
    np.save(sample[0] / f"{where}.npy", content, allow_pickle=True)
    (refused,) = refusals(config(sample[0]))
    assert refused.path == sample[0] / f"{where}.npy"
    with pytest.raises(SourceError, match=message):
        raise refused


@pytest.mark.parametrize("where", ["frames", "actions", "rewards"])
def test_truncated_and_missing_files(sample: tuple[Path, Played], where: str, rng: np.random.Generator) -> None:
    file = sample[0] / f"{where}.npy"
    for length in cuts(file, 20, rng):
        (refused,) = refusals(config(sample[0]))
        assert refused.path == file, length
    file.unlink()
    if where != "rewards":
        with pytest.raises(SourceError, match=rf"{where}\.npy: there is no such file"):
            config(sample[0]).build()
        assert not ToyWmConfig.recognises(sample[0])


def test_a_wrong_stretch_is_left_out_and_the_others_are_kept(sample: tuple[Path, Played], tmp_path: Path) -> None:
    np.save(sample[0] / "actions.npy", rows({70: 3}))
    done = collect(config(sample[0]), tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == ["frame_000000050"]
    assert [record.name for record in done.store.episodes] == [f"frame_{i:09d}" for i in (0, 100, 150)]


def test_odd_settings_and_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="episode_frames is 1; an episode needs at least 2"):
        ToyWmConfig(path="x", episode_frames=1)
    with pytest.raises(SourceError, match=r"nowhere: there is no such folder; give the folder that holds frames\.npy"):
        config(tmp_path / "nowhere").build()
    np.save(tmp_path / "frames.npy", np.zeros((9, 64, 64, 3), np.uint8))
    np.save(tmp_path / "actions.npy", np.zeros(9))
    assert not ToyWmConfig.recognises(tmp_path)  # of another game, most likely
