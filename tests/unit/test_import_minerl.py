"""MineRL trajectories: which frame shows which state, and what is said of damaged archives."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.damage import cuts, edited, misfit, refusals
from samples.minerl import FPS, LEADS, SIZE, STEPS, Trajectory, write_minerl

from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.minerl import MinerlConfig
from hallucade.data.importers.npz import array_from_bytes, read_npz
from hallucade.data.importers.registry import guess_format
from hallucade.data.source import SourceError

FIRST, SECOND = (f"MineRLNavigate-v0/{name}" for name in LEADS)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Trajectory]]:
    folder = tmp_path_factory.mktemp("minerl")
    return folder, write_minerl(folder)


@pytest.fixture
def copy(sample: tuple[Path, dict[str, Trajectory]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample[0], tmp_path / "minerl"))


def rewrite(file: Path, **arrays: np.ndarray | None) -> None:
    """Replace arrays of an archive; None removes one. Their names are written without ``action$``."""
    with np.load(file) as archive:
        content = {name: archive[name] for name in archive.files}
    changes = {name if name == "reward" else f"action${name}": array for name, array in arrays.items()}
    content |= changes
    np.savez_compressed(file, **{name: array for name, array in content.items() if array is not None})


def bomb(file: Path, size: int) -> None:
    """Let the archive's directory promise `size` bytes of camera."""
    whole = bytearray(file.read_bytes())
    entry = whole.rindex(b"action$camera.npy") - 46
    assert whole[entry : entry + 4] == b"PK\x01\x02"
    whole[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    file.write_bytes(bytes(whole))


def test_frames_and_actions_are_those_that_were_played_whatever_the_video_begins_with(
    sample: tuple[Path, dict[str, Trajectory]], tmp_path: Path
) -> None:
    assert guess_format(sample[0]) == guess_format(sample[0] / "MineRLNavigate-v0") == "minerl"
    store = collect(MinerlConfig(path=str(sample[0])), tmp_path / "s").store
    assert [record.name for record in store.episodes] == [FIRST, SECOND]
    assert (store.fps, store.frame_size, store.state_names) == (FPS, SIZE, ())
    names = ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack", "yaw", "pitch")
    assert store.actions.names == names
    for index, truth in enumerate(sample[1].values()):
        episode = store.episode(index)
        assert misfit(episode.frames, truth.frames) < 6
        np.testing.assert_allclose(episode.actions, truth.rows, atol=1e-6)
        assert episode.rewards is not None
        assert np.flatnonzero(episode.rewards).tolist() == [30]


def test_camera_pitch_of_the_file_looks_down(copy: Path) -> None:
    rewrite(copy / FIRST / "rendered.npz", camera=np.tile([2.0, 3.0], (STEPS, 1)))
    assert MinerlConfig(path=str(copy)).build().read(FIRST).actions[5, -2:].tolist() == [3.0, -2.0]


def test_at_a_quarter_of_the_rate_turns_add_up_and_rewards_too(
    sample: tuple[Path, dict[str, Trajectory]], tmp_path: Path
) -> None:
    store = collect(MinerlConfig(path=str(sample[0])), tmp_path / "s", ConversionConfig(fps=5)).store
    rows = sample[1][FIRST].rows[: STEPS // 4 * 4].reshape(-1, 4, 10)
    want = np.concatenate([rows[..., :8].max(1), rows[..., 8:].sum(1)], 1)
    np.testing.assert_allclose(store.episode(0).actions, want, atol=1e-4)
    assert store.episode(0).rewards is not None
    assert np.asarray(store.episode(0).rewards).sum() == 1
    assert store.actions.axes[0].high == 60


def test_a_video_can_be_stretched_over_all_states(copy: Path, sample: tuple[Path, dict[str, Trajectory]]) -> None:
    path = copy / FIRST
    with np.load(path / "rendered.npz") as archive:
        np.savez(path / "rendered.npz", **{name: np.repeat(archive[name], 2, 0) for name in archive.files})
    edited(path / "metadata.json", lambda text: text.replace('"duration_steps": 55', '"duration_steps": 110'))
    found = np.stack(list(MinerlConfig(path=str(copy), frames="spread").build().read(FIRST).frames()))
    truth = sample[1][FIRST].frames[np.round(np.linspace(0, STEPS, 2 * STEPS + 1)).astype(int)]
    assert np.abs(found.astype(int) - truth).mean() < 6
    with pytest.raises(SourceError, match=r"recording.mp4: 56 frames cannot show 111 states.*--frames spread"):
        MinerlConfig(path=str(copy)).build().read(FIRST)


def test_a_longer_video_stretched_skips_frames_evenly(copy: Path, sample: tuple[Path, dict[str, Trajectory]]) -> None:
    found = list(MinerlConfig(path=str(copy), frames="spread").build().read(SECOND).frames())
    assert len(found) == STEPS + 1
    shown = np.round(np.linspace(0, STEPS + LEADS[Path(SECOND).name], STEPS + 1)).astype(int)
    truth = sample[1][SECOND].frames
    late = shown >= LEADS[Path(SECOND).name]
    assert np.abs(np.stack(found)[late].astype(int) - truth[shown[late] - 7]).mean() < 6


def test_a_metadata_that_counts_more_frames_than_there_are_would_shift_the_actions(copy: Path) -> None:
    edited(copy / SECOND / "metadata.json", lambda text: text.replace('frame_count": 63', 'frame_count": 64'))
    (error,) = refusals(MinerlConfig(path=str(copy)))
    assert f"{SECOND}/recording.mp4: metadata.json counts 64 frames and 63 can be decoded" in str(error)


def test_without_a_count_the_video_is_asked(copy: Path, sample: tuple[Path, dict[str, Trajectory]]) -> None:
    edited(copy / SECOND / "metadata.json", lambda text: text.replace("true_video_frame_count", "unknown"))
    found = np.stack(list(MinerlConfig(path=str(copy)).build().read(SECOND).frames()))
    assert misfit(found, sample[1][SECOND].frames) < 6


def test_other_buttons_can_be_taken(copy: Path) -> None:
    for name in (FIRST, SECOND):
        rewrite(copy / name / "rendered.npz", use=np.ones(STEPS, np.uint8), sneak=None)
    source = MinerlConfig(path=str(copy), buttons=("forward", "use")).build()
    assert source.actions.names == ("forward", "use", "yaw", "pitch")
    assert source.read(FIRST).actions[:, 1].all()
    assert "there is no array 'action$sneak'; it has action$attack" in str(refusals(MinerlConfig(path=str(copy)))[0])


@pytest.mark.parametrize(
    ("name", "array", "wanted"),
    [
        ("jump", np.full(STEPS, 0.5), r"action\$jump is 0.5 in step 0; it must be 0 or 1"),
        ("jump", np.zeros(STEPS - 1, int), r"action\$jump is int64 of shape \(54,\); it must be .* \(55,\)"),
        ("jump", np.full(STEPS, "no"), r"action\$jump is <U2 of shape"),
        ("camera", np.zeros((STEPS, 3)), r"action\$camera is float64 of shape \(55, 3\)"),
        ("camera", np.full((STEPS, 2), np.nan), r"action\$camera is nan in step 0; it must be a usual number"),
        ("camera", None, r"there is no array 'action\$camera'"),
        ("camera", np.full((STEPS, 2), None), r"array 'action\$camera' cannot be read \(it holds pickled objects"),
        ("reward", np.zeros(()), r"reward has shape \(\); it must have one number a step"),
        ("reward", np.zeros((0,)), r"reward has shape \(0,\); it must have one number a step"),
        ("reward", np.full(STEPS, np.inf), r"reward is inf in step 0"),
    ],
)
def test_an_array_of_the_wrong_kind_is_named(copy: Path, name: str, array: np.ndarray | None, wanted: str) -> None:
    rewrite(copy / FIRST / "rendered.npz", **{name: array})
    with pytest.raises(SourceError, match=wanted) as caught:
        MinerlConfig(path=str(copy)).build().read(FIRST)
    assert caught.value.path == copy / FIRST / "rendered.npz"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"duration_steps": 54}, "duration_steps is 54 and rendered.npz has 55 steps"),
        ({"duration_steps": "55"}, "duration_steps is '55', but input should be a valid integer"),
        ({"true_video_frame_count": 5.5}, "true_video_frame_count is 5.5, but"),
        ({"true_video_frame_count": -3}, "true_video_frame_count is -3, but"),
    ],
)
def test_a_metadata_that_does_not_fit_is_named(copy: Path, change: dict[str, Any], wanted: str) -> None:
    file = copy / FIRST / "metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(SourceError) as caught:
        MinerlConfig(path=str(copy)).build().read(FIRST)
    assert wanted in str(caught.value)
    assert caught.value.path == file


