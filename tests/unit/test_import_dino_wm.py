"""The five data sets of DINO-WM: layouts, units, ranges, which action leads where, and what is said of damage."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples.damage import cuts, misfit, refusals
from samples.dino_wm import LENGTHS, Rollout, particles, write_deformable, write_point_maze, write_pusht, write_wall

from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.dino_wm import DinoWmConfig
from hallucade.data.importers.dino_wm_worlds import WORLDS, axes_of
from hallucade.data.importers.registry import guess_format
from hallucade.data.source import SourceError

WRITERS: dict[str, Callable[[Path], Any]] = {
    "point_maze": write_point_maze,
    "wall_single": write_wall,
    "pusht_noise": write_pusht,
    "rope": write_deformable,
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("dino")
    return root, {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture
def copy(samples: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(samples[0], tmp_path / "dino"))


def config(root: Path, name: str, **options: Any) -> DinoWmConfig:
    return DinoWmConfig(path=str(root / name), **options)


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_is_recognised(samples: tuple[Path, dict[str, Any]], name: str, tmp_path: Path) -> None:
    assert guess_format(samples[0] / name) == "dino-wm"
    assert not DinoWmConfig.recognises(tmp_path)


@pytest.mark.parametrize("name", ["point_maze", "wall_single", "rope"])
def test_pictures_and_actions_of_tensors_come_through_exactly(
    samples: tuple[Path, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    rollouts: list[Rollout] = samples[1][name]
    store = collect(config(samples[0], name), tmp_path / "s").store
    assert [record.name for record in store.episodes] == ["episode_000", "episode_001", "episode_002"]
    for index, rollout in enumerate(rollouts):
        episode = store.episode(index)
        np.testing.assert_array_equal(episode.frames, rollout.frames)
        np.testing.assert_array_equal(episode.actions, rollout.actions[:-1])
        if name == "rope":
            assert episode.state is None
            np.testing.assert_array_equal(episode.extras["particles"], particles(3)[index])
        else:
            assert episode.state is not None
            np.testing.assert_array_equal(episode.state, rollout.states.astype(np.float64))


def test_places_of_wall_and_door_are_kept_beside_the_frames(samples: tuple[Path, dict[str, Any]]) -> None:
    foreign = config(samples[0], "wall_single").build().read("episode_002")
    assert foreign.extras["door_location"].tolist() == [12.0] * LENGTHS[0]
    assert foreign.extras["wall_location"].tolist() == [34.0] * LENGTHS[0]


def test_pusht_has_two_splits_videos_and_velocities(samples: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    parts: dict[str, list[Rollout]] = samples[1]["pusht_noise"]
    store = collect(config(samples[0], "pusht_noise"), tmp_path / "s").store
    assert [(record.name, record.split) for record in store.episodes] == [
        ("train/episode_000", "train"),
        ("train/episode_001", "train"),
        ("train/episode_002", "train"),
        ("val/episode_000", "validation"),
        ("val/episode_001", "validation"),
    ]
    assert store.fps == 10
    assert store.state_names[:2] == ("agent_x", "agent_y")
    assert store.state_names[-2:] == ("agent_vx", "agent_vy")
    for index, rollout in enumerate([*parts["train"], *parts["val"]]):
        episode = store.episode(index)
        assert misfit(episode.frames, rollout.frames) < 6
        np.testing.assert_array_equal(episode.actions, rollout.actions[:-1])
        assert episode.state is not None
        np.testing.assert_array_equal(episode.state[:, :5], rollout.states.astype(np.float64))
        assert episode.state[0, 5:].tolist() == [index % 3 + 1] * 2
    one = config(samples[0], "pusht_noise/val").build()
    assert one.episodes == ("episode_000", "episode_001")
    assert one.read("episode_000").split is None


def test_pusht_in_the_court(samples: tuple[Path, dict[str, Any]]) -> None:
    rollout: Rollout = samples[1]["pusht_noise"]["train"][1]
    source = config(samples[0], "pusht_noise", actions="absolute").build()
    rows = source.read("train/episode_001").actions
    np.testing.assert_array_equal(rows, (rollout.actions + rollout.states[:, :2])[:-1])
    assert all(axis.kind == "value" and axis.low > 0 for axis in source.actions.axes)


@pytest.mark.parametrize(
    ("name", "state"),
    [("point_maze", (0, 1)), ("wall_single", (0, 1)), ("pusht_noise", (0, 1))],
)
def test_an_action_moves_what_it_should_on_the_way_to_the_next_frame(
    samples: tuple[Path, dict[str, Any]], name: str, state: tuple[int, int]
) -> None:
    """The place changes with the action of its own index: later than the one before, earlier than the one after."""
    source = config(samples[0], name).build()
    foreign = source.read(source.episodes[0])
    assert foreign.state is not None
    columns = (2, 3) if name == "point_maze" else state  # a force changes the speed
    change = np.diff(foreign.state[:, columns], axis=0)
    if name == "point_maze":
        change += 0.2 * foreign.state[:-1, 2:]  # the drag of the sample
    fit = [
        np.corrcoef(change[1:-1].ravel(), foreign.actions[1 + lag : len(change) - 1 + lag].ravel())[0, 1]
        for lag in (-1, 0, 1)
    ]
    assert fit[1] == max(fit)
    assert fit[1] > 0.9


def test_ranges_are_of_the_data_rounded_outward_and_reach_0_in_their_middle(
    samples: tuple[Path, dict[str, Any]],
) -> None:
    for name in ("point_maze", "pusht_noise", "rope"):
        source = config(samples[0], name).build()
        rows = np.concatenate([source.read(episode).actions for episode in source.episodes])
        encoded = source.actions.encode(rows)
        source.actions.validate(rows)
        assert 0.8 < np.abs(encoded).max() <= 1
        if name != "rope":
            assert source.actions.encode(source.actions.idle).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("world", "low", "high", "expected"),
    [
        ("point_maze", -0.3, 1.0, (-1.0, 1.0)),
        ("point_maze", -1.0, 0.99, (-1.0, 1.0)),
        ("pusht", -103.2, 87.0, (-110.0, 110.0)),
        ("pusht_absolute", 13.0, 500.0, (10.0, 500.0)),
        ("wall_single", 0.0, 0.0, (-1.0, 1.0)),
        ("pusht_absolute", 5.0, 5.0, (4.9, 5.1)),
    ],
)
def test_rounding_outward(world: str, low: float, high: float, expected: tuple[float, float]) -> None:
    axes = axes_of(WORLDS[world], np.array([low, low]), np.array([high, high]))
    assert [(axis.low, axis.high) for axis in axes] == [pytest.approx(expected)] * 2


def test_resampling_adds_steps_up_and_averages_forces(samples: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    wall = collect(config(samples[0], "wall_single"), tmp_path / "w", ConversionConfig(fps=5)).store
    maze = collect(config(samples[0], "point_maze"), tmp_path / "m", ConversionConfig(fps=10)).store
    steps, forces = samples[1]["wall_single"][0].actions, samples[1]["point_maze"][0].actions
    np.testing.assert_allclose(wall.episode(0).actions, steps[:22].reshape(11, 2, 2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(maze.episode(0).actions, forces[:22].reshape(11, 2, 2).mean(1), rtol=1e-5)
    assert wall.actions.axes[0].high == 2 * config(samples[0], "wall_single").build().actions.axes[0].high


def test_arrow_keys_point_where_the_picture_does(samples: tuple[Path, dict[str, Any]]) -> None:
    actions = config(samples[0], "wall_single").build().actions
    right, down = actions.from_keys({"ArrowRight", "ArrowDown"})
    assert right > 0
    assert down > 0  # rows of a picture count downward


def put(file: str, content: object) -> Callable[[Path], None]:
    return lambda root: torch.save(content, root / file)


def gone(file: str) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


NO_WORLD = "no states.pth with the files of a known world"
PICTURES = "obses/episode_001.pth"
MAZE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no actions": ("", gone("actions.pth"), NO_WORLD),
    "other actions": ("actions.pth", put("actions.pth", torch.zeros(3, 26, 3)), "3 numbers; a ball in a maze has 2"),
    "no lengths": ("", gone("seq_lengths.pth"), NO_WORLD),
    "words as lengths": ("seq_lengths.pth", put("seq_lengths.pth", ["a"]), "it is no list of 3 whole numbers"),
    "half lengths": ("seq_lengths.pth", put("seq_lengths.pth", torch.ones(3) / 2), "it is no list of 3 whole numbers"),
    "lengths beyond": (
        "seq_lengths.pth",
        put("seq_lengths.pth", torch.tensor([3, 27, 3])),
        "episode 1 has length 27, and actions.pth has 26 steps",
    ),
    "a program": ("seq_lengths.pth", put("seq_lengths.pth", print), r"refused: it wants to call 'builtins\.print'"),
    "no pictures": (PICTURES, gone(PICTURES), "there is no such file; download what is missing"),
    "fewer pictures": (
        PICTURES,
        put(PICTURES, torch.zeros(9, 4, 4, 3, dtype=torch.uint8)),
        "it has 9 pictures and the episode 17 steps",
    ),
    "grey pictures": (PICTURES, put(PICTURES, torch.zeros(17, 4, 4)), "it is float32 of shape"),
    "bright pictures": (
        PICTURES,
        put(PICTURES, torch.full((17, 4, 4, 3), 256.0)),
        "picture 0 has float32 values that are no grey levels of 0 to 255",
    ),
    "dim pictures": (PICTURES, put(PICTURES, torch.full((17, 3, 4, 4), 0.5)), "no grey levels of 0 to 255"),
}
WALL: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a table": ("actions.pth", put("actions.pth", torch.zeros(3, 2)), r"it is float32 of shape \(3, 2\); 3 axes"),
    "words": ("actions.pth", put("actions.pth", ["up"]), "it holds no array"),
    "no number": ("actions.pth", put("actions.pth", torch.full((3, 23, 2), torch.nan)), "episode 0 has an action that"),
    "fewer states": (
        "states.pth",
        put("states.pth", torch.zeros(2, 23, 2)),
        r"it has 2 episodes of 23 steps, and actions\.pth has 3 of 23",
    ),
    "shorter states": ("states.pth", put("states.pth", torch.zeros(3, 22, 2)), "it has 3 episodes of 22 steps"),
    "infinite states": ("states.pth", put("states.pth", torch.full((3, 23, 2), torch.inf)), "episode 0 has states"),
    "fewer doors": ("door_locations.pth", put("door_locations.pth", torch.zeros(2, 23)), "it has 2 episodes"),
}
BROKEN = {
    (world, case): broken
    for world, cases in {"point_maze": MAZE, "wall_single": WALL}.items()
    for case, broken in cases.items()
}


@pytest.mark.parametrize("case", BROKEN, ids=" ".join)
def test_what_is_wrong_is_named(copy: Path, case: tuple[str, str]) -> None:
    name, (file, damage, message) = case[0], BROKEN[case]
    damage(copy / name)
    found = refusals(config(copy, name))
    with pytest.raises(SourceError, match=message):
        raise found[0]
    assert found[0].path == copy / name / file


def test_pictures_of_whole_numbers_in_another_type(copy: Path, samples: tuple[Path, dict[str, Any]]) -> None:
    rollout: Rollout = samples[1]["wall_single"][1]
    file = copy / "wall_single" / "obses" / "episode_001.pth"
    torch.save(torch.from_numpy(rollout.frames).permute(0, 3, 1, 2).float(), file)
    frames = list(config(copy, "wall_single").build().read("episode_001").frames())
    np.testing.assert_array_equal(frames, rollout.frames)


def test_pusht_without_what_it_may_lack_and_with_what_it_may_not(copy: Path) -> None:
    root = copy / "pusht_noise"
    (root / "val" / "velocities.pth").unlink()
    with pytest.raises(SourceError, match="train and val have states of different kinds; import them into two stores"):
        config(copy, "pusht_noise").build()
    (root / "train" / "velocities.pth").unlink()
    assert len(config(copy, "pusht_noise").build().state_names) == 5
    (root / "train" / "rel_actions.pth").unlink()
    with pytest.raises(SourceError, match=r"rel_actions\.pth: there is no such file"):
        config(copy, "pusht_noise").build()
    (root / "train" / "abs_actions.pth").unlink()
    assert config(copy, "pusht_noise").build().episodes == ("val/episode_000", "val/episode_001")
    (root / "val" / "seq_lengths.pkl").write_bytes(pickle.dumps([17, print]))
    with pytest.raises(SourceError, match=r"seq_lengths\.pkl: refused: it wants to call 'builtins.print'"):
        config(copy, "pusht_noise").build()
    (root / "val" / "seq_lengths.pkl").unlink()
    with pytest.raises(SourceError, match=r"seq_lengths\.pkl: there is no such file"):
        config(copy, "pusht_noise").build()


def test_train_and_val_of_two_worlds_are_refused(copy: Path) -> None:
    shutil.rmtree(copy / "pusht_noise" / "val")
    shutil.copytree(copy / "wall_single", copy / "pusht_noise" / "val")
    with pytest.raises(SourceError, match="train and val are of pusht and wall_single; give one of them"):
        config(copy, "pusht_noise").build()


def test_truncated_files_and_videos(copy: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    for name in ("point_maze", "pusht_noise/val"):
        for file in sorted(file for file in (copy / name).rglob("*") if file.is_file()):
            if file.name in ("abs_actions.pth", "shapes.pkl"):
                continue
            for length in cuts(file, 3, rng):
                found = refusals(config(copy, name))
                assert [refused.path for refused in found] == [file], length
    video = copy / "pusht_noise" / "val" / "obses" / "episode_000.mp4"
    video.write_bytes(video.read_bytes()[:99])
    done = collect(config(copy, "pusht_noise"), tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == ["val/episode_000"]
    assert len(done.store) == 4


def test_a_video_of_fewer_frames(copy: Path) -> None:
    obses = copy / "pusht_noise" / "train" / "obses"
    shutil.copy(obses / "episode_001.mp4", obses / "episode_000.mp4")
    with pytest.raises(SourceError, match=r"episode_000\.mp4: it has 17 frames and the episode 23 steps"):
        config(copy, "pusht_noise").build().read("train/episode_000")
