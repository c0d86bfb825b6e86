"""VPT and BASALT recordings: what becomes of lines, quirks and damage."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.damage import KEEP_ALL, cuts, edited, misfit, refusals
from samples.vpt import (
    ATTACKS,
    DIGIT_AT,
    FPS,
    FRAMES,
    MENU_AT,
    MENU_FRAMES,
    NAMES,
    SIZE,
    WHEEL_AT,
    Recording,
    write_lines,
    write_vpt,
)

from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.registry import guess_format
from hallucade.data.importers.vpt import VptConfig
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore

SHOWN = FRAMES + MENU_FRAMES + 1


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Recording]]:
    folder = tmp_path_factory.mktemp("vpt")
    return folder, write_vpt(folder)


@pytest.fixture(scope="module")
def store(sample: tuple[Path, dict[str, Recording]], tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return collect(VptConfig(path=str(sample[0])), tmp_path_factory.mktemp("store") / "s", KEEP_ALL).store


@pytest.fixture
def copy(sample: tuple[Path, dict[str, Recording]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample[0], tmp_path / "vpt"))


def rewrite(file: Path, number: int, path: str, value: Any) -> None:
    """Set one field of one line; the value `del` removes it."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    *parents, last = path.split(".")
    target = lines[number - 1]
    for parent in parents:
        target = target[parent]
    if value == "del":
        del target[last]
    else:
        target[last] = value
    write_lines(file, lines)


def test_frames_buttons_camera_and_poses_are_those_that_were_recorded(
    sample: tuple[Path, dict[str, Recording]], store: EpisodeStore
) -> None:
    assert [record.name for record in store.episodes] == sorted(NAMES)
    assert (store.fps, store.frame_size, store.state_names) == (FPS, SIZE, ("x", "y", "z", "yaw", "pitch"))
    for index, record in enumerate(store.episodes):
        truth, episode = sample[1][record.name], store.episode(index)
        n = len(episode.actions)
        assert n == SHOWN - 1 - 4 * (record.name == NAMES[2])
        assert misfit(episode.frames, truth.frames[: n + 1]) < 6
        names = store.actions.names[:-2]
        held = [{name for name, value in zip(names, row, strict=False) if value} for row in episode.actions]
        assert held == truth.held[:n]
        np.testing.assert_allclose(episode.actions[:, -2:], truth.camera[:n], atol=1e-5)
        np.testing.assert_allclose(episode.state, truth.poses[: n + 1])


def test_every_button_of_the_recorder_has_a_column(store: EpisodeStore) -> None:
    assert set(store.actions.names) == {
        *("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack", "use", "drop", "inventory"),
        *(f"hotbar.{slot}" for slot in range(1, 10)),
        *("swapHands", "pickItem", "yaw", "pitch"),
    }
    assert [axis.turns for axis in store.actions.axes] == ["right", "up"]


def test_one_count_of_the_mouse_is_a_fraction_of_a_degree(copy: Path, tmp_path: Path) -> None:
    file = copy / f"{NAMES[0]}.jsonl"
    rewrite(file, 8, "mouse.dx", 1.0)
    rewrite(file, 8, "mouse.dy", 1)
    episode = VptConfig(path=str(copy)).build().read(NAMES[0])
    assert episode.actions[7, -2:].tolist() == pytest.approx([0.15, -0.15])


def test_the_view_in_the_state_turns_as_the_camera_does(store: EpisodeStore) -> None:
    episode = store.episode(0)
    assert episode.state is not None
    turned = np.diff(episode.state[: MENU_AT + 1, 3:], axis=0)
    turned[:, 0] = (turned[:, 0] + 180) % 360 - 180
    np.testing.assert_allclose(turned, episode.actions[:MENU_AT, -2:], atol=1e-4)


def test_menus_are_cut_and_the_game_goes_on_in_a_second_episode(
    sample: tuple[Path, dict[str, Recording]], tmp_path: Path
) -> None:
    store = collect(VptConfig(path=str(sample[0])), tmp_path / "s", limit=1).store
    assert [record.frames for record in store.episodes] == [MENU_AT + 1, SHOWN - MENU_AT - 1 - MENU_FRAMES]
    truth = sample[1][NAMES[0]]
    misfit(store.episode(1).frames, truth.frames[MENU_AT + 1 + MENU_FRAMES :])
    assert not store.episode(0).actions[:, store.actions.names.index("inventory")].any()


