"""GF-Minecraft clips: which entry belongs to which frame, filters, and what is said of damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.damage import cuts, edited, misfit, refusals
from samples.game_factory import FPS, FRAMES, JUMPS, SIZE, SNEAKS, SPRINTS, write_game_factory
from samples.scene import Walk

from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.game_factory import GameFactoryConfig, read_properties
from hallucade.data.importers.registry import guess_format
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore

FOREST, PLAINS, DESERT = "seed_1_part_1", "seed_2_part_2", "seed_10_part_10"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Walk]]:
    folder = tmp_path_factory.mktemp("gf")
    return folder, write_game_factory(folder)


@pytest.fixture(scope="module")
def store(sample: tuple[Path, dict[str, Walk]], tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return collect(GameFactoryConfig(path=str(sample[0])), tmp_path_factory.mktemp("store") / "s").store


@pytest.fixture
def copy(sample: tuple[Path, dict[str, Walk]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample[0], tmp_path / "gf"))


def rewrite(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change one clip's JSON."""
    clip = json.loads(file.read_text())
    edit(clip)
    file.write_text(json.dumps(clip))


def test_entry_k_leads_to_frame_k_and_entry_0_to_none(
    sample: tuple[Path, dict[str, Walk]], store: EpisodeStore
) -> None:
    assert guess_format(sample[0]) == "game-factory"
    assert [record.name for record in store.episodes] == [DESERT, FOREST, PLAINS]
    assert [record.seed for record in store.episodes] == [10, 1, 2]
    assert (store.fps, store.frame_size) == (FPS, SIZE)
    names = ("forward", "back", "left", "right", "jump", "sneak", "sprint", "yaw", "pitch")
    assert store.actions.names == names
    for index, record in enumerate(store.episodes):
        truth, episode = sample[1][record.name], store.episode(index)
        assert misfit(episode.frames, truth.frames) < 6
        np.testing.assert_allclose(episode.actions[:, :4], truth.rows[:, :4])
        np.testing.assert_allclose(episode.actions[:, 7:], truth.rows[:, 4:], atol=1e-5)
        for column, span in ((4, JUMPS), (5, SNEAKS), (6, SPRINTS)):
            assert np.flatnonzero(episode.actions[:, column]).tolist() == [frame - 1 for frame in span]


def test_a_delta_of_one_is_fifteen_degrees_and_positive_pitch_looks_down(copy: Path) -> None:
    rewrite(
        copy / "metadata" / f"{FOREST}.json", lambda clip: clip["actions"]["7"].update(yaw_delta=0.5, pitch_delta=1)
    )
    rows = GameFactoryConfig(path=str(copy)).build().read(FOREST).actions
    assert rows[6, -2:].tolist() == [7.5, -15.0]


def test_the_view_in_the_state_turns_as_the_camera_does(
    sample: tuple[Path, dict[str, Walk]], store: EpisodeStore
) -> None:
    assert store.state_names == ("x", "y", "z", "yaw", "pitch")
    episode, truth = store.episode(1), sample[1][FOREST]
    assert episode.state is not None
    np.testing.assert_allclose(episode.state[:, [0, 2]], truth.poses[:, :2])
    turned = np.diff(episode.state[:, 3:], axis=0)
    turned[:, 0] = (turned[:, 0] + 180) % 360 - 180
    np.testing.assert_allclose(turned, episode.actions[:, -2:], atol=1e-4)


