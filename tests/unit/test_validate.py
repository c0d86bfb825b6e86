from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dot_game import ACTIONS, H, W, dot_manifest, random_episode, write_store

from hallucade.actions import ActionSpace, Axis
from hallucade.data.column import HEADER_BYTES
from hallucade.data.episode import Episode
from hallucade.data.manifest import load_manifest, save_manifest
from hallucade.data.store import EpisodeStore
from hallucade.data.validate import Problem, check_store, spread, summarise
from hallucade.data.writer import StoreWriter

LENGTHS = [40, 25, 31, 28]


def store_of(path: Path, episodes: list[Episode]) -> EpisodeStore:
    with StoreWriter(path, dot_manifest()) as made:
        made.append(episodes)
    return EpisodeStore(path)


def episodes_of(lengths: list[int]) -> list[Episode]:
    return [random_episode(length, seed) for seed, length in enumerate(lengths)]


def found(store: EpisodeStore, text: str) -> Problem:
    (problem,) = [p for p in check_store(store) if text in str(p)]
    return problem


def test_a_good_store_has_no_problem(tmp_path: Path) -> None:
    assert check_store(store_of(tmp_path / "s", episodes_of(LENGTHS))) == []


def test_summary_counts_what_is_there(tmp_path: Path) -> None:
    episodes = write_store(tmp_path / "s", LENGTHS, game="dot", licence="CC0", shard_bytes=9_000)
    summary = summarise(EpisodeStore(tmp_path / "s"))
    assert (summary.episodes, summary.frames, summary.frame_size) == (4, 128, (H, W))
    assert summary.hours == pytest.approx(128 / 15 / 3600)
    assert summary.splits == {"train": 3, "validation": 1}
    assert (summary.game, summary.licence, summary.state_names) == ("dot", "CC0", ("x", "age", "seed"))
    columns = [c for e in episodes for c in (e.frames, e.actions, e.rewards, e.state, e.extras["depth"])]
    assert summary.size_bytes == sum(c.nbytes for c in columns)
    moves = np.concatenate([e.actions[:, 0] for e in episodes])
    assert summary.action_counts["move"] == dict(
        zip(("stay", "left", "right"), np.bincount(moves.astype(int)).tolist(), strict=True)
    )
    assert sum(summary.action_counts["tilt"].values()) == sum(LENGTHS)


def test_black_and_plain_frames_are_found(tmp_path: Path) -> None:
    episodes = episodes_of(LENGTHS)
    episodes[1].frames[0] = 0
    episodes[2].frames[:] = (9, 8, 7)
    store = store_of(tmp_path / "s", episodes)
    black, plain = found(store, "black"), found(store, "one colour, [9, 8, 7]")
    assert (black.episode, black.frame, black.severity) == (1, 0, "warning")
    assert (plain.episode, plain.frame) == (2, 0)


def test_an_episode_in_which_nothing_moves_is_found(tmp_path: Path) -> None:
    episodes = episodes_of(LENGTHS)
    episodes[3].frames[:] = episodes[3].frames[:1]
    assert found(store_of(tmp_path / "s", episodes), "nothing moves").episode == 3


def test_a_repeated_episode_is_an_error_only_across_splits(tmp_path: Path) -> None:
    a, b, c, _ = episodes_of(LENGTHS)
    problem = found(store_of(tmp_path / "s", [a, b, c, a]), "same as episode 0")
    assert (problem.severity, problem.episode) == ("warning", 3)
    problem = found(store_of(tmp_path / "t", [a, b, b, c]), "same as episode 1, which is in the other split")
    assert (problem.severity, problem.episode) == ("error", 2)


def test_actions_that_teach_little_are_found(tmp_path: Path) -> None:
    episodes = episodes_of(LENGTHS)
    for episode in episodes:
        episode.actions[:, 0] = np.minimum(episode.actions[:, 0], 1)
        episode.actions[:, 1] = 0
    store = store_of(tmp_path / "s", episodes)
    assert "never right" in str(found(store, "'move'"))
    assert "in 100.0 % of frames" in str(found(store, "'tilt'"))


def test_actions_outside_the_space_are_errors(tmp_path: Path) -> None:
    """No writer lets them in, but a manifest may be made to promise less than is there."""
    store = store_of(tmp_path / "s", episodes_of(LENGTHS))
    narrow = ActionSpace(choices=ACTIONS.choices, axes=(Axis(name="tilt", low=-1, high=1),))
    save_manifest(store.path, replace(load_manifest(store.path), actions=narrow))
    problems = [p for p in check_store(EpisodeStore(store.path)) if "'tilt'" in p.what]
    assert {(p.severity, p.episode) for p in problems} == {("error", i) for i in range(4)}


def test_damaged_bytes_and_actions_that_are_no_numbers_are_errors(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", episodes_of(LENGTHS))
    file = store.path / "shards/00000/actions.npy"
    content = bytearray(file.read_bytes())
    row = HEADER_BYTES + (40 + 4) * 8  # the fifth action of the second episode
    content[row : row + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(content)
    problems = check_store(EpisodeStore(store.path))
    assert [(p.severity, p.episode) for p in problems] == [("error", 1), ("error", 1)]
    assert any("actions.npy from byte" in p.what for p in problems)
    assert any(p.frame == 4 and "nan" in p.what for p in problems)


def test_missing_splits_and_empty_stores_are_pointed_out(tmp_path: Path) -> None:
    assert "no episode is for validation" in str(check_store(store_of(tmp_path / "s", episodes_of([40])))[-1])
    (problem,) = check_store(store_of(tmp_path / "empty", []))
    assert "no episode" in problem.what


def test_only_a_sample_is_read(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", episodes_of([9] * 30))
    store.episodes[7].crc32["frames"][0] ^= 1
    assert [p.episode for p in check_store(store, episodes=30) if p.severity == "error"] == [7]
    assert [p for p in check_store(store, episodes=3) if p.severity == "error"] == []
    assert spread(30, 3) == [0, 14, 29]
    assert spread(2, 5) == [0, 1]
