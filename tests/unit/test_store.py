import errno
import multiprocessing
import os
import resource
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dot_game import H, W, append_forever, dot_manifest, random_episode, write_store

from hallucade.data import column, column_writer
from hallucade.data.episode import Episode
from hallucade.data.journal import JOURNAL, journal_lines, read_journal
from hallucade.data.manifest import StoreError, load_manifest, save_manifest, split_of
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

LENGTHS = [3, 7, 1, 12, 5, 9]
SMALL = 4_000  # bytes a shard: one to three of these episodes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting protects from power cuts, which no test here can make, and takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def assert_same(found: Episode, wanted: Episode) -> None:
    for name in ("frames", "actions", "rewards", "state"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.extras.keys() == wanted.extras.keys()
    for name, extra in wanted.extras.items():
        np.testing.assert_array_equal(found.extras[name], extra)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_every_column_comes_back_over_several_shards(path: Path) -> None:
    episodes = write_store(path, LENGTHS, shard_bytes=SMALL, game="dot")
    store = EpisodeStore(path)
    assert len(store) == 6
    assert len({record.shard for record in store.episodes}) > 2
    for i, episode in enumerate(episodes):
        assert_same(store.episode(i), episode)
        assert store.episodes[i].seed == i
    store.verify()
    assert (store.frame_size, store.fps, store.game) == ((H, W), 15.0, "dot")
    assert store.total_frames == sum(LENGTHS) + 6
    assert store.hours == pytest.approx(store.total_frames / 15 / 3600)


def test_read_returns_a_window_and_what_joins_it(path: Path) -> None:
    episode = write_store(path, LENGTHS)[3]
    window = EpisodeStore(path).read(3, start=4, frames=9)
    wanted = Episode(
        episode.frames[4:13], episode.actions[4:12], episode.rewards[4:12], episode.state[4:13],
        {"depth": episode.extras["depth"][4:13]},
    )  # fmt: skip
    assert_same(window, wanted)
    with pytest.raises(ValueError, match="frames 4 to 14 are not in episode 3; it has 13"):
        EpisodeStore(path).read(3, start=4, frames=10)


def test_columns_are_plain_npy_files(path: Path) -> None:
    episodes = write_store(path, LENGTHS)
    for name in ("frames", "actions", "rewards", "state"):
        wanted = np.concatenate([getattr(episode, name) for episode in episodes])
        np.testing.assert_array_equal(np.load(path / "shards/00000" / f"{name}.npy"), wanted)


def test_appending_continues_and_old_readers_keep_their_view(path: Path) -> None:
    write_store(path, LENGTHS, shard_bytes=SMALL)
    before = EpisodeStore(path)
    with StoreWriter(path) as more:
        more.append([random_episode(4, 6), random_episode(2, 7)])
    after = EpisodeStore(path)
    assert (len(before), len(after)) == (6, 8)
    assert after.fingerprint != before.fingerprint
    assert_same(after.episode(7), random_episode(2, 7))
    assert_same(before.episode(5), after.episode(5))


def test_fingerprint_names_the_play_and_not_the_place(path: Path, tmp_path: Path) -> None:
    write_store(path, LENGTHS)
    write_store(tmp_path / "b", LENGTHS, shard_bytes=SMALL, command="another")
    write_store(tmp_path / "c", [*LENGTHS[:-1], 8])
    write_store(tmp_path / "d", LENGTHS, validation_share=0.0)
    prints = [EpisodeStore(p).fingerprint for p in (path, *(tmp_path / name for name in "bcd"))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_splits_are_spread_evenly_and_never_move() -> None:
    splits = [split_of(i, 0.1) for i in range(1000)]
    assert splits.count("validation") == 100
    assert splits[:2] == ["train", "validation"]
    places = [i for i, split in enumerate(splits) if split == "validation"]
    assert set(np.diff(places)) <= {9, 10, 11}
    assert {split_of(i, 0.0) for i in range(99)} == {"train"}
    assert [split_of(i, 0.5) for i in range(4)] == [
        "train",
        "validation",
        "train",
        "validation",
    ]


def test_given_splits_are_kept(path: Path) -> None:
    with StoreWriter(path, dot_manifest()) as made:
        made.append([random_episode(2, 0), random_episode(3, 1)], splits=["validation", "train"])
    assert EpisodeStore(path).indices("validation") == [0]


def test_opening_ten_million_frames_reads_no_shard(path: Path) -> None:
    write_store(path, [600])
    (record,), _ = read_journal(path, 1)
    records = [replace(record, frame_offset=601 * i, action_offset=600 * i) for i in range(16_700)]
    (path / JOURNAL).write_bytes(journal_lines(records))
    for c in load_manifest(path).columns:
        file = path / "shards/00000" / f"{c.name}.npy"
        os.truncate(file, column.position(c, 16_700 * c.rows(600)))  # sparse: takes no room
    start = time.process_time()
    store = EpisodeStore(path)
    assert time.process_time() - start < 2  # seconds; under 1 without the tests' type checks
    assert store.total_frames > 10_000_000


# -- what users get wrong


def test_missing_and_foreign_folders_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder; record one with `hallucade record`"):
        EpisodeStore(path)
    with pytest.raises(StoreError, match="no such folder"):
        StoreWriter(path)
    assert not path.exists()
    with pytest.raises(StoreError, match=r"not an episode store: it has no manifest\.json"):
        EpisodeStore(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(StoreError, match="not of an episode store"):
        EpisodeStore(tmp_path)
    (tmp_path / "manifest.json").write_text("[1, 2]")
    with pytest.raises(StoreError, match="not of an episode store"):
        EpisodeStore(tmp_path)


def test_a_newer_format_asks_for_an_upgrade(path: Path) -> None:
    write_store(path, [2])
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(StoreError, match="format version 2, this hallucade reads up to 1; upgrade"):
        EpisodeStore(path)


def test_a_folder_with_something_in_it_is_refused_untouched(path: Path, tmp_path: Path) -> None:
    write_store(path, [2])
    before = contents(path)
    with pytest.raises(StoreError, match=r"not empty: it holds .*; choose another one, or resume"):
        StoreWriter(path, dot_manifest())
    assert contents(path) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot write there \(File exists\); choose another folder"):
        StoreWriter(tmp_path / "file", dot_manifest())


def test_an_episode_that_does_not_fit_is_refused(path: Path) -> None:
    good = random_episode(4, 0)
    with StoreWriter(path, dot_manifest()) as made:
        with pytest.raises(
            ValueError,
            match=r"frames has rows of 5 x 10 x 3 uint8; the store keeps 6 x 10 x 3 uint8",
        ):
            made.append([good, replace(good, frames=good.frames[:, :5])])
        with pytest.raises(
            ValueError,
            match=r"columns actions, extras\.depth, frames, rewards; the store keeps",
        ):
            made.append([replace(good, state=None)])
        with pytest.raises(ValueError, match=r"action column 'move' is 3\.0 in row 0"):
            made.append([replace(good, actions=np.full_like(good.actions, 3))])
        with pytest.raises(ValueError, match="no action"):
            made.append([random_episode(0, 0)])
        assert len(made) == 0
        made.append([good])
    assert_same(EpisodeStore(path).episode(0), good)


def test_two_writers_exclude_each_other(path: Path) -> None:
    with StoreWriter(path, dot_manifest()) as first:
        with pytest.raises(StoreError, match="another process is writing"):
            StoreWriter(path)
        first.append([random_episode(2, 0)])
    StoreWriter(path).close()


# -- what disks and power cuts do


def test_every_flipped_bit_is_found(path: Path, rng: np.random.Generator) -> None:
    write_store(path, LENGTHS, shard_bytes=SMALL)
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    for _ in range(150):
        file = files[rng.integers(len(files))]
        good = file.read_bytes()
        bad, place = bytearray(good), rng.integers(len(good))
        bad[place] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        with pytest.raises(StoreError) as caught:
            EpisodeStore(path).verify()
        assert file.name in str(caught.value)
        file.write_bytes(good)
    EpisodeStore(path).verify()


def test_damage_names_the_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "BLOCK", 100)
    write_store(path, LENGTHS)
    file = path / "shards/00000/frames.npy"
    start = column.HEADER_BYTES + (4 + 8) * H * W * 3  # the third episode
    content = bytearray(file.read_bytes())
    content[start + 230] ^= 1
    file.write_bytes(content)
    (damage,) = [d for d in EpisodeStore(path).damage() if d.file == file]
    assert (damage.episode, damage.offset) == (2, start + 200)


def test_truncation_is_found_when_opening(path: Path) -> None:
    write_store(path, LENGTHS, shard_bytes=SMALL)
    for file in sorted(path.rglob("*")):
        if not file.is_file() or file.name == ".lock":
            continue
        good = file.read_bytes()
        for size in (0, len(good) // 2, len(good) - 1):
            file.write_bytes(good[:size])
            with pytest.raises(StoreError, match=file.name):
                EpisodeStore(path)
        file.unlink()
        with pytest.raises(StoreError):
            EpisodeStore(path)
        file.write_bytes(good)
    EpisodeStore(path).verify()


def test_a_file_cut_after_opening_is_an_error_and_no_crash(path: Path) -> None:
    write_store(path, LENGTHS)
    mapped, unmapped = EpisodeStore(path), EpisodeStore(path)
    mapped.episode(0)
    file = path / "shards/00000/state.npy"
    size = file.stat().st_size
    os.truncate(file, size - 1)
    for store in (mapped, unmapped):
        with pytest.raises(StoreError, match=rf"state\.npy: the file has {size - 1} bytes, its episodes need {size}"):
            store.episode(0)
    file.unlink()
    with pytest.raises(StoreError, match=r"state\.npy: the file is missing; restore it"):
        mapped.episode(0)


class Disk:
    """Stands between a writer and the disk, and does something in the middle of the k-th write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, halfway) -> None:
        self.writes, self.halfway, real = 0, halfway, column.write_all

        def write_all(file, data) -> None:
            view = memoryview(data).cast("B")
            real(file, view[: len(view) // 2])
            self.writes += 1
            self.halfway(self.writes)
            real(file, view[len(view) // 2 :])

        monkeypatch.setattr(column_writer, "write_all", write_all)


def test_killed_at_any_write_the_store_is_whole_and_resumes_to_the_same_bytes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk in the middle of a write is what a kill there would leave."""
    kills = tmp_path / "kills"
    disk = Disk(monkeypatch, lambda k: shutil.copytree(path, kills / str(k)))
    episodes = [random_episode(length, i) for i, length in enumerate(LENGTHS)]
    with StoreWriter(path, dot_manifest(shard_bytes=SMALL)) as made:
        made.append(episodes[:1], [0])
        made.append(episodes[1:5], [1, 2, 3, 4])
        made.append(episodes[5:], [5])
    unbroken, counts = contents(path), set()
    assert disk.writes > 60
    disk.halfway = lambda write: None
    for kill in kills.iterdir():
        store = EpisodeStore(kill)
        store.verify()
        for i in range(len(store)):
            assert_same(store.episode(i), episodes[i])
        counts.add(len(store))
        with StoreWriter(kill) as rest:
            done = len(rest)
            rest.append(episodes[done:], list(range(done, 6)))
        assert contents(kill) == unbroken
    assert counts >= {
        0,
        1,
        5,
        6,
    }  # and, where a commit of four lines was cut in the middle, something between


def test_a_full_disk_at_any_write_loses_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(write: int) -> None:
        if write == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def append_two(made: StoreWriter) -> int:
        with monkeypatch.context() as patch:
            disk = Disk(patch, fill)
            made.append([random_episode(9, 2), random_episode(9, 3)])
        return disk.writes

    write_store(path, LENGTHS[:2], shard_bytes=SMALL)
    full_at, copy = 0, tmp_path / "copy"
    shutil.copytree(path, copy)
    with StoreWriter(copy) as made:
        writes = append_two(made)
    assert writes > 20
    while full_at < writes:
        full_at += 1
        shutil.rmtree(copy)
        shutil.copytree(path, copy)
        with StoreWriter(copy) as made:
            with pytest.raises(StoreError, match=r"cannot write \(No space left on device\); free") as caught:
                append_two(made)
            kept = len(made)
            assert f"all {kept} earlier episodes are kept" in str(caught.value)
            assert kept in (2, 3, 4)  # 3: the disk was full at the next shard, 4: at a header after the commit
            made.append([random_episode(9, kept)])  # space was freed
        store = EpisodeStore(copy)
        store.verify()
        assert len(store) == kept + 1
        for i in range(2, len(store)):
            assert_same(store.episode(i), random_episode(9, i))


def test_an_interrupted_append_leaves_nothing_half(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(write: int) -> None:
        if write == 3:
            raise KeyboardInterrupt

    write_store(path, LENGTHS[:2])
    before = contents(path)
    with StoreWriter(path) as made:
        with monkeypatch.context() as patch:
            Disk(patch, interrupt)
            with pytest.raises(KeyboardInterrupt):
                made.append([random_episode(9, 2)])
        assert contents(path) == before
        made.append([random_episode(4, 2)])
    EpisodeStore(path).verify()
    assert_same(EpisodeStore(path).episode(2), random_episode(4, 2))


def test_a_real_file_size_limit_is_one_clear_error(path: Path) -> None:
    write_store(path, [5])
    before = contents(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StoreWriter(path) as made:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
            with pytest.raises(StoreError, match=r"cannot write \(File too large\); .* all 1 earlier"):
                made.append([random_episode(40, 1)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(path) == before


def test_sigkill_leaves_whole_episodes_and_no_lock(path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hallucade.data.recorder"])
    write_store(path, [3], shard_bytes=SMALL)
    for pause in (0.0, 0.003, 0.013, 0.021, 0.034):
        journal, before = path / JOURNAL, len(EpisodeStore(path))
        size = journal.stat().st_size
        process = context.Process(target=append_forever, args=(path,))
        process.start()
        while journal.stat().st_size <= size:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(pause)
        process.kill()
        process.join()
        store = EpisodeStore(path)
        store.verify()
        assert len(store) > before
    with StoreWriter(path) as made:
        made.append([random_episode(6, 99)])
    assert_same(EpisodeStore(path).episode(len(store)), random_episode(6, 99))


def test_manifest_survives_a_kill_between_its_two_names(path: Path) -> None:
    write_store(path, [3])
    (path / "manifest.json.tmp").write_text('{"format":')
    assert len(EpisodeStore(path)) == 1
    save_manifest(path, load_manifest(path))
    assert len(EpisodeStore(path)) == 1