def test_at_half_the_rate_turns_add_up(sample: tuple[Path, dict[str, Walk]], tmp_path: Path) -> None:
    source = GameFactoryConfig(path=str(sample[0]), include=(FOREST,))
    store = collect(source, tmp_path / "s", ConversionConfig(fps=8, size=(36, 64))).store
    rows = sample[1][FOREST].rows[: (FRAMES - 1) // 2 * 2].reshape(-1, 2, 6)
    np.testing.assert_allclose(store.episode(0).actions[:, 7:], rows[..., 4:].sum(1), atol=1e-4)
    np.testing.assert_allclose(store.episode(0).actions[:, :4], rows[..., :4].max(1))
    assert store.frame_size == (36, 64)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, [DESERT, FOREST, PLAINS]),
        ({"biome": ("forest",)}, [FOREST]),
        ({"biome": ("Forest", "plains")}, [FOREST, PLAINS]),
        ({"weather": ("clear",)}, [DESERT, FOREST]),
        ({"start_time": ("6000",)}, [DESERT, PLAINS]),
        ({"start_time": ("6000",), "weather": ("clear",)}, [DESERT]),
        ({"include": ("seed_1*",)}, [DESERT, FOREST]),
        ({"include": ("seed_1_*", "seed_2_*")}, [FOREST, PLAINS]),
        ({"exclude": ("*_part_1",)}, [DESERT, PLAINS]),
        ({"include": ("seed_1*",), "exclude": ("seed_10*",), "biome": ("forest",)}, [FOREST]),
        ({"biome": ("jungle",)}, []),
    ],
)
def test_clips_are_chosen_by_place_weather_time_and_name(
    sample: tuple[Path, dict[str, Walk]], filters: dict[str, tuple[str, ...]], wanted: list[str]
) -> None:
    assert list(GameFactoryConfig(path=str(sample[0]), **filters).build().episodes) == wanted


def test_properties_are_read_without_the_actions_and_from_behind_them_too(copy: Path) -> None:
    file = copy / "metadata" / f"{FOREST}.json"
    file.write_text(file.read_text()[:3000])  # the actions are cut: nobody looked at them
    assert read_properties(file).biome == "forest"
    clip = json.loads((copy / "metadata" / f"{PLAINS}.json").read_text())
    file.write_text(json.dumps({"actions": clip.pop("actions"), **clip}))
    assert read_properties(file).biome == "plains"


