"""Stores out as LeRobot v3.0: the same episodes come back, and the files hold what LeRobot's library asks for."""

import json
import resource
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.collect import collect
from hallucade.data.episode import Episode
from hallucade.data.exporters import lerobot
from hallucade.data.exporters.feature_stats import joined_stats, number_stats, picture_stats
from hallucade.data.exporters.lerobot import CAMERA, LeRobotExportConfig, export_lerobot
from hallucade.data.importers.lerobot import LeRobotConfig
from hallucade.data.importers.lerobot_facts import FACTS
from hallucade.data.manifest import StoreColumn, StoreError, StoreManifest
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

ACTIONS = ActionSpace(
    buttons=(Button(name="fire", keys=("Space",)),),
    choices=(Choice(name="gear", options=("none", "low", "high")),),
    axes=(Axis(name="yaw", low=-9, high=9, kind="delta", turns="right"),),
)
LENGTHS = (5, 9, 3, 6)  # actions
SPLITS = ("train", "validation", "train", "train")
ORDER = (0, 2, 3, 1)  # of the exported episodes
DEFAULTS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}


def episode(seed: int, length: int, size: tuple[int, int] = (34, 50)) -> Episode:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    shades = [np.stack([(4 * x + 9 * i) % 256, (5 * y) % 256, 0 * x + 40 * seed], -1) for i in range(length + 1)]
    rows = np.stack([rng.integers(0, 2, length), rng.integers(0, 3, length), rng.uniform(-9, 9, length)], 1)
    maps = rng.integers(0, 200, (length + 1, 2, 3)).astype(np.uint8)
    return Episode(
        np.stack(shades).astype(np.uint8),
        rows.astype(np.float32),
        rng.normal(size=length).astype(np.float32),
        rng.normal(size=(length + 1, 2)),
        {"map": maps, "alive": np.arange(length + 1) < length},
    )


def make_store(path: Path, size: tuple[int, int] = (34, 50), fps: float = 12.5) -> EpisodeStore:
    episodes = [episode(seed, length, size) for seed, length in enumerate(LENGTHS)]
    first = episodes[0]
    columns: dict[str, Any] = {"frames": first.frames, "actions": first.actions, "rewards": first.rewards}
    columns |= {"state": first.state, **{f"extras.{name}": extra for name, extra in first.extras.items()}}
    manifest = StoreManifest(
        actions=ACTIONS,
        columns=tuple(StoreColumn.like(name, column) for name, column in columns.items()),
        fps=fps,
        state_names=("x", "speed"),
        licence="CC0-1.0",
    )
    with StoreWriter(path, manifest) as writer:
        names = [f"match {i}" for i in range(4)]
        writer.append(episodes, [7, 8, 9, 10], SPLITS, names, [("cut",), (), (), ()])
    return EpisodeStore(path)


@pytest.mark.parametrize("pictures", ["video", "png"])
def test_a_store_comes_back(tmp_path: Path, pictures: Any) -> None:
    store = make_store(tmp_path / "s")
    seen: list[tuple[int, int]] = []
    config = LeRobotExportConfig(pictures=pictures, crf=8)
    path = export_lerobot(store, tmp_path / "d", config, progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(i, 4) for i in range(1, 5)]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    source = LeRobotConfig(path=str(path)).build()
    assert (source.actions, source.fps, source.state_names) == (ACTIONS, 12.5, ("x", "speed"))
    assert source.licence == "CC0-1.0"
    for name, index in zip(source.episodes, ORDER, strict=True):
        read, kept = source.read(name), store.episode(index)
        frames = np.stack(list(read.frames()))
        off = np.abs(frames.astype(int) - kept.frames)
        assert off.max() == 0 if pictures == "png" else off.mean() < 8
        np.testing.assert_array_equal(read.actions, kept.actions)
        np.testing.assert_array_equal(read.rewards, kept.rewards)
        np.testing.assert_array_equal(read.state, kept.state)
        for extra, values in kept.extras.items():
            np.testing.assert_array_equal(read.extras[extra], values)
            assert read.extras[extra].dtype == values.dtype
        assert (read.split, read.seed) == (SPLITS[index], 7 + index)
    assert source.read("0").notes == ("cut",)


def test_a_store_that_went_out_and_came_back_has_the_same_bytes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    path = export_lerobot(store, tmp_path / "d", LeRobotExportConfig(pictures="png"))
    back = collect(LeRobotConfig(path=str(path)), tmp_path / "back").store
    for number, index in enumerate(ORDER):
        assert back.episodes[number].crc32 == store.episodes[index].crc32


