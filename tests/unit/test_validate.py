from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dot_game import ACTIONS, H, W, dot_manifest, random_episode, write_store
from moving_scene import ACTIONS as VIEW
from moving_scene import Scene, film, play

from hallucade.actions import ActionSpace, Axis
from hallucade.data.checks.motion_sample import plan_spans
from hallucade.data.checks.summary import spread
from hallucade.data.checks.validate import Problem, Validation, check_store, summarise, validate_store
from hallucade.data.column import HEADER_BYTES
from hallucade.data.episode import Episode
from hallucade.data.journal import EpisodeRecord
from hallucade.data.manifest import StoreColumn, StoreManifest, load_manifest, save_manifest
from hallucade.data.store import EpisodeStore
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


def test_a_mouse_that_rests_most_of_the_time_is_no_problem_but_one_that_never_moves_is(tmp_path: Path) -> None:
    episodes = filmed(Scene(16, 24))
    assert "'pitch'" not in str(check_store(view_store(tmp_path / "s", episodes)))  # it never nears its limits
    for episode in episodes:
        episode.actions[:, 3] = 0
    assert "'pitch' is idle in 100.0 %" in str(found(view_store(tmp_path / "t", episodes), "'pitch'"))


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


def filmed(scene: Scene, episodes: int = 3, n: int = 160) -> list[Episode]:
    rng = np.random.default_rng(0)
    rows = [play(rng, n) for _ in range(episodes)]
    return [Episode(film(scene, actions, rng)[0], actions) for actions in rows]


def view_store(path: Path, episodes: list[Episode]) -> EpisodeStore:
    columns = (StoreColumn.like("frames", episodes[0].frames), StoreColumn.like("actions", episodes[0].actions))
    with StoreWriter(path, StoreManifest(actions=VIEW, columns=columns, fps=20.0, validation_share=0.4)) as writer:
        writer.append(episodes)
    return EpisodeStore(path)


def said(validation: Validation, severity: str) -> list[str]:
    return [problem.what for problem in validation.problems if problem.severity == severity]


def test_a_good_recording_of_a_view_is_valid(tmp_path: Path) -> None:
    store = view_store(tmp_path / "s", filmed(Scene()))
    stages: list[tuple[str, float]] = []
    found = validate_store(store, progress=lambda stage, share: stages.append((stage, share)))
    assert found.problems == ()
    assert not found.failed
    assert found.alignment.groups[0].decision == "aligned"
    assert found.checked[0] == "checksums: every byte of 3 episodes"
    assert found.checked[2] == "motion: 480 pairs of frames in 3 episodes"
    assert {stage for stage, _ in stages} == {"reading every byte", "measuring motion"}
    assert all(0 <= share <= 1 for _, share in stages)


def test_a_recording_whose_actions_are_late_fails(tmp_path: Path) -> None:
    episodes = [replace(e, actions=np.roll(e.actions, 1, axis=0)) for e in filmed(Scene())]
    found = validate_store(view_store(tmp_path / "s", episodes))
    assert found.failed
    assert any("'yaw'" in what and "1 frame before its action" in what for what in said(found, "error"))
    assert validate_store(view_store(tmp_path / "full", episodes), full=True).failed


def test_frozen_frames_and_missed_cuts_are_pointed_out(tmp_path: Path) -> None:
    episodes = filmed(Scene(noise=1, cuts=(40, 97)))
    turning = np.flatnonzero(np.abs(episodes[1].actions[:, 2]) > 3)
    for i in turning[[3, 9, 14]]:
        episodes[1].frames[i + 1] = episodes[1].frames[i]
    found = validate_store(view_store(tmp_path / "s", episodes))
    assert not found.failed
    (jumps,) = [p for p in found.problems if "the whole picture jumps" in p.what]
    assert (jumps.episode, jumps.frame) == (0, 41)
    (frozen,) = [p for p in found.problems if "stays as it was" in p.what]
    assert (frozen.episode, frozen.frame) == (1, turning[3] + 1)
    assert "3 of" in frozen.what


