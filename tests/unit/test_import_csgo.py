"""Counter-Strike recordings: what is held on which frame, where the view turns, and what is said of damage."""

import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from samples.csgo import (
    AIMS,
    DEATH_AT,
    FRAMES,
    JUMPS,
    KILL_AT,
    NAMES,
    RELOADS,
    SHOTS,
    SIZE,
    Match,
    write_csgo,
    write_diamond,
)
from samples.damage import cuts, refusals

from hallucade.data.checks.validate import validate_store
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.csgo import MOUSE_X, MOUSE_Y, CsgoConfig
from hallucade.data.importers.registry import guess_format
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore

TWO, TEN, FAR = NAMES


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Match]]:
    folder = tmp_path_factory.mktemp("csgo")
    return folder, write_csgo(folder)


@pytest.fixture(scope="module")
def diamond(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Match]]:
    folder = tmp_path_factory.mktemp("diamond")
    return folder, write_diamond(folder)


@pytest.fixture(scope="module")
def store(sample: tuple[Path, dict[str, Match]], tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return collect(CsgoConfig(path=str(sample[0])), tmp_path_factory.mktemp("store") / "s").store


@pytest.fixture
def copy(sample: tuple[Path, dict[str, Match]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample[0], tmp_path / "csgo"))


def check_actions(rows: np.ndarray, match: Match) -> None:
    """Hold rows against what was played on the same frames."""
    forward, back, left, right = match.rows[:-1, :4].T
    np.testing.assert_array_equal(rows[:, :4], np.stack([forward, left, back, right], 1))
    np.testing.assert_allclose(rows[:, -2:], match.rows[:-1, 4:], atol=1e-5)
    for column, span in ((4, JUMPS), (10, RELOADS), (11, SHOTS), (12, AIMS)):
        assert np.flatnonzero(rows[:, column]).tolist() == list(span)


def test_pictures_and_actions_are_those_of_the_game(sample: tuple[Path, dict[str, Match]], store: EpisodeStore) -> None:
    assert guess_format(sample[0]) == "csgo"
    assert [record.name for record in store.episodes] == [TWO, TEN, FAR]  # by their numbers
    assert (store.fps, store.frame_size) == (16, SIZE)
    assert store.actions.names[:4] == ("forward", "left", "back", "right")
    assert [(a.low, a.high, a.turns) for a in store.actions.axes] == [(-55, 55, "right"), (-11, 11, "up")]
    for index, name in enumerate(NAMES):
        episode = store.episode(index)
        np.testing.assert_array_equal(episode.frames, sample[1][name].frames)
        assert len(episode.actions) == FRAMES - 1
        check_actions(episode.actions, sample[1][name])


def test_the_facts_stand_on_the_frames_that_show_them(
    sample: tuple[Path, dict[str, Match]], store: EpisodeStore
) -> None:
    assert store.state_names == ("health", "ammo", "team")
    episode, match = store.episode(1), sample[1][TEN]
    assert episode.state is not None
    assert episode.rewards is not None
    np.testing.assert_allclose(episode.state[1:, 0], match.health[1:], atol=1e-4)
    np.testing.assert_allclose(episode.state[1:, 1], match.ammo[1:], atol=1e-4)
    assert episode.state[0].tolist() == episode.state[1].tolist()  # nothing is written of the first frame
    assert {int(i): float(episode.rewards[i]) for i in np.flatnonzero(episode.rewards)} == {KILL_AT: 1, DEATH_AT: -1}


def test_bins_become_degrees() -> None:
    assert MOUSE_X.tolist() == [-v for v in MOUSE_X[::-1]]
    assert (len(MOUSE_X), len(MOUSE_Y)) == (23, 15)
    assert CsgoConfig(path="x").degrees == pytest.approx(0.022 * 2.5)  # of the game, times the players' sensitivity
    with pytest.raises(ValueError, match=r"degrees is 0\.0 a mouse count; it must be positive"):
        CsgoConfig(path="x", degrees=0.0)


def test_the_pictures_turn_as_the_actions_say(tmp_path: Path) -> None:
    write_csgo(tmp_path / "csgo", 5, 160, (TWO, TEN))
    source = CsgoConfig(path=str(tmp_path / "csgo"))
    for answer, invert in {"aligned": (), "inverted": ("pitch",)}.items():
        store = collect(source, tmp_path / answer, ConversionConfig(size=(45, 80), invert=invert)).store
        (group,) = validate_store(store).alignment.groups
        assert group.decision == answer


def test_a_test_list_says_what_is_for_validation(sample: tuple[Path, dict[str, Match]], tmp_path: Path) -> None:
    names = tmp_path / "test_split.txt"
    names.write_text("hdf5_dm_july2021_10.hdf5\nhdf5_dm_july2021_999.hdf5")
    source = CsgoConfig(path=str(sample[0]), test_list=str(names)).build()
    assert [source.read(name).split for name in NAMES] == ["train", "validation", "train"]
    names.write_text("frame,action\n")
    with pytest.raises(SourceError, match=r"test_split\.txt: it is no list of names such as hdf5_dm"):
        CsgoConfig(path=str(sample[0]), test_list=str(names)).build().read(TWO)


def test_episodes_of_diamond_are_the_same_play(diamond: tuple[Path, dict[str, Match]], tmp_path: Path) -> None:
    source = CsgoConfig(path=str(diamond[0]))
    store = collect(source, tmp_path / "s").store
    assert [(r.name, r.split) for r in store.episodes] == [
        ("test/000/00/0/0", "validation"),
        ("train/000/00/0/0", "train"),
        ("train/000/00/1/1", "train"),
    ]
    assert store.state_names == ()
    for index, record in enumerate(store.episodes):
        episode, match = store.episode(index), diamond[1][record.name]
        np.testing.assert_array_equal(episode.frames, match.frames)
        check_actions(episode.actions, match)
        assert episode.rewards is None
    (tmp_path / "t.txt").write_text(f"{Path(TWO).name}.hdf5")
    listed = CsgoConfig(path=str(diamond[0]), test_list=str(tmp_path / "t.txt")).build()
    assert listed.read("train/000/00/0/0").split == "validation"


def test_no_file_is_opened_before_its_episode_is_read(copy: Path) -> None:
    for name in (TEN, FAR):
        (copy / f"{name}.hdf5").write_bytes(b"not yet downloaded")
    source = CsgoConfig(path=str(copy)).build()
    assert len(source.episodes) == 3
    frames = iter(source.read(TWO).frames())
    assert next(frames).shape == (*SIZE, 3)
    assert CsgoConfig.recognises(copy / f"{TWO}.hdf5")
    assert CsgoConfig(path=str(copy / f"{TWO}.hdf5")).build().episodes == (Path(TWO).name,)


def put(file: Path, field: str, value: Any) -> None:
    with h5py.File(file, "a") as content:
        del content[field]
        if value is not None:
            content[field] = value


def vector(*places: int) -> np.ndarray:
    return np.isin(np.arange(51), places).astype(np.float64)


BROKEN: dict[str, tuple[str, Any, str]] = {
    "a picture is missing": ("frame_7_x", None, "39 frames are there, and frame_7_x is none of them"),
    "a picture of another size": (
        "frame_7_x",
        np.zeros((3, 4, 3), np.uint8),
        r"frame_7_x is uint8 of shape \(3, 4, 3\)",
    ),
    "a picture of numbers": ("frame_7_x", np.zeros((*SIZE, 3)), "frame_7_x is float64"),
    "a grey picture": ("frame_0_x", np.zeros(SIZE, np.uint8), r"frame_0_x is uint8 of shape \(54, 98\)"),
    "actions are missing": ("frame_7_y", None, "frame_7_y is missing; copy or download it again"),
    "actions of another width": ("frame_7_y", np.zeros(50), r"frame_7_y is float64 of shape \(50,\), not \(51,\)"),
    "actions in words": ("frame_0_y", np.bytes_("w"), "frame_0_y is |S1"),
    "half a key": ("frame_7_y", vector(24, 43) * 0.5, r"frame_7_y is 0.5 in place 24, where only 0 and 1"),
    "no number": ("frame_7_y", vector(24, 43) * np.nan, "frame_7_y is nan in place 0"),
    "two bins": ("frame_7_y", vector(24, 25, 43), "frame_7_y has 2 of the bins of mouse_x set, not one"),
    "no bin": ("frame_7_y", vector(24), "frame_7_y has 0 of the bins of mouse_y set, not one"),
    "no state": ("frame_7_xaux", None, "frame_7_xaux is missing; .*or import with --no-facts"),
    "state of another width": ("frame_7_xaux", np.zeros(9), r"frame_7_xaux is float64 of shape \(9,\), not \(54,\)"),
    "infinite state": ("frame_7_xaux", np.full(54, np.inf), "xaux has values that are not finite; .*--no-facts"),
    "no events": ("frame_7_helperarr", None, "frame_7_helperarr is missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_field_is_named(copy: Path, name: str) -> None:
    field, value, message = BROKEN[name]
    file = copy / f"{TWO}.hdf5"
    put(file, field, value)
    (refused,) = refusals(CsgoConfig(path=str(copy)))
    assert refused.path == file
    with pytest.raises(SourceError, match=message):
        raise refused


def test_files_without_facts_can_be_read_without_them(copy: Path) -> None:
    for name in NAMES:
        put(copy / f"{name}.hdf5", "frame_3_xaux", None)
    foreign = CsgoConfig(path=str(copy), facts=False).build().read(TEN)
    assert foreign.state is None
    assert foreign.rewards is None
    assert len(foreign.actions) == FRAMES - 1


def test_truncated_empty_and_other_files(copy: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    file = copy / f"{TEN}.hdf5"
    for length in cuts(file, 25, rng):
        (refused,) = refusals(CsgoConfig(path=str(copy)))
        assert refused.path == file, length
        assert "copy or download it again" in refused.remedy
    put(file, "frame_0_x", None)
    with h5py.File(file, "w") as content:
        content["video"] = np.zeros(3)
    done = collect(CsgoConfig(path=str(copy)), tmp_path / "s", damage="skip")
    assert [(refused.name, refused.what) for refused in done.refused] == [(TEN, "it has no frame_0_x")]
    assert [record.name for record in done.store.episodes] == [TWO, FAR]
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(
            SourceError, match=r"(no \.hdf5 in it, nor a numbered \.pt|no such folder); give the folder"
        ):
            CsgoConfig(path=str(missing if missing != tmp_path else tmp_path / "s")).build()


def test_damaged_episodes_of_diamond(diamond: tuple[Path, dict[str, Match]], tmp_path: Path) -> None:
    root = Path(shutil.copytree(diamond[0], tmp_path / "d"))
    good = torch.load(root / "train/000/00/0/0.pt", weights_only=True)
    for change, message in {
        "list": "it holds no dictionary with obs and act",
        "obs": "obs is no tensor of 4 axes",
        "act": r"obs is \(40, 3, 54, 98\) of torch.uint8 and act \(9, 51\)",
        "type": "of torch.float32 and act",
        "width": r"act\[0\] has shape \(50,\), not \(51,\)",
    }.items():
        broken = {
            "list": [1],
            "obs": {**good, "obs": 3},
            "act": {**good, "act": good["act"][:9]},
            "type": {**good, "obs": good["obs"].float()},
            "width": {**good, "act": good["act"][:, :50]},
        }[change]
        torch.save(broken, root / "train/000/00/0/0.pt")
        (refused,) = refusals(CsgoConfig(path=str(root)))
        with pytest.raises(SourceError, match=message):
            raise refused


def test_without_h5py_the_error_says_what_to_install(
    sample: tuple[Path, dict[str, Match]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"need h5py, which is not installed; pip install 'hallucade\[formats\]'"):
        CsgoConfig(path=str(sample[0])).build()
