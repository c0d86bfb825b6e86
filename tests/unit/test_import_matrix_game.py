"""Matrix-Game and FastVideo data in: every layout gives the walk that was recorded, and what is wrong is said once."""

import json
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples.matrix_game import (
    DEGREES,
    FPS,
    LENGTHS,
    SIZE,
    arrays_of,
    walks,
    write_lists,
    write_pairs,
    write_parquet,
    write_recordings,
    write_validation,
)
from samples.scene import Walk

from hallucade.data.collect import collect
from hallucade.data.importers.matrix_game import MatrixGameConfig
from hallucade.data.importers.registry import guess_format
from hallucade.data.importers.worldmodel_mc import WorldModelMinecraftConfig
from hallucade.data.source import EpisodeSource, ForeignEpisode, SourceError

WALKS = cache(walks)


def open_at(path: Path, **options: Any) -> EpisodeSource:
    return MatrixGameConfig(path=str(path), degrees=DEGREES, **options).build()


def assert_walk(read: ForeignEpisode, walked: Walk, tolerance: float = 1e-4) -> None:
    frames = np.stack(list(read.frames()))
    assert frames.shape == walked.frames.shape
    for i in (0, len(frames) // 2, len(frames) - 1):
        assert np.abs(walked.frames.astype(int) - frames[i]).mean((1, 2, 3)).argmin() == i
    np.testing.assert_array_equal(read.actions[:, :4], walked.rows[:, :4])
    np.testing.assert_allclose(read.actions[:, -2:], walked.rows[:, 4:], atol=tolerance)


LAYOUTS: dict[str, Callable[[Path, Sequence[Walk]], Any]] = {
    "pairs": write_pairs,
    "metadata": write_lists,
    "captions": lambda root, walked: write_lists(root, walked, captions=True),
    "parquet": write_parquet,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_walk(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path / "d", WALKS())
    source = open_at(tmp_path / "d")
    assert source.fps == FPS
    assert source.actions.names == ("forward", "back", "left", "right", "yaw", "pitch")
    assert [axis.turns for axis in source.actions.axes] == ["right", "up"]
    assert [axis.high for axis in source.actions.axes] == [5, 5]
    assert [Path(name).name for name in source.episodes] == ["000000", "000001", "000002"]
    for name, walked in zip(source.episodes, WALKS(), strict=True):
        assert_walk(source.read(name), walked)
        assert source.read(name).notes == ()


@pytest.mark.parametrize("layout", ["pairs", "metadata", "captions"])
def test_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path / "d", WALKS())
    assert guess_format(tmp_path / "d") == "matrix-game"


def test_a_validation_list_is_read_from_its_own_place(tmp_path: Path) -> None:
    path = write_validation(tmp_path / "d", WALKS())
    assert guess_format(path) == "matrix-game"
    source = open_at(path)
    assert list(source.episodes) == ["clips/000000", "clips/000001"]
    for name, walked in zip(source.episodes, WALKS()[:2], strict=True):
        assert_walk(source.read(name), walked, tolerance=0.003)  # its numbers are rounded
    assert source.read("clips/000000").notes[-1].startswith("1 samples are left out")


def test_a_table_with_videos_elsewhere(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d", WALKS())
    assert guess_format(path) == "matrix-game"
    (tmp_path / "d/videos").rename(tmp_path / "films")
    with pytest.raises(SourceError, match=r"row 0 is of 000000\.mp4, which is not in .*only latents; .*--videos"):
        open_at(path)
    source = open_at(path, videos=str(tmp_path / "films"))
    assert_walk(source.read("000002"), WALKS()[2])


def test_a_store_of_it_has_every_frame_and_action(tmp_path: Path) -> None:
    write_lists(tmp_path / "d", WALKS())
    store = collect(MatrixGameConfig(path=str(tmp_path / "d"), degrees=DEGREES), tmp_path / "s").store
    assert [len(store.episode(i).frames) for i in range(3)] == list(LENGTHS)
    assert [record.notes for record in store.episodes] == [(), (), ()]
    assert (store.frame_size, store.fps) == (SIZE, FPS)


@pytest.mark.parametrize(
    ("width", "names"),
    [
        (2, ("forward", "back")),
        (4, ("forward", "back", "left", "right")),
        (6, ("forward", "back", "left", "right", "jump", "attack")),
        (23, tuple({11: "forward", 12: "back", 13: "left", 14: "right"}.get(i, f"key {i}") for i in range(23))),
    ],
)
def test_keyboards_are_told_by_their_width(tmp_path: Path, width: int, names: tuple[str, ...]) -> None:
    write_pairs(tmp_path / "d", WALKS(), keyboard=width)
    source = open_at(tmp_path / "d")
    assert source.actions.names == (*names, "yaw", "pitch")
    rows = source.read("000000").actions
    first = names.index("forward")
    np.testing.assert_array_equal(rows[:, first : first + min(width, 4)], WALKS()[0].rows[:, : min(width, 4)])


def test_runs_are_one_choice_and_need_no_mouse(tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", WALKS()[:1])
    pressed = np.arange(LENGTHS[0]) % 7
    np.save(tmp_path / "d/000000_action.npy", np.eye(7, dtype=np.float32)[pressed])
    source = open_at(tmp_path / "d")
    assert source.actions.names == ("run",)
    assert source.actions.choices[0].options[3:5] == ("turn left", "turn right")
    np.testing.assert_array_equal(source.read("000000").actions[:, 0], pressed[:-1])


def test_keys_can_be_named_and_turns_are_nominal(tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", WALKS()[:1])
    source = MatrixGameConfig(path=str(tmp_path / "d"), keys=("n", "s", "w", "e"), reach=0.05).build()
    assert source.actions.names[:4] == ("n", "s", "w", "e")
    read = source.read("000000")
    assert np.abs(read.actions[:, -2:]).max() == np.float32(0.25)  # 0.05 units of 5 degrees
    assert any(note.startswith("yaw reaches") for note in read.notes)
    with pytest.raises(SourceError, match="keyboard has 4 columns and 3 names are given; give one name a column"):
        _ = open_at(tmp_path / "d", keys=("a", "b", "c")).actions
    with pytest.raises(ValueError, match="degrees is 0; it must be positive"):
        MatrixGameConfig(path="x", degrees=0)


def test_more_rows_than_frames_are_cut(tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", WALKS()[:1])
    arrays = {name: np.concatenate([rows, rows]) for name, rows in arrays_of(WALKS()[0]).items()}
    _save(tmp_path / "d/000000_action.npy", arrays)
    assert_walk(open_at(tmp_path / "d").read("000000"), WALKS()[0])
    _save(tmp_path / "d/000000_action.npy", {name: rows[:8] for name, rows in arrays.items()})
    read = open_at(tmp_path / "d").read("000000")
    assert len(read.actions) == 8
    assert read.notes == ("the video has 21 frames, of which 9 have actions: the rest is left out",)


def test_a_lonely_video_is_left_out_and_told(tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", WALKS())
    (tmp_path / "d/000001_action.npy").unlink()
    source = open_at(tmp_path / "d")
    assert list(source.episodes) == ["000000", "000002"]
    assert source.read("000000").notes == (
        "1 samples are left out, of which only the video or only the actions are there",
    )


def _save(path: Path, content: Any) -> None:
    np.save(path, content)


def _action(**changes: Any) -> Callable[[Path], None]:
    return lambda root: _save(root / "000000_action.npy", {**arrays_of(WALKS()[0]), **changes})


def _bytes(content: Callable[[bytes], bytes], name: str = "000000_action.npy") -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content((root / name).read_bytes()))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit",)


def _evil(root: Path) -> None:
    np.save(root / "000000_action.npy", np.array(Evil(), dtype=object), allow_pickle=True)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty actions": (_bytes(lambda _: b""), "000000_action.npy: the file is empty"),
    "cut actions": (_bytes(lambda b: b[: len(b) // 2]), r"000000_action\.npy: "),
    "code": (_evil, r"000000_action\.npy: .*nothing in it was run"),
    "a list": (lambda r: _save(r / "000000_action.npy", np.array(None, object)), "it holds a NoneType"),
    "text": (_action(keyboard=np.array([["W"]])), r"keyboard is <U1 of shape \(1, 1\); numbers, frames x columns"),
    "no array": (_action(keyboard=[[1, 0]]), "keyboard is a list and no array"),
    "flat": (_action(keyboard=np.zeros(21)), r"keyboard is float64 of shape \(21,\)"),
    "neither": (lambda r: _save(r / "000000_action.npy", {"keys": 1}), "it has neither keyboard nor mouse"),
    "wide mouse": (_action(mouse=np.zeros((21, 3))), "mouse has 3 columns; it needs 2: pitch"),
    "short mouse": (_action(mouse=np.zeros((20, 2))), "keyboard has 21 rows and mouse 20"),
    "not finite": (_action(mouse=np.full((21, 2), np.nan)), "mouse is not finite in row 0"),
    "no video": (lambda r: (r / "000000.mp4").write_bytes(b""), r"000000\.mp4: the file is empty"),
    "cut video": (_bytes(lambda b: b[:200], "000000.mp4"), r"000000\.mp4: the file is cut short"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_said_with_file_field_and_remedy(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    write_pairs(tmp_path / "d", WALKS()[:1])
    damage(tmp_path / "d")
    with pytest.raises(SourceError, match=message) as caught:
        _read_all(open_at, tmp_path / "d")
    assert caught.value.remedy


def _read_all(opener: Callable[[Path], EpisodeSource], path: Path) -> None:
    source = opener(path)
    assert source.actions.size
    for name in source.episodes:
        for _ in source.read(name).frames():
            pass


def test_samples_of_another_keyboard_do_not_mix(tmp_path: Path) -> None:
    write_pairs(tmp_path / "d", WALKS())
    _save(tmp_path / "d/000001_action.npy", arrays_of(WALKS()[1], 6))
    source = open_at(tmp_path / "d")
    assert source.read("000002").actions.shape == (LENGTHS[2] - 1, 6)
    with pytest.raises(
        SourceError, match="a keyboard of 6 columns and a mouse, the first sample a keyboard of 4 columns"
    ):
        source.read("000001")


def test_damaged_lists(tmp_path: Path) -> None:
    write_lists(tmp_path / "d", WALKS())
    path = tmp_path / "d/metadata_0.json"
    good = json.loads(path.read_text())
    for content, message in (
        ("", "the file is empty"),
        (json.dumps(good)[:-9], "it is no JSON"),
        (json.dumps([{**good[0], "num_frames": "many"}]), r"data\.0\.num_frames is 'many'"),
        (json.dumps({"clips": good}), "data is missing"),
    ):
        path.write_text(content)
        with pytest.raises(SourceError, match=rf"metadata_0\.json: {message}"):
            open_at(tmp_path / "d")
    path.write_text(json.dumps([{**good[0], "num_frames": 30}]))
    with pytest.raises(SourceError, match="num_frames is 30; there are 21 rows of actions and 21 frames"):
        open_at(tmp_path / "d").read("videos/000000")
    path.write_text(json.dumps([{**good[0], "action_path": "videos/none.npy"}]))
    with pytest.raises(SourceError, match=r"none\.npy: "):
        open_at(tmp_path / "d").read("videos/000000")
    (tmp_path / "d/metadata_1.json").unlink()
    path.write_text(json.dumps([{"caption": "only words"}]))
    with pytest.raises(SourceError, match="none of its 1 entries names both a video and its actions"):
        open_at(tmp_path / "d")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SourceError, match="it has no sample; give a folder"):
        open_at(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "keyboard_cond_shape",
            [21, 5],
            r"keyboard_cond of row 0 has 336 bytes that are no float32 of shape \[21, 5\]",
        ),
        ("mouse_cond_dtype", "object", "mouse_cond of row 0 .*dtype 'object' is no number"),
        ("mouse_cond_dtype", "float31", "mouse_cond of row 0 .*float31"),
        ("keyboard_cond_bytes", b"", "a keyboard of 0 columns"),
    ],
)
def test_damaged_tensors(tmp_path: Path, column: str, value: Any, message: str) -> None:
    path = write_parquet(tmp_path / "d", WALKS())
    rows = pq.read_table(path).to_pylist()
    rows[0][column] = value
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(SourceError, match=message):
        _read_all(open_at, path.parent.parent.parent)


def test_a_table_of_something_else(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d", WALKS())
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(SourceError, match=r"it has no column 'keyboard_cond_bytes'.*; there are id"):
        open_at(path)


@pytest.mark.parametrize("poses", [True, False])
def test_recordings_give_the_walk(tmp_path: Path, poses: bool) -> None:
    write_recordings(tmp_path / "d", WALKS(), poses=poses)
    assert guess_format(tmp_path / "d") == "worldmodel-mc"
    source = WorldModelMinecraftConfig(path=str(tmp_path / "d")).build()
    assert source.fps == FPS
    assert list(source.episodes) == [f"walking/episode_{i:03d}" for i in range(3)]
    for name, walked in zip(source.episodes, WALKS(), strict=True):
        read = source.read(name)
        if poses:
            assert_walk(read, walked)
            assert read.state is not None
            np.testing.assert_allclose(read.state[:, [0, 2, 3, 4]], walked.poses)
            assert source.state_names == ("x", "y", "z", "yaw", "pitch")
        else:
            np.testing.assert_array_equal(read.actions[:, 4:], np.sign(walked.rows[:, 4:]) * 0.5)
            assert read.state is None
            assert source.origin.endswith("each turn counts for 0.5 degrees")


RECORDING_DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "no rate": ("manifest.json", lambda _: b'{"fps": 0}', r"manifest\.json: fps is 0"),
    "other rate": ("../episode_001/manifest.json", lambda _: b'{"fps": 20}', "fps is 20, of the first episode 25"),
    "cut words": ("mg/mg_actions.json", lambda b: b[:-30], r"mg_actions\.json: the file is "),
    "other words": (
        "mg/mg_actions.json",
        lambda b: b.replace(b'"view_action": "', b'"view_action": "far '),
        "view_action",
    ),
    "other keys": ("mg/mg_actions.json", lambda b: b.replace(b'"W', b'"Q'), r"move_action is 'Q"),
    "lost entry": ("mg/mg_actions.json", lambda b: b.replace(b'"7":', b'"77":'), "not numbered from 0 on"),
    "empty poses": ("data.npz", lambda _: b"", r"data\.npz: the file is empty"),
    "cut poses": ("data.npz", lambda b: b[: len(b) // 2], r"data\.npz: "),
    "empty video": ("video.mp4", lambda _: b"", r"video\.mp4: the file is empty"),
}


@pytest.mark.parametrize("name", RECORDING_DAMAGE)
def test_damaged_recordings_say_so(tmp_path: Path, name: str) -> None:
    write_recordings(tmp_path / "d", WALKS()[:2])
    file, damage, message = RECORDING_DAMAGE[name]
    path = tmp_path / "d/walking/episode_000" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=message) as caught:
        _read_all(lambda root: WorldModelMinecraftConfig(path=str(root)).build(), tmp_path / "d")
    assert caught.value.remedy


def test_poses_of_another_length_and_folders_without_episodes(tmp_path: Path) -> None:
    write_recordings(tmp_path / "d", WALKS()[:1])
    path = tmp_path / "d/walking/episode_000/data.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "yaws": arrays["yaws"][:-1]})
    source = WorldModelMinecraftConfig(path=str(tmp_path / "d")).build()
    with pytest.raises(SourceError, match=r"yaws is float64 of shape \(20,\); finite numbers of shape \(21,\)"):
        source.read(source.episodes[0])
    (tmp_path / "e").mkdir()
    with pytest.raises(SourceError, match="there is no folder episode_"):
        WorldModelMinecraftConfig(path=str(tmp_path / "e")).build()
    with pytest.raises(ValueError, match=r"step is 20 and max_turn 15\.0"):
        WorldModelMinecraftConfig(path="e", step=20)


def test_sources_travel_as_their_configs(tmp_path: Path) -> None:
    config = MatrixGameConfig(path=str(tmp_path), keys=("a",))
    assert pickle.loads(pickle.dumps(config)) == config
    assert MatrixGameConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
