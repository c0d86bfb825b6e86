"""A folder of one's own videos: what is read where, and what is said when it does not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples.folder import FPS, FRAMES, SIZE, write_folder
from samples.scene import Walk

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.checks.validate import validate_store
from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.folder import FolderConfig, held
from hallucade.data.importers.registry import guess_format
from hallucade.data.pictures import write_mp4
from hallucade.data.source import SourceError


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Walk]]:
    folder = tmp_path_factory.mktemp("sample") / "mine"
    return folder, write_folder(folder)


@pytest.fixture
def copy(sample: tuple[Path, list[Walk]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample[0], tmp_path / "mine"))


def test_actions_states_and_frames_stand_where_they_were_played(
    sample: tuple[Path, list[Walk]], tmp_path: Path
) -> None:
    folder, walks = sample
    store = collect(FolderConfig(path=str(folder)), tmp_path / "s", ConversionConfig(menus="keep")).store
    assert [r.name for r in store.episodes] == ["a_walk", "b_walk", "validation/c_walk"]
    assert [r.split for r in store.episodes] == ["train", "train", "validation"]
    assert (store.fps, store.frame_size, store.manifest.licence) == (FPS, SIZE, "mine")
    assert store.state_names == ("x", "y")
    assert store.actions.names == ("forward", "back", "strafe", "yaw", "pitch")
    assert store.actions.choices[0].keys == ((), ("KeyA",), ("KeyD",))
    for index, played in enumerate(walks):
        episode = store.episode(index)
        n = FRAMES - 1
        assert len(episode.actions) == n
        want = played.rows[:n]
        np.testing.assert_allclose(episode.actions[:, 0], want[:, 0])
        np.testing.assert_allclose(episode.actions[:, 1], want[:, 1])
        np.testing.assert_allclose(episode.actions[:, 2], want[:, 2] + 2 * want[:, 3])
        np.testing.assert_allclose(episode.actions[:, 3:], want[:, 4:], atol=1e-5)
        np.testing.assert_allclose(episode.state, played.poses[:, :2])
        assert episode.rewards is not None
        assert episode.rewards[:4].tolist() == [0, 1, 2, 0]
        errors = [np.abs(episode.frames.astype(int) - np.roll(played.frames, k, 0)).mean() for k in (-1, 0, 1)]
        assert errors[1] < 6
        assert errors[1] < min(errors[0], errors[2])


def test_menus_are_cut(sample: tuple[Path, list[Walk]], tmp_path: Path) -> None:
    store = collect(FolderConfig(path=str(sample[0])), tmp_path / "s", limit=1).store
    assert [record.frames for record in store.episodes] == [40, FRAMES - 44]


def test_the_format_is_recognised(sample: tuple[Path, list[Walk]], tmp_path: Path) -> None:
    assert guess_format(sample[0]) == "folder"
    with pytest.raises(SourceError, match="no format that is recognised at sight; name the format"):
        guess_format(tmp_path)


def test_without_a_layout_the_columns_are_named_and_can_be_inferred(copy: Path, tmp_path: Path) -> None:
    for file in ("play.yaml", "b_walk.mp4", "validation/c_walk.mp4"):
        (copy / file).unlink()
    table = copy / "a_walk.csv"
    lines = [
        ",".join(cell for i, cell in enumerate(line.split(",")) if i in (0, 2)) for line in table.read_text().split()
    ]
    table.write_text("\n".join(lines))
    with pytest.raises(
        SourceError, match=r"nobody knows what the columns mean; .*columns forward, x\), or try --infer"
    ):
        FolderConfig(path=str(copy)).build()
    source = FolderConfig(path=str(copy), infer=True).build()
    assert source.actions.buttons == (Button(name="forward"),)
    (axis,) = source.actions.axes
    assert axis.name == "x"
    assert axis.low < axis.high


EVENTS = ActionSpace(
    buttons=(Button(name="fire"),),
    axes=(Axis(name="dx", low=-9, high=9, kind="delta"), Axis(name="aim", low=0, high=1)),
)


def test_events_are_held_until_the_next_one_and_deltas_are_summed() -> None:
    times = np.array([0.0, 0.11, 0.13, 0.2, 0.45])
    rows = np.array([[0, 1, 0.5], [1, 2, 0.5], [0, 3, 0.5], [0, 4, 0.5], [1, 5, 1.0]], np.float32)
    frames = held(EVENTS, rows, times, np.arange(6) / 10)
    assert frames[:, 0].tolist() == [0, 1, 0, 0, 1, 1]
    assert frames[:, 1].tolist() == [1, 5, 4, 0, 5, 0]
    assert frames[:, 2].tolist() == [0.5, 0.5, 0.5, 0.5, 0.75, 1.0]


def test_a_key_released_as_a_frame_appears_is_not_held_in_it() -> None:
    rows = np.array([[1, 0, 0], [0, 0, 0]], np.float32)
    assert held(EVENTS, rows, np.array([0.0, 0.2]), np.arange(4) / 10)[:, 0].tolist() == [1, 1, 0, 0]


def test_a_table_of_events_belongs_to_the_frames_by_time(copy: Path, tmp_path: Path) -> None:
    for stem in ("b_walk", "validation/c_walk"):
        (copy / f"{stem}.mp4").unlink()
    (copy / "play.yaml").write_text("time: t\nbuttons: {fire: {}}\nstate: [t]\n")
    (copy / "a_walk.csv").write_text("t,fire\n0,0\n0.5,1\n1.0,0\n")
    episode = collect(FolderConfig(path=str(copy)), tmp_path / "s").store.episode(0)
    assert np.flatnonzero(episode.actions[:, 0]).tolist() == list(range(10, 20))
    assert episode.state is not None
    assert episode.state[[9, 10, 30], 0].tolist() == [0, 0.5, 1.0]
    (copy / "a_walk.csv").write_text("t,fire\n0,0\n0.5,1\n0.2,0\n")
    with pytest.raises(SourceError, match=r"a_walk.csv: line 4: time goes back to 0.2; sort the file by time"):
        collect(FolderConfig(path=str(copy)), tmp_path / "t")


def test_jerks_beyond_the_range_are_clipped_and_told(copy: Path, tmp_path: Path) -> None:
    (copy / "play.yaml").write_text((copy / "play.yaml").read_text().replace("low: -6, high: 6", "low: -1, high: 1"))
    store = collect(FolderConfig(path=str(copy)), tmp_path / "s").store
    assert store.episode(0).actions[:, 3].max() == 1
    assert "rows are clipped" in store.episodes[0].notes[0]


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("buttons: [", "it is no YAML"),
        ("buttons: {jump: {colunm: x}}", "buttons.jump.colunm: extra inputs are not permitted"),
        ("axes: {yaw: {low: a, high: 3}}", r"axes.yaw.low: input should be a valid number"),
        ("axes: {yaw: {low: 3, high: 1}}", r"range \[3.0, 1.0\]; give finite low < high"),
        ("choices: {m: {options: [a, b], keys: {c: [KeyC]}}}", "names 'c', which is no option: a, b"),
        ("fps: 30", "an action space needs at least one"),
        ("", "an action space needs at least one"),
        ("fps: -3", "fps: input should be greater than 0"),
        ("buttons: {forward: {column: frwd}}", r"a_walk.csv: line 2: there is no 'frwd'; it has forward"),
        ("buttons: {forward: {column: strafe}}", r"a_walk.csv: line \d+: strafe is 'none', which is no number"),
        ("choices: {strafe: {options: [none, left]}}", r"strafe is 'right', which is no option: none, left"),
    ],
)
def test_a_wrong_layout_names_the_field(copy: Path, tmp_path: Path, layout: str, said: str) -> None:
    (copy / "play.yaml").write_text(layout)
    with pytest.raises(SourceError, match=said):
        collect(FolderConfig(path=str(copy)), tmp_path / "s")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a_walk.csv", b"", "a_walk.csv: it has no row; write one row a frame"),
        ("a_walk.csv", b"forward\n1,2\n", "line 2 has more than 1 cells, the header 1"),
        ("a_walk.csv", b"\xff\xfe\x00a", "it is no text"),
        ("a_walk.csv", None, r"a_walk.mp4: it has no actions beside it; write one of a_walk.csv, a_walk.jsonl"),
        ("b_walk.jsonl", b'{"forward": 1\n', "b_walk.jsonl: line 1 is no JSON"),
        ("b_walk.jsonl", b"3\n", "line 1 holds '3', no object"),
        ("validation/c_walk.json", b"{}", "it is no list of objects"),
        ("a_walk.mp4", b"", "a_walk.mp4: the file is empty; copy or download it again"),
        ("a_walk.mp4", b"no video at all", "this is no video that can be read"),
    ],
)
def test_a_wrong_file_is_named_and_can_be_skipped(
    copy: Path, tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    config = FolderConfig(path=str(copy))
    with pytest.raises(SourceError, match=said):
        collect(config, tmp_path / "s")
    done = collect(config, tmp_path / "t", damage="skip")
    assert [refused.name for refused in done.refused] == [str(Path(file).with_suffix(""))]
    assert len({record.name for record in done.store.episodes}) == 2


def test_a_video_cut_short_is_told_wherever_it_is_cut(copy: Path, tmp_path: Path) -> None:
    whole = (copy / "a_walk.mp4").read_bytes()
    for share in (0.1, 0.4, 0.7, 0.95, 0.999):
        (copy / "a_walk.mp4").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SourceError, match=r"a_walk.mp4: .*(no video|cut short|damaged)"):
            collect(FolderConfig(path=str(copy)), tmp_path / f"s{share}", ConversionConfig(menus="keep"))


def test_videos_of_two_rates_are_refused(copy: Path, tmp_path: Path) -> None:
    frames = np.zeros((30, *SIZE, 3), np.uint8)
    write_mp4(copy / "b_walk.mp4", frames, 25)
    with pytest.raises(SourceError, match=r"b_walk.mp4: it has 25 frames a second, the first video 20"):
        collect(FolderConfig(path=str(copy)), tmp_path / "s")


def test_a_table_shorter_than_the_video_is_told(copy: Path, tmp_path: Path) -> None:
    rows = json.loads((copy / "validation/c_walk.json").read_text())
    (copy / "validation/c_walk.json").write_text(json.dumps(rows[:30]))
    store = collect(FolderConfig(path=str(copy)), tmp_path / "s").store
    assert store.episodes[-1].notes == ("the video has 61 frames and the table 30 rows: the rest is left out",)
    assert store.episodes[-1].frames == 30


@pytest.mark.parametrize("rows", [-1, 2])
def test_what_validation_advises_mends_a_shifted_and_inverted_recording(tmp_path: Path, rows: int) -> None:
    for seed in range(0, 9, 3):
        write_folder(tmp_path / "mine" / str(seed), seed)
    for table in (tmp_path / "mine").rglob("*.csv"):
        head, *lines = table.read_text().splitlines()
        table.write_text("\n".join([head, *np.roll(lines, rows).tolist()]) + "\n")
    for video in (tmp_path / "mine").rglob("*.mp4"):
        if not video.with_suffix(".csv").is_file():
            video.unlink()
    layout = (tmp_path / "mine/0/play.yaml").read_text().replace("scale: -0.25", "scale: 0.25")
    (tmp_path / "mine/play.yaml").write_text(layout)
    source = FolderConfig(path=str(tmp_path / "mine"))
    size = ConversionConfig(menus="keep")
    wrong = validate_store(collect(source, tmp_path / "wrong", size).store)
    remedies = " ".join(problem.remedy for problem in wrong.problems if problem.severity == "error")
    assert f"--delay {-rows}" in remedies
    assert "--invert pitch" in remedies
    mended = collect(source, tmp_path / "right", replace(size, delay=-rows, invert=("pitch",))).store
    assert not validate_store(mended).failed