def test_at_half_the_rate_turns_add_up_and_a_short_press_counts(
    sample: tuple[Path, dict[str, Recording]], tmp_path: Path
) -> None:
    conversion = ConversionConfig(menus="keep", fps=10, size=(36, 64))
    episode = collect(VptConfig(path=str(sample[0])), tmp_path / "s", conversion, limit=1).store.episode(0)
    truth = sample[1][NAMES[0]]
    n = (SHOWN - 1) // 2
    np.testing.assert_allclose(episode.actions[:, -2:], truth.camera[: 2 * n].reshape(n, 2, 2).sum(1), atol=1e-5)
    column = [*VptConfig(path=str(sample[0])).build().actions.names].index("hotbar.5")
    assert np.flatnonzero(episode.actions[:, column]).tolist() == [WHEEL_AT // 2]


def test_quirks_of_the_recorder_are_repaired_and_told(store: EpisodeStore) -> None:
    first, old, cut = (record.notes for record in store.episodes)
    lost = "10.0/lost-video-000000000000-20220101-000000"
    assert f"left out, as only the video or only the actions are there: {lost}" in first
    assert not any("left out" in note for note in old)
    assert f"attack hangs in the first {ATTACKS.start} frames: it is released" in old
    assert "hotbar slots chosen by the wheel, whose buttons are pressed: 1" in old  # the other was chosen by its key
    assert f"{SHOWN - 1} actions need {SHOWN} frames and there are {SHOWN - 4}: the rest is cut" in cut


def test_a_key_that_chooses_a_slot_one_line_before_is_not_pressed_twice(copy: Path) -> None:
    file = copy / f"{NAMES[0]}.jsonl"
    rewrite(file, DIGIT_AT, "keyboard.keys", ["key.keyboard.2"])
    rewrite(file, DIGIT_AT + 1, "keyboard.keys", [])
    source = VptConfig(path=str(copy)).build()
    column = source.actions.names.index("hotbar.2")
    assert np.flatnonzero(source.read(NAMES[0]).actions[:, column]).tolist() == [DIGIT_AT - 1]


def test_attack_that_is_never_pressed_is_never_held(copy: Path) -> None:
    file = copy / f"{NAMES[1]}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["mouse"] = line["mouse"] and {**line["mouse"], "buttons": [0], "newButtons": []}
    lines[0]["mouse"]["newButtons"] = [0]
    write_lines(file, lines)
    source = VptConfig(path=str(copy)).build()
    assert not source.read(NAMES[1]).actions[:, source.actions.names.index("attack")].any()


def test_fast_turns_are_clipped_and_counted(sample: tuple[Path, dict[str, Recording]]) -> None:
    slow = VptConfig(path=str(sample[0]), max_turn=2.0).build()
    episode = slow.read(NAMES[0])
    slow.actions.validate(episode.actions)
    outside = (np.abs(sample[1][NAMES[0]].camera[:-1, 0]) > 2).sum()
    assert any(note.startswith("yaw reaches") and f"{outside} of {SHOWN - 1} rows" in note for note in episode.notes)
    with pytest.raises(ValueError, match="max_turn is 0"):
        VptConfig(path=str(sample[0]), max_turn=0).build()


def test_a_video_that_goes_on_after_the_last_line_is_told(copy: Path) -> None:
    edited(copy / f"{NAMES[0]}.jsonl", lambda text: "\n".join(text.splitlines()[:30]))
    source = VptConfig(path=str(copy)).build()
    episode = source.read(NAMES[0])
    assert len(episode.actions) == 29
    assert f"the video has {SHOWN} frames and the .jsonl 30 lines: the rest is left out" in episode.notes


def test_basalt_files_without_poses_have_no_state(copy: Path, tmp_path: Path) -> None:
    for name in NAMES:
        lines = [json.loads(line) for line in (copy / f"{name}.jsonl").read_text().splitlines()]
        kept = ("mouse", "keyboard", "isGuiOpen", "isGuiInventory", "hotbar", "tick", "milli")
        write_lines(copy / f"{name}.jsonl", [{key: line[key] for key in kept} for line in lines])
    store = collect(VptConfig(path=str(copy)), tmp_path / "s").store
    assert store.state_names == ()
    assert store.episode(0).state is None


def test_a_recording_without_the_poses_of_the_others_is_refused_unless_state_is(copy: Path) -> None:
    rewrite(copy / f"{NAMES[1]}.jsonl", 9, "zpos", "del")
    (error,) = refusals(VptConfig(path=str(copy)))
    assert f"{NAMES[1]}.jsonl: line 9: xpos, ypos, zpos, yaw or pitch is missing" in str(error)
    assert refusals(VptConfig(path=str(copy), state=False)) == []


def test_an_index_names_the_recordings_beside_it_or_in_folders_by_version(copy: Path) -> None:
    index = copy / "all_10xx_Jun_29.json"
    assert guess_format(index) == guess_format(copy) == "vpt"
    source = VptConfig(path=str(index)).build()
    assert source.episodes == tuple(sorted(NAMES))
    assert "10.0/lost-both" in source.read(NAMES[0]).notes[0]
    flat = copy / "flat"
    flat.mkdir()
    for file in [file for file in copy.rglob("*") if file.is_file()]:
        shutil.move(file, flat / file.name)
    edited(flat / index.name, lambda text: text.replace("183423", "183423.mp4"))  # some indexes name the videos
    source = VptConfig(path=str(flat / index.name)).build()
    assert source.episodes == tuple(sorted(NAMES))
    moved = source.read(NAMES[1]).actions[MENU_AT + 1, -2:]  # the index tells the recorder's version, and so the scale
    assert moved.tolist() == pytest.approx([0.15 * 40, -0.15 * 14])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"basedir": "x"}', "relpaths is missing"),
        ('{"basedir": "x", "relpaths": [3]}', "relpaths.0 is 3, but input should be a valid string"),
        ('{"basedir": "x", "relpaths": ["../../secret"]}', "leaves the index's folder"),
        ('{"basedir": "x", "relpaths": []}', "there is no ID.mp4 with its ID.jsonl"),
        ('{"basedir"', "it is no JSON"),
        ("", "the file is empty"),
    ],
)
def test_an_index_that_is_wrong_says_where(tmp_path: Path, text: str, wanted: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(SourceError, match=r"index\.json") as caught:
        VptConfig(path=str(tmp_path / "index.json")).build()
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("mouse.dx", "3", "mouse.dx is '3', but input should be a valid number"),
        ("mouse.dy", None, "mouse.dy is None, but"),
        ("mouse.dx", 1e300, "mouse.dx is 1e+300, but"),
        ("mouse.dx", True, "mouse.dx is True, but"),
        ("mouse.buttons", 0, "mouse.buttons is 0, but input should be a valid"),
        ("mouse.buttons", ["0"], "mouse.buttons.0 is '0', but"),
        ("mouse", "del", "mouse is missing"),
        ("keyboard", [], "keyboard is [], but"),
        ("keyboard.keys", [7], "keyboard.keys.0 is 7, but input should be a valid string"),
        ("isGuiOpen", 1, "isGuiOpen is 1, but input should be a valid boolean"),
        ("hotbar", 9, "hotbar is 9, but"),
        ("yaw", "north", "yaw is 'north', but"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_line(copy: Path, path: str, value: Any, wanted: str) -> None:
    rewrite(copy / f"{NAMES[0]}.jsonl", 17, path, value)
    (error,) = refusals(VptConfig(path=str(copy)))
    assert f"{NAMES[0]}.jsonl: line 17: {wanted}" in str(error)


@pytest.mark.parametrize("content", [b"[]\n", b"\x00\xff\n", b"{}\n", b'"mouse"\n', b"[" * 100_000])
def test_a_line_of_something_else_is_named(copy: Path, content: bytes) -> None:
    with (copy / f"{NAMES[0]}.jsonl").open("ab") as file:
        file.write(content)
    (error,) = refusals(VptConfig(path=str(copy)))
    assert f"{NAMES[0]}.jsonl: line {SHOWN + 1}: " in str(error)


def test_a_cut_file_is_refused_by_name_or_ends_with_a_whole_line(copy: Path, rng: np.random.Generator) -> None:
    others = [file for name in NAMES[1:] for file in copy.glob(f"{name}.*")]
    for file in others:
        file.unlink()
    for suffix, count in ((".jsonl", 24), (".mp4", 12)):
        file = copy / f"{NAMES[0]}{suffix}"
        whole = file.read_bytes()
        for length in cuts(file, count, rng):
            found = refusals(VptConfig(path=str(copy)))
            if not found:  # cut between two lines: told in a note
                assert suffix == ".jsonl"
                assert json.loads(whole[:length].splitlines()[-1])
                assert "the rest is left out" in VptConfig(path=str(copy)).build().read(NAMES[0]).notes[-1]
            assert all(error.path == file for error in found)


def test_what_is_damaged_can_be_left_out(copy: Path, tmp_path: Path) -> None:
    (copy / f"{NAMES[0]}.jsonl").write_text("")
    (copy / f"{NAMES[1]}.mp4").write_bytes(b"no video")
    done = collect(VptConfig(path=str(copy)), tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == [NAMES[0], NAMES[1]]
    assert {record.name for record in done.store.episodes} == {NAMES[2]}
    assert [note.split(" was left out")[0] for note in done.store.manifest.notes] == [NAMES[0], NAMES[1]]


def test_a_folder_of_something_else_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"keys": []}\n')
    assert not VptConfig.recognises(tmp_path)
    with pytest.raises(SourceError, match=r"no ID.mp4 with its ID.jsonl \(1 have only one"):
        VptConfig(path=str(tmp_path)).build()
    with pytest.raises(SourceError, match="there is no such folder"):
        VptConfig(path=str(tmp_path / "none")).build()