@pytest.mark.parametrize("name", ["recording.mp4", "rendered.npz", "metadata.json"])
def test_a_file_that_is_missing_empty_or_of_another_kind_is_named(copy: Path, name: str) -> None:
    file = copy / FIRST / name
    for content in (b"", b"PK\x05\x06", b"\x89PNG and more"):
        file.write_bytes(content)
        assert [error.path for error in refusals(MinerlConfig(path=str(copy)))] == [file]
    file.unlink()
    assert [error.path for error in refusals(MinerlConfig(path=str(copy)))] == [file]


def test_a_cut_file_is_refused_by_name(copy: Path, rng: np.random.Generator) -> None:
    shutil.rmtree(copy / SECOND)
    for name in ("recording.mp4", "rendered.npz", "metadata.json"):
        file = copy / FIRST / name
        for _ in cuts(file, 16, rng):
            assert [error.path for error in refusals(MinerlConfig(path=str(copy)))] == [file]


def test_flipped_bytes_of_an_archive_never_pass(copy: Path, rng: np.random.Generator) -> None:
    shutil.rmtree(copy / SECOND)
    file = copy / FIRST / "rendered.npz"
    whole, truth = file.read_bytes(), MinerlConfig(path=str(copy)).build().read(FIRST)
    refused = 0
    for place in rng.integers(0, len(whole), 120).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(damaged))
        try:
            found = MinerlConfig(path=str(copy)).build().read(FIRST)
        except SourceError as error:
            refused += error.path == file
        else:  # a date, an attribute, or an array that is not read
            np.testing.assert_array_equal(found.actions, truth.actions)
    assert refused > 30


