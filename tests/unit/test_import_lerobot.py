"""LeRobot data sets in: three versions, pictures at the right index, and what is wrong said once."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples.lerobot import (
    CAMERA,
    FPS,
    LENGTHS,
    MOTORS,
    SIZE,
    WRIST,
    Version,
    number_of,
    push,
    write_lerobot,
    write_video,
)

from hallucade.data.collect import collect
from hallucade.data.executors import Processes
from hallucade.data.importers.lerobot import LeRobotConfig
from hallucade.data.importers.registry import guess_format
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore

VERSIONS: tuple[Version, ...] = ("v2.0", "v2.1", "v3.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_same_episodes(tmp_path: Path, version: Version) -> None:
    written = write_lerobot(tmp_path / "d", version)
    source = LeRobotConfig(path=str(tmp_path / "d")).build()
    assert guess_format(tmp_path / "d") == "lerobot"
    assert (source.fps, source.licence, source.state_names) == (FPS, "apache-2.0", ("state_0", "state_1"))
    assert source.actions.names == MOTORS
    assert (source.actions.axes[0].low, source.actions.axes[0].high) == _range(written, 0)
    assert list(source.episodes) == ["0", "1", "2"]
    for index, (name, episode) in enumerate(zip(source.episodes, written, strict=True)):
        read = source.read(name)
        frames = np.stack(list(read.frames()))
        assert [number_of(frame) for frame in frames] == [100 * index + i for i in range(LENGTHS[index])]
        assert np.abs(frames.astype(int) - episode.frames).mean() < 3
        np.testing.assert_array_equal(read.actions, episode.actions[:-1])
        np.testing.assert_array_equal(read.rewards, episode.rewards[:-1])
        np.testing.assert_array_equal(read.state, episode.state)
        assert read.notes == ()
        assert read.split is None


@pytest.mark.parametrize("version", VERSIONS)
def test_pictures_inside_the_tables_are_exact(tmp_path: Path, version: Version) -> None:
    written = write_lerobot(tmp_path / "d", version, images=True)
    source = LeRobotConfig(path=str(tmp_path / "d")).build()
    for name, episode in zip(source.episodes, written, strict=True):
        np.testing.assert_array_equal(np.stack(list(source.read(name).frames())), episode.frames)


@pytest.mark.parametrize("start", [0.0, 2.0, 7.4])
@pytest.mark.parametrize(
    "options", [{"g": "2", "bf": "0"}, {"g": "50", "bf": "3"}, {"g": "7", "bf": "2", "b-adapt": "0"}]
)
def test_episodes_in_one_film_begin_and_end_at_their_own_frames(
    tmp_path: Path, start: float, options: dict[str, str]
) -> None:
    write_lerobot(tmp_path / "d", "v3.0", start=start, options=options)
    source = LeRobotConfig(path=str(tmp_path / "d")).build()
    for index in (1, 0, 2, 1):  # in any order
        shown = [number_of(frame) for frame in source.read(str(index)).frames()]
        assert shown == [100 * index + i for i in range(LENGTHS[index])]


def test_collected_with_any_number_of_workers_it_is_the_same_store(tmp_path: Path) -> None:
    written = write_lerobot(tmp_path / "d", "v3.0")
    config = LeRobotConfig(path=str(tmp_path / "d"), deltas=("x", "y"))
    one = collect(config, tmp_path / "one").store
    two = collect(config, tmp_path / "two", executor=Processes(2)).store
    assert one.fingerprint == two.fingerprint
    assert [len(one.episode(i).frames) for i in range(3)] == list(LENGTHS)
    np.testing.assert_array_equal(EpisodeStore(tmp_path / "two").episode(2).actions, written[2].actions[:-1])
    assert [axis.kind for axis in one.actions.axes] == ["delta", "delta", "value"]
    assert one.frame_size == SIZE


def test_of_several_cameras_one_must_be_chosen(tmp_path: Path) -> None:
    written = write_lerobot(tmp_path / "d", "v2.1", wrist=True)
    with pytest.raises(SourceError, match=rf"it has cameras {CAMERA}, {WRIST}; choose one: --camera"):
        LeRobotConfig(path=str(tmp_path / "d")).build()
    with pytest.raises(SourceError, match="none named 'top'"):
        LeRobotConfig(path=str(tmp_path / "d"), camera="top").build()
    frame = next(LeRobotConfig(path=str(tmp_path / "d"), camera=WRIST).build().read("0").frames())
    assert np.abs(frame[::-1, ::-1].astype(int) - written[0].frames[0]).mean() < 3


def test_splits_ranges_and_filters(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v2.0", splits={"train": "0:2", "test": "2:3"})
    path = str(tmp_path / "d")
    source = LeRobotConfig(path=path, ranges={"gripper": (-1, 4)}).build()
    assert [source.read(name).split for name in source.episodes] == ["train", "train", "validation"]
    assert (source.actions.axes[2].low, source.actions.axes[2].high) == (-1, 4)
    assert list(LeRobotConfig(path=path, episodes="0,2:9").build().episodes) == ["0", "2"]
    assert list(LeRobotConfig(path=path, task="RIGHT").build().episodes) == ["1"]
    assert LeRobotConfig(path=path, state=None).build().read("0").state is None
    with pytest.raises(ValueError, match="episodes is 'first'; write numbers and ranges such as 0:50,61"):
        LeRobotConfig(path=path, episodes="first").build()
    with pytest.raises(SourceError, match="there is no action yaw; choose among x, y, gripper"):
        LeRobotConfig(path=path, deltas=("yaw",)).build()
    with pytest.raises(SourceError, match=r"no column 'act'; there are action, .*--action"):
        LeRobotConfig(path=path, action="act").build()


def test_values_beyond_the_statistics_are_clipped_and_told(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v2.1")
    read = LeRobotConfig(path=str(tmp_path / "d"), ranges={"x": (-1, 1)}).build().read("2")
    assert np.abs(read.actions[:, 0]).max() == 1
    assert read.notes[0].startswith("x reaches ")


def test_a_motor_that_never_moves_has_a_range_all_the_same(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v2.0")
    _edit(tmp_path / "d/meta/stats.json", lambda stats: stats["action"].update(min=[0, -3, 1], max=[2, 3, 1]))
    axis = LeRobotConfig(path=str(tmp_path / "d")).build().actions.axes[2]
    assert (axis.low, axis.high) == (0, 2)


def test_repeated_and_missing_names_of_motors(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v2.0")
    info = tmp_path / "d/meta/info.json"
    _edit(info, lambda data: data["features"]["action"].update(names=["grip", "grip", "grip_2"]))
    assert LeRobotConfig(path=str(tmp_path / "d")).build().actions.names == ("grip", "grip_2", "grip_2_2")
    _edit(info, lambda data: data["features"]["action"].update(names=None))
    assert LeRobotConfig(path=str(tmp_path / "d")).build().actions.names == ("action_0", "action_1", "action_2")


def test_a_data_set_of_the_hub_is_downloaded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lerobot(tmp_path / "d", "v2.1", wrist=True)
    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(tmp_path / "d")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    source = LeRobotConfig(path="hf://lerobot/pusher", camera=CAMERA, revision="v2.1").build()
    assert source.origin == f"LeRobot v2.1 data set lerobot/pusher of google_robot, camera {CAMERA}"
    ((name, options),) = asked
    assert (name, options["repo_type"], options["revision"]) == ("lerobot/pusher", "dataset", "v2.1")
    assert f"videos/*{CAMERA}/*" in options["allow_patterns"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        SourceError, match="hf://lerobot/pusher: reading from the hub needs huggingface_hub; pip install"
    ):
        LeRobotConfig(path="hf://lerobot/pusher").build()


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lerobot(tmp_path / "d", "v3.0")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"pip install 'hallucade\[formats\]'"):
        LeRobotConfig(path=str(tmp_path / "d")).build()


Breaker = Callable[[Path], None]


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def _info(**changes: Any) -> Breaker:
    return lambda root: _edit(root / "meta/info.json", lambda data: data.update(changes))


def _cut(name: str, share: float) -> Breaker:
    def cut(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(len(content) * share)])

    return cut


def _column(name: str, column: str, change: Callable[[np.ndarray], Any]) -> Breaker:
    def replace(root: Path) -> None:
        table = pq.read_table(root / name)
        number = table.column_names.index(column)
        values = np.array(table.column(number).to_pylist())
        pq.write_table(table.set_column(number, column, pa.array(change(values))), root / name)

    return replace


def _without(name: str, column: str) -> Breaker:
    return lambda root: pq.write_table(pq.read_table(root / name).drop_columns([column]), root / name)


def _set(index: Any, value: Any) -> Callable[[np.ndarray], Any]:
    def change(values: np.ndarray) -> Any:
        values[index] = value
        return values.tolist()

    return change


def _other_rate(root: Path) -> None:
    write_video(root / CLIP, push(0, LENGTHS[0]).frames, fps=10)


def _read_all(config: LeRobotConfig) -> None:
    source = config.build()
    for episode in source.episodes:
        for _ in source.read(episode).frames():
            pass


V2, V3 = "data/chunk-000/episode_000000.parquet", "data/chunk-000/file-000.parquet"
FILM, CLIP = f"videos/{CAMERA}/chunk-000/file-000.mp4", f"videos/chunk-000/{CAMERA}/episode_000000.mp4"
LISTED = "meta/episodes/chunk-000/file-000.parquet"
DAMAGE: dict[str, tuple[Version, Breaker, str]] = {
    "no info": ("v2.1", lambda r: (r / "meta/info.json").unlink(), "info.json: there is no such file"),
    "empty info": ("v2.1", lambda r: (r / "meta/info.json").write_bytes(b""), "info.json: the file is empty"),
    "cut info": ("v2.1", _cut("meta/info.json", 0.5), "info.json: it is no JSON"),
    "old version": ("v2.1", _info(codebase_version="v1.6"), "codebase_version is 'v1.6'; convert it"),
    "no rate": ("v2.1", _info(fps="five"), "info.json: fps is 'five'"),
    "no columns": ("v2.1", _info(features={}), "it has no camera"),
    "strange split": ("v2.1", _info(splits={"train": "0-2", "val": "2"}), r"splits is .*write ranges such as"),
    "strange path": ("v2.1", _info(data_path="data/{number}.parquet"), r"data_path is 'data/\{number\}.parquet'"),
    "way out": ("v2.1", _info(data_path="../{episode_index}.parquet"), "is no file of the data set; do not trust it"),
    "no episodes": ("v2.1", lambda r: (r / "meta/episodes.jsonl").unlink(), "episodes.jsonl: there is no such file"),
    "cut episodes": ("v2.1", _cut("meta/episodes.jsonl", 0.9), "episodes.jsonl: line 3: it is no JSON"),
    "no statistics": (
        "v2.1",
        lambda r: (r / "meta/episodes_stats.jsonl").unlink(),
        "stats.json: there is no such file",
    ),
    "no table": ("v2.1", lambda r: (r / V2).unlink(), "episode_000000.parquet: there is no such file"),
    "empty table": ("v2.1", lambda r: (r / V2).write_bytes(b""), "episode_000000.parquet: the file is empty"),
    "cut table": ("v2.1", _cut(V2, 0.7), "episode_000000.parquet: this is no whole Parquet file"),
    "no actions": ("v2.1", _without(V2, "action"), "it has no column 'action'; there are observation.state"),
    "words": ("v2.1", _column(V2, "action", lambda v: ["up"] * len(v)), "column 'action' holds string and not numbers"),
    "narrow": ("v2.1", _column(V2, "action", lambda v: v[:, :2].tolist()), "18 numbers in 9 rows; each row needs 3"),
    "ragged": ("v2.1", _column(V2, "action", lambda v: [[1.0], *v[1:].tolist()]), "lists of 1 and 3 values"),
    "not finite": ("v2.1", _column(V2, "action", _set((4, 1), np.nan)), "'action' is not finite in row 4"),
    "jump in time": ("v2.1", _column(V2, "timestamp", _set(5, 1.3)), r"goes from 0.8 to 1.3 s .*--tolerance 0.3"),
    "lost row": ("v2.1", _column(V2, "frame_index", _set(5, 6)), "frame_index of episode 0 does not count from 0 to 8"),
    "mixed rows": ("v2.1", _column(V2, "episode_index", _set(3, 7)), "rows of episode 0 have episode_index 7"),
    "no video": ("v2.1", lambda r: (r / CLIP).unlink(), "episode_000000.mp4: there is no such file"),
    "cut video": ("v2.1", _cut(CLIP, 0.6), "episode_000000.mp4: the file is cut short"),
    "short video": ("v2.1", lambda r: write_video(r / CLIP, push(0, 5).frames), "has 9 rows and only 5 frames"),
    "other rate": ("v2.1", _other_rate, "the video has 10 frames a second and meta/info.json says 5"),
    "no list": ("v3.0", lambda r: (r / LISTED).unlink(), "there is no list of episodes"),
    "list without times": ("v3.0", _without(LISTED, f"videos/{CAMERA}/from_timestamp"), "has no column 'videos/"),
    "twice": ("v3.0", _column(LISTED, "episode_index", _set(1, 0)), "episode_index 0 is listed twice"),
    "longer": ("v3.0", _column(LISTED, "length", _set(1, 99)), "it has 15 rows, and rows 9 to 108 are asked for"),
    "shifted": ("v3.0", _column(LISTED, "dataset_from_index", _set(1, 8)), "rows of episode 1 have episode_index 0"),
    "cut data": ("v3.0", _cut(V3, 0.8), "file-000.parquet: this is no whole Parquet file"),
    "cut film": ("v3.0", _cut(FILM, 0.5), "file-000.mp4: the file is cut short"),
    "short film": ("v3.0", lambda r: write_video(r / FILM, push(0, 11).frames), "has 6 rows and only 2 frames"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_said_with_file_field_and_remedy(tmp_path: Path, name: str) -> None:
    version, damage, message = DAMAGE[name]
    write_lerobot(tmp_path / "d", version)
    damage(tmp_path / "d")
    config = LeRobotConfig(path=str(tmp_path / "d"))
    with pytest.raises(SourceError, match=message) as caught:
        _read_all(config)
    assert caught.value.remedy


def test_pictures_that_are_none_are_said(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v3.0", images=True)
    table = pq.read_table(tmp_path / "d" / V3)
    cells = table.column(CAMERA).to_pylist()
    cells[10]["bytes"] = cells[10]["bytes"][:30]
    pq.write_table(table.set_column(0, CAMERA, pa.array(cells)), tmp_path / "d" / V3)
    source = LeRobotConfig(path=str(tmp_path / "d")).build()
    assert len(list(source.read("0").frames())) == LENGTHS[0]
    with pytest.raises(SourceError, match=rf"column '{CAMERA}' has no picture in row 1 of the episode"):
        list(source.read("1").frames())


def test_a_folder_that_is_none_and_a_tolerance_that_is_none() -> None:
    with pytest.raises(SourceError, match="there is no such folder; check the path"):
        LeRobotConfig(path="/nowhere").build()
    with pytest.raises(ValueError, match=r"tolerance is 0\.0 seconds"):
        LeRobotConfig(path="/nowhere", tolerance=0.0)


def test_depth_is_no_camera(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "d", "v2.1", wrist=True)
    _edit(
        tmp_path / "d/meta/info.json", lambda data: data["features"][WRIST]["info"].update({"video.is_depth_map": True})
    )
    assert LeRobotConfig(path=str(tmp_path / "d")).build().origin.endswith(CAMERA)


def _range(written: list[Any], column: int) -> tuple[float, float]:
    values = np.concatenate([episode.actions[:, column] for episode in written])
    return float(values.min()), float(values.max())