def test_frames_are_those_of_their_episode_and_row(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    source = LeRobotConfig(path=str(export_lerobot(store, tmp_path / "d"))).build()
    for name, index in zip(source.episodes, ORDER, strict=True):
        kept = store.episode(index).frames.astype(int)
        for i, frame in enumerate(source.read(name).frames()):
            nearest = int(np.abs(kept - frame).mean((1, 2, 3)).argmin())
            assert nearest == i


def test_files_are_as_the_library_asks(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    path = export_lerobot(store, tmp_path / "d", LeRobotExportConfig(task="win the match"))
    info = json.loads((path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, sum(LENGTHS) + 4, 1)
    assert info["splits"] == {"train": "0:3", "validation": "3:4"}
    assert info["features"]["action"] == {"dtype": "float32", "shape": [3], "names": ["fire", "gear", "yaw"]}
    assert info["features"][CAMERA]["shape"] == [34, 50, 3]
    assert info["features"]["extras.map"] == {"dtype": "uint8", "shape": [6], "names": None}
    assert set(info["features"]) >= DEFAULTS
    data = pq.read_table(path / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(data.column_names) == set(info["features"]) - {CAMERA}
    assert str(data.schema.field("action").type) == "fixed_size_list<element: float>[3]"
    assert str(data.schema.field("next.reward").type) == "float"
    assert data["index"].to_pylist() == list(range(sum(LENGTHS) + 4))
    np.testing.assert_array_equal(data["action"].to_pylist()[LENGTHS[0]], ACTIONS.idle)
    listed = pq.read_table(path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [line["length"] for line in listed] == [LENGTHS[i] + 1 for i in ORDER]
    assert [line["tasks"] for line in listed] == [["win the match"]] * 4
    assert [line["dataset_to_index"] for line in listed] == np.cumsum([LENGTHS[i] + 1 for i in ORDER]).tolist()
    spans = [(line[f"videos/{CAMERA}/from_timestamp"], line[f"videos/{CAMERA}/to_timestamp"]) for line in listed]
    assert spans[1:] == [(a, b) for (_, a), (_, b) in pairwise(spans)]
    for feature in info["features"]:
        assert {f"stats/{feature}/{key}" for key in ("min", "max", "mean", "std", "count", "q01", "q99")} <= set(
            listed[0]
        )
    assert np.shape(listed[0][f"stats/{CAMERA}/mean"]) == (3, 1, 1)
    stats = json.loads((path / "meta/stats.json").read_text())
    assert stats["index"]["max"] == [sum(LENGTHS) + 3]
    tasks = pq.read_table(path / "meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "win the match"}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    with av.open(str(path / info["video_path"].format(video_key=CAMERA, chunk_index=0, file_index=0))) as film:
        stream = film.streams.video[0]
        assert (stream.frames, float(stream.average_rate or 0)) == (sum(LENGTHS) + 4, 12.5)
        assert stream.codec_context.pix_fmt == "yuv420p"


def test_another_reader_sees_axes_and_splits(tmp_path: Path) -> None:
    path = export_lerobot(make_store(tmp_path / "s"), tmp_path / "d")
    (path / FACTS).unlink()
    source = LeRobotConfig(path=str(path)).build()
    assert source.actions.names == ("fire", "gear", "yaw")
    assert [source.read(name).split for name in source.episodes] == ["train"] * 3 + ["validation"]


def test_files_grow_only_to_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot, "FILES", 2)
    monkeypatch.setattr(lerobot, "BATCH", 1)
    store = make_store(tmp_path / "s", (176, 208))
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "s") as writer:  # noise, so that each episode has more than a megabyte
        for seed in range(6):
            noisy = episode(seed, 8, (176, 208))
            writer.append(
                [
                    Episode(
                        rng.integers(0, 256, noisy.frames.shape).astype(np.uint8),
                        noisy.actions,
                        noisy.rewards,
                        noisy.state,
                        noisy.extras,
                    )
                ]
            )
    store = EpisodeStore(tmp_path / "s")
    for pictures, key in (("video", f"videos/{CAMERA}"), ("png", "data")):
        config = LeRobotExportConfig(pictures=pictures, crf=1, data_megabytes=1, video_megabytes=1)
        path = export_lerobot(store, tmp_path / pictures, config)
        listed = [
            line
            for file in sorted((path / "meta/episodes").rglob("*.parquet"))
            for line in pq.read_table(file).to_pylist()
        ]
        places = [(line[f"{key}/chunk_index"], line[f"{key}/file_index"]) for line in listed]
        assert len(set(places)) >= 3
        assert places == sorted(places)
        assert set(places) >= {(0, 0), (0, 1), (1, 0)}
        source = LeRobotConfig(path=str(path)).build()
        for name in source.episodes:
            read = source.read(name)
            assert len(list(read.frames())) == len(read.actions) + 1


def test_columns_of_one_number_are_plain_numbers(tmp_path: Path) -> None:
    actions = ActionSpace(axes=(Axis(name="steer", low=-1, high=1),))
    one = Episode(
        np.zeros((4, 8, 6, 3), np.uint8), np.array([[0.5], [-1], [0.25]], np.float32), state=np.arange(4.0)[:, None]
    )
    columns = {"frames": one.frames, "actions": one.actions, "state": one.state}
    described = tuple(StoreColumn.like(name, column) for name, column in columns.items() if column is not None)
    with StoreWriter(tmp_path / "s", StoreManifest(actions=actions, columns=described, fps=3, state_names=("x",))) as w:
        w.append([one])
    path = export_lerobot(EpisodeStore(tmp_path / "s"), tmp_path / "d")
    table = pq.read_table(path / "data/chunk-000/file-000.parquet")
    assert [str(table.schema.field(name).type) for name in ("action", "observation.state")] == ["float", "double"]
    assert "next.reward" not in table.column_names
    read = LeRobotConfig(path=str(path)).build().read("0")
    np.testing.assert_array_equal(read.actions, one.actions)
    np.testing.assert_array_equal(read.state, one.state)
    assert read.rewards is None


def test_odd_sizes_keep_every_row_and_column(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", (33, 47), fps=30)
    path = export_lerobot(store, tmp_path / "d", LeRobotExportConfig(crf=4))
    read = LeRobotConfig(path=str(path)).build().read("0")
    frames = np.stack(list(read.frames()))
    assert np.abs(frames.astype(int) - store.episode(0).frames).mean() < 4
    assert json.loads((path / "meta/info.json").read_text())["fps"] == 30


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    (tmp_path / "d").mkdir()
    assert export_lerobot(store, tmp_path / "d") == tmp_path / "d"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="d: the folder is not empty; choose another one"):
        export_lerobot(store, tmp_path / "d")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("pictures", ["video", "png"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, pictures: Any) -> None:
    store = make_store(tmp_path / "s", (120, 160))
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot write there .*; free some space or choose another folder"):
            export_lerobot(store, tmp_path / "d", LeRobotExportConfig(pictures=pictures, crf=0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    before = sorted(tmp_path.rglob("*"))

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_lerobot(store, tmp_path / "d", progress=stop)
    assert sorted(tmp_path.rglob("*")) == before


def test_damage_of_an_exported_set_is_said(tmp_path: Path) -> None:
    path = export_lerobot(make_store(tmp_path / "s"), tmp_path / "d")
    film = next(path.rglob("*.mp4"))
    film.write_bytes(film.read_bytes()[: int(film.stat().st_size * 0.7)])
    source = LeRobotConfig(path=str(path)).build()
    with pytest.raises(SourceError, match=r"file-000\.mp4: "):
        _ = [list(source.read(name).frames()) for name in source.episodes]
    (path / FACTS).write_text("{}")
    with pytest.raises(SourceError, match=r"hallucade\.json: it is not usable .*delete it"):
        LeRobotConfig(path=str(path)).build()


def test_an_empty_store_and_impossible_options_are_refused(tmp_path: Path) -> None:
    manifest = make_store(tmp_path / "s").manifest
    StoreWriter(tmp_path / "empty", manifest).close()
    with pytest.raises(ValueError, match="empty has no episode; record or import some first"):
        export_lerobot(EpisodeStore(tmp_path / "empty"), tmp_path / "d")
    with pytest.raises(ValueError, match="crf is 52"):
        LeRobotExportConfig(crf=52)
    with pytest.raises(ValueError, match="files of 0 and 200 megabytes"):
        LeRobotExportConfig(data_megabytes=0)


def test_statistics_of_parts_join_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(i, 1 + i, (n, 3)) for i, n in enumerate((5, 11, 2))]
    joined, whole = joined_stats([number_stats(part) for part in parts]), number_stats(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(joined[name], whole[name])
    assert (joined["min"] <= joined["q01"]).all()
    assert (joined["q10"] <= joined["q90"]).all()
    white = picture_stats(np.full((4, 3, 5, 3), 255, np.uint8))
    assert (white["mean"].shape, white["mean"][0, 0, 0], white["count"].tolist()) == ((3, 1, 1), 1.0, [4])