def test_an_archive_that_promises_too_much_is_not_inflated(copy: Path) -> None:
    bomb(copy / FIRST / "rendered.npz", 2**31)
    with pytest.raises(SourceError, match=r"array 'action\$camera' would take 2048 MiB, at most 128 are read"):
        MinerlConfig(path=str(copy)).build().read(FIRST)


def test_an_array_that_promises_more_than_its_bytes_is_not_allocated(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue() + bytes(16))
    with pytest.raises(SourceError, match=r"array 'x' cannot be read \(shape \(1099511627776,\) of float64"):
        read_npz(tmp_path / "a.npz", ["x"])


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array("text")])
def test_arrays_come_back_as_numpy_wrote_them(array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    np.testing.assert_array_equal(array_from_bytes(buffer.getvalue()), array)


def test_what_is_damaged_can_be_left_out(copy: Path, tmp_path: Path) -> None:
    (copy / FIRST / "rendered.npz").write_bytes(b"PK")
    done = collect(MinerlConfig(path=str(copy)), tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == [FIRST]
    assert [record.name for record in done.store.episodes] == [SECOND]


def test_a_folder_of_something_else_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "recording.mp4").write_bytes(b"")
    assert not MinerlConfig.recognises(tmp_path)
    with pytest.raises(SourceError, match="there is no such folder"):
        MinerlConfig(path=str(tmp_path / "none")).build()
    (tmp_path / "recording.mp4").unlink()
    with pytest.raises(SourceError, match=r"no folder in it has recording.mp4 or rendered.npz"):
        MinerlConfig(path=str(tmp_path)).build()