def test_a_flash_that_stays_a_while_is_no_cut(tmp_path: Path) -> None:
    episodes = filmed(Scene(noise=1))
    for start in (40, 97):
        episodes[0].frames[start : start + 4, 8:26, 12:40] = (255, 240, 120)
    assert not any("jumps" in problem.what for problem in validate_store(view_store(tmp_path / "s", episodes)).problems)


def test_pictures_at_half_the_rate_are_an_error(tmp_path: Path) -> None:
    episodes = filmed(Scene())
    for episode in episodes:
        episode.frames[1::2] = episode.frames[:-1:2]
    assert any(
        "stays as it was" in what for what in said(validate_store(view_store(tmp_path / "s", episodes)), "error")
    )


def test_damaged_episodes_are_reported_and_not_measured(tmp_path: Path) -> None:
    store = view_store(tmp_path / "s", filmed(Scene()))
    file = store.path / "shards/00000/frames.npy"
    content = bytearray(file.read_bytes())
    content[HEADER_BYTES + 7] ^= 4
    file.write_bytes(content)
    found = validate_store(EpisodeStore(store.path))
    assert [p.episode for p in found.problems if p.severity == "error"] == [0]
    assert found.checked[2] == "motion: 320 pairs of frames in 2 episodes"


def test_actions_that_are_no_numbers_are_no_evidence(tmp_path: Path) -> None:
    store = view_store(tmp_path / "s", filmed(Scene()))
    file = store.path / "shards/00000/actions.npy"
    content = bytearray(file.read_bytes())
    content[HEADER_BYTES + 16 : HEADER_BYTES + 20] = np.float32(np.inf).tobytes()
    file.write_bytes(content)
    found = validate_store(EpisodeStore(store.path), checksums=False)
    assert found.failed
    assert {p.episode for p in found.problems if p.severity == "error"} == {0}
    assert found.alignment.groups[0].decision == "aligned"


def test_what_an_importer_noted_is_a_warning(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", episodes_of(LENGTHS))
    store.episodes = (
        replace(store.episodes[0], name="run_7", notes=("3 frames without an action",)),
        *store.episodes[1:],
    )
    (problem,) = check_store(store)
    assert (problem.severity, problem.episode) == ("warning", 0)
    assert problem.what == "run_7: 3 frames without an action"


def test_an_empty_store_and_very_short_episodes_can_be_validated(tmp_path: Path) -> None:
    empty = validate_store(store_of(tmp_path / "empty", []))
    assert [p.what for p in empty.problems] == ["the store has no episode"]
    short = validate_store(store_of(tmp_path / "s", episodes_of([1, 2, 7])))
    assert not short.failed
    assert "do not tell" in " ".join(said(short, "warning"))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5, 2)])
def test_pictures_of_any_size_can_be_validated(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    episodes = [Episode(rng.integers(0, 256, (n + 1, *size, 3), np.uint8), play(rng, n)) for n in (9, 60, 71)]
    assert not validate_store(view_store(tmp_path / "s", episodes)).failed


def test_motion_of_a_bounded_sample_is_measured() -> None:
    """Long episodes give a span in each quarter, short ones all they have; many episodes are sampled evenly."""
    spans = plan_spans(store_like([2000, 100]), 800)
    assert [(s.episode, s.first, s.pairs) for s in spans] == [
        (0, 200, 100),
        (0, 700, 100),
        (0, 1200, 100),
        (0, 1700, 100),
        (1, 0, 100),
    ]
    many = plan_spans(store_like([5000] * 900), 8000)
    assert len({s.episode for s in many}) == 41
    assert sum(s.pairs for s in many) <= 8000
    assert {s.episode for s in many} >= {0, 899}
    assert all(s.first >= 0 and s.first + s.pairs <= 5000 for s in many)
    assert [s.pairs for s in plan_spans(store_like([5000, 30]), None)] == [5000, 30]
    assert [s.episode for s in plan_spans(store_like([50] * 4), 800, without={1})] == [0, 2, 3]


def store_like(lengths: list[int]) -> EpisodeStore:
    """Return the list of episodes of a store that was never written."""
    store = object.__new__(EpisodeStore)
    store.episodes = tuple(EpisodeRecord(0, 0, 0, n, "train", None, {}) for n in lengths)
    return store
