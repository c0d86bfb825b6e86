import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dot_game import DotBot, DotGame, record_dots

from hallucade.data import recorder
from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import StoreError
from hallucade.data.recorder import RecordingConfig, episode_seeds, record, record_game
from hallucade.data.store import EpisodeStore

CONFIG = RecordingConfig(game="dot", bot="dots", frames=100, episode_length=6, games=5, seed=3, frame_size=6)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_the_recording_is_the_game_that_was_played(tmp_path: Path) -> None:
    store = record_dots(CONFIG, tmp_path / "store")
    assert len(store) == 15  # of 7 frames each: the first number that holds 100
    game = DotGame()
    for i, seed in enumerate(episode_seeds(3, np.arange(15)).tolist()):
        episode = store.episode(i)
        assert store.episodes[i].seed == seed
        game.reset(np.array([seed]))
        for t in range(6):
            np.testing.assert_array_equal(episode.frames[t], game.frames()[0])
            np.testing.assert_array_equal(episode.state[t], game.get_state()[0])
            assert episode.rewards[t] == game.act(episode.actions[t : t + 1])[0]
        np.testing.assert_array_equal(episode.frames[6], game.frames()[0])
    assert len(np.unique([store.episode(i).actions for i in range(15)], axis=0)) > 3


def test_the_store_says_how_it_was_made(tmp_path: Path) -> None:
    manifest = record_dots(CONFIG, tmp_path / "store", command="hallucade record dot").manifest
    assert (manifest.game, manifest.command, manifest.fps) == ("dot", "hallucade record dot", 15.0)
    assert manifest.state_names == ("x", "age", "seed")
    assert manifest.settings["seed"] == 3
    assert "frames" not in manifest.settings


def test_large_frames_are_recorded_by_fewer_games_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REEL_BYTES", 2 * 7 * 6 * 10 * 3 + 1)  # room for two games
    games: list[int] = []

    def bots(n: int, seed: int) -> DotBot:
        games.append(n)
        return DotBot(n, seed)

    assert len(record_game(CONFIG, DotGame(), bots, tmp_path / "store")) == 15
    assert games == [2] * 7 + [1]


def test_progress_counts_up_to_all_frames(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    record_dots(CONFIG, tmp_path / "store", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (105, 105)
    assert len(calls) == 3 * 7


class Stop(Exception):
    """Raised from the progress callback, as Ctrl-C would."""


@pytest.mark.parametrize("stop_at", [1, 40, 99])
def test_a_stopped_recording_resumes_to_the_same_bytes(tmp_path: Path, stop_at: int) -> None:
    record_dots(CONFIG, tmp_path / "unbroken")

    def stop(done: int, total: int) -> None:
        if done >= stop_at:
            raise Stop

    with pytest.raises(Stop):
        record_dots(CONFIG, tmp_path / "broken", progress=stop)
    assert len(EpisodeStore(tmp_path / "broken")) == stop_at // 35 * 5
    record_dots(CONFIG, tmp_path / "broken", resume=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


def test_a_commit_cut_between_two_episodes_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def stop_at_once(done: int, total: int) -> None:
        raise Stop

    path, never_closed = tmp_path / "store", tmp_path / "never_closed"
    record_dots(CONFIG, path)
    with pytest.raises(Stop):
        record_dots(CONFIG, never_closed, progress=stop_at_once)
    unbroken, lines = contents(path), (path / JOURNAL).read_bytes().splitlines(keepends=True)
    (path / "manifest.json").write_bytes((never_closed / "manifest.json").read_bytes())
    (path / JOURNAL).write_bytes(b"".join(lines[:7]) + lines[7][:20])  # two and a half of the second batch of five
    record_dots(CONFIG, path, resume=True)
    assert contents(path) == unbroken


def test_more_frames_continue_a_recording(tmp_path: Path) -> None:
    record_dots(replace(CONFIG, frames=80), tmp_path / "grown")
    record_dots(CONFIG, tmp_path / "grown", resume=True)
    record_dots(CONFIG, tmp_path / "at_once")
    assert contents(tmp_path / "grown") == contents(tmp_path / "at_once")
    record_dots(replace(CONFIG, frames=10), tmp_path / "grown", resume=True)  # enough is there: nothing to do
    assert contents(tmp_path / "grown") == contents(tmp_path / "at_once")


def test_sigkill_at_random_moments_changes_no_byte(tmp_path: Path, rng: np.random.Generator) -> None:
    config = replace(CONFIG, frames=20_000, episode_length=20, games=7)
    record_dots(config, tmp_path / "unbroken")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hallucade.data.recorder"])
    broken = tmp_path / "broken"
    for _ in range(5):
        size = journal_size(broken)
        process = context.Process(target=record_dots, args=(config, broken), kwargs={"resume": True})
        process.start()
        while journal_size(broken) <= size:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.008))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        EpisodeStore(broken).verify()
    record_dots(config, broken, resume=True)
    assert contents(broken) == contents(tmp_path / "unbroken")


def journal_size(path: Path) -> int:
    return (path / JOURNAL).stat().st_size if (path / JOURNAL).exists() else 0


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "store"
    record_dots(CONFIG, path)
    before = contents(path)
    with pytest.raises(StoreError, match="not empty"):
        record_dots(CONFIG, path)
    with pytest.raises(StoreError, match="it was made with seed 3, not 4; resume with the same settings"):
        record_dots(replace(CONFIG, seed=4, frames=200), path, resume=True)
    with pytest.raises(StoreError, match="it was made with episode_length 6, not 7"):
        record_dots(replace(CONFIG, episode_length=7), path, resume=True)
    faster = DotGame()
    faster.fps = 20.0
    with pytest.raises(StoreError, match=r"it was made with fps 15\.0, not 20\.0"):
        record_game(CONFIG, faster, DotBot, path, resume=True)
    assert contents(path) == before


def test_resuming_what_never_began_just_records(tmp_path: Path) -> None:
    record_dots(CONFIG, tmp_path / "begun_by_resume", resume=True)
    record_dots(CONFIG, tmp_path / "store")
    assert contents(tmp_path / "begun_by_resume") == contents(tmp_path / "store")


def test_bad_names_and_numbers_leave_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with pytest.raises(ValueError, match="unknown game 'chess'"):
        record(replace(CONFIG, game="chess"), path)
    with pytest.raises(ValueError, match="unknown bot 'dots'"):
        record(RecordingConfig(bot="dots"), path)
    with pytest.raises(ValueError, match="frames is 0; it must be at least 1"):
        RecordingConfig(frames=0)
    assert not path.exists()


def test_pong_is_recorded_the_same_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    config = RecordingConfig(frames=300, episode_length=49, games=4)
    record(config, tmp_path / "a")
    record(replace(config, frames=130), tmp_path / "b")
    store = record(config, tmp_path / "b", resume=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert store.game == "pong"
    assert store.frame_size == (24, 24)
    assert len({frame.tobytes() for frame in store.episode(5).frames}) > 40  # it moves