def test_a_damaged_clip_is_not_lost_in_a_filter(copy: Path, tmp_path: Path) -> None:
    (copy / "metadata" / f"{FOREST}.json").write_text('{"biome')
    config = GameFactoryConfig(path=str(copy), biome=("plains",))
    done = collect(config, tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == [FOREST]
    assert [record.name for record in done.store.episodes] == [PLAINS]


def test_a_filter_that_leaves_nothing_says_so(sample: tuple[Path, dict[str, Walk]], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no episode to read; check the path and the filters"):
        collect(GameFactoryConfig(path=str(sample[0]), biome=("jungle",)), tmp_path / "s")


def test_detection_adds_what_it_found(sample: tuple[Path, dict[str, Walk]], tmp_path: Path) -> None:
    config = GameFactoryConfig(path=str(sample[0]), metadata="metadata-detection")
    extras = collect(config, tmp_path / "s").store.episode(1).extras
    assert np.flatnonzero(extras["collision"]).tolist() == list(range(3, FRAMES, 7))
    assert np.flatnonzero(extras["jump_invalid"]).tolist() == [JUMPS.start]
    assert collect(GameFactoryConfig(path=str(sample[0])), tmp_path / "t").store.episode(1).extras == {}


def test_a_clip_without_its_video_is_left_out_and_told_once(store: EpisodeStore) -> None:
    notes = [[note for note in record.notes if "left out" in note] for record in store.episodes]
    assert [len(found) for found in notes] == [1, 0, 0]
    assert notes[0][0].endswith(": seed_3_part_3")


def test_lengths_that_differ_are_told(copy: Path, tmp_path: Path) -> None:
    file = copy / "metadata" / f"{FOREST}.json"
    rewrite(file, lambda clip: [clip["actions"].pop(str(k)) for k in range(40, FRAMES)])
    shutil.copy(copy / "video" / f"{PLAINS}.mp4", copy / "video" / f"{DESERT}.mp4")
    rewrite(
        copy / "metadata" / f"{DESERT}.json",
        lambda clip: clip["actions"].update({str(k): clip["actions"]["9"] for k in range(FRAMES, FRAMES + 6)}),
    )
    store = collect(GameFactoryConfig(path=str(copy)), tmp_path / "s").store
    assert [record.frames for record in store.episodes] == [FRAMES, 40, FRAMES]
    assert f"{FRAMES + 5} actions need {FRAMES + 6} frames and there are {FRAMES}: the rest is cut" in (
        store.episodes[0].notes
    )
    assert store.episodes[1].notes == (f"the video has {FRAMES} frames and actions 40 entries: the rest is left out",)


@pytest.mark.parametrize(
    ("edit", "wanted"),
    [
        (lambda clip: clip["actions"]["9"].update(ws=3), "actions.9.ws is 3, but input should be 0, 1 or 2"),
        (lambda clip: clip["actions"]["9"].update(scs="1"), "actions.9.scs is '1', but input should be 0, 1, 2 or 3"),
        (lambda clip: clip["actions"]["9"].update(yaw_delta="0.5"), "actions.9.yaw_delta is '0.5', but"),
        (lambda clip: clip["actions"]["9"].update(pitch_delta=1e300), "actions.9.pitch_delta is 1e+300, but"),
        (lambda clip: clip["actions"]["9"].update(pos=[1, 2]), "actions.9.pos is [1, 2], but"),
        (lambda clip: clip["actions"]["9"].update(pos=[1, 2, None]), "actions.9.pos.2 is None, but"),
        (lambda clip: clip["actions"]["9"].pop("ad"), "actions.9.ad is missing"),
        (lambda clip: clip["actions"].update({"9": []}), "actions.9 is [], but"),
        (lambda clip: clip["actions"].pop("9"), f"actions has {FRAMES - 1} entries and none of them is '9'"),
        (lambda clip: clip["actions"].update({"x": clip["actions"]["1"]}), "none of them is '50'"),
        (lambda clip: clip.update(actions={}), "actions has 0 entries"),
        (lambda clip: clip.update(actions=[1]), "actions is [1], but"),
        (lambda clip: clip.pop("actions"), "actions is missing"),
        (lambda clip: clip.update(biome=4), "biome is 4, but input should be a valid string"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(copy: Path, edit: Callable[[dict[str, Any]], object], wanted: str) -> None:
    file = copy / "metadata" / f"{FOREST}.json"
    rewrite(file, edit)
    (error,) = refusals(GameFactoryConfig(path=str(copy)))
    assert error.path == file
    assert wanted in str(error)


@pytest.mark.parametrize(("folder", "suffix", "count"), [("video", ".mp4", 12), ("metadata", ".json", 24)])
def test_a_cut_file_is_refused_by_name(
    copy: Path, rng: np.random.Generator, folder: str, suffix: str, count: int
) -> None:
    file = copy / folder / f"{FOREST}{suffix}"
    for _ in cuts(file, count, rng):
        config = GameFactoryConfig(path=str(copy), include=(FOREST,))
        assert [error.path for error in refusals(config)] == [file]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"actions": {}}'])
def test_a_file_of_something_else_is_named(copy: Path, content: bytes) -> None:
    file = copy / "metadata" / f"{FOREST}.json"
    file.write_bytes(content)
    for filters in ({}, {"biome": ("forest",)}):
        errors = refusals(GameFactoryConfig(path=str(copy), **filters))
        assert all(error.path == file for error in errors)
        assert errors or filters  # without a biome it is of no wanted one


def test_a_folder_of_something_else_is_not_taken_for_it(copy: Path, tmp_path: Path) -> None:
    edited(copy / "metadata" / f"{FOREST}.json", lambda text: text.replace("ws", "w"))
    for name in (PLAINS, DESERT, "seed_3_part_3"):
        (copy / "metadata" / f"{name}.json").unlink()
    assert not GameFactoryConfig.recognises(copy)
    with pytest.raises(SourceError, match=r"gf/none/video: there is no such folder"):
        GameFactoryConfig(path=str(copy / "none")).build()
    for name in ("video", "metadata"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    assert not GameFactoryConfig.recognises(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"no video has a .json of its name in metadata"):
        GameFactoryConfig(path=str(tmp_path / "empty")).build()
