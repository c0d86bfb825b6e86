"""Reading a source into a store: order, workers, resumption, refusals and notes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.collect import Collection, collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.executors import Processes, Read, Reader, Refused, executor_of, serial
from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import StoreError, load_manifest, save_manifest
from hallucade.data.source import ForeignEpisode, SourceConfig, SourceError, frames_of
from hallucade.data.store import EpisodeStore

ACTIONS = ActionSpace(buttons=(Button(name="fire"),), axes=(Axis(name="yaw", low=-9, high=9, kind="delta"),))
SIZE = (6, 10)


@dataclass(frozen=True, kw_only=True)
class CountingConfig(SourceConfig):
    """Episodes whose frames show their number; some of them damaged, some in a menu half-way."""

    count: int = 5
    damaged: tuple[str, ...] = ()
    taller: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    width: int = SIZE[1]
    fps: float = 20.0

    def build(self) -> "Counting":
        return Counting(self)


class Counting:
    actions, state_names, game, origin, licence = ACTIONS, ("number",), None, "a test", "CC0-1.0"

    def __init__(self, config: CountingConfig) -> None:
        self.config, self.fps = config, config.fps
        self.episodes: Sequence[str] = [f"e{i}" for i in range(config.count)]

    def read(self, name: str) -> ForeignEpisode:
        if name in self.config.damaged:
            raise SourceError(f"/data/{name}.mp4", "frame 3 is damaged", "download it again")
        if name in self.config.slow:
            time.sleep(600)
        number = int(name[1:])
        n = 11 + number
        height = SIZE[0] + 2 * (name in self.config.taller)
        frames = np.broadcast_to(
            np.arange(n + 1, dtype=np.uint8)[:, None, None, None], (n + 1, height, self.config.width, 3)
        )
        rows = np.stack([np.arange(n) % 2, np.full(n, number)], 1).astype(np.float32)
        menu = np.zeros(n + 1, bool)
        menu[5] = number % 2 == 1
        state = np.arange(n + 1, dtype=np.float64)[:, None]
        return ForeignEpisode(
            frames_of(frames), rows, np.ones(n, np.float32), state, menu=menu, seed=number, notes=(f"note {number}",)
        )


def bytes_of(store: Path) -> dict[str, bytes]:
    files = (file for file in sorted(store.rglob("*")) if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def test_episodes_are_stored_in_order_with_names_seeds_and_notes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    store = collect(
        CountingConfig(), tmp_path / "s", command="me", progress=lambda done, all_: seen.append((done, all_))
    ).store
    assert [record.name for record in store.episodes] == ["e0", "e1", "e1", "e2", "e3", "e3", "e4"]
    assert [record.seed for record in store.episodes] == [0, 1, 1, 2, 3, 3, 4]
    assert store.episodes[0].notes == ("note 0",)
    assert store.episodes[1].notes == ("note 1", "1 of 13 frames are cut: menus or nothing touched")
    assert store.episodes[2].notes == ()
    assert (store.manifest.command, store.manifest.source, store.fps, store.frame_size) == ("me", "a test", 20, SIZE)
    assert seen == [(i, 5) for i in range(1, 6)]
    before, after = store.episode(1), store.episode(2)
    assert before.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert after.frames[:, 0, 0, 0].tolist() == list(range(6, 13))
    assert after.state is not None
    assert after.state[:, 0].tolist() == list(range(6, 13))


def test_all_parts_of_one_episode_are_of_one_split(tmp_path: Path) -> None:
    store = collect(CountingConfig(count=9), tmp_path / "s", validation_share=0.5).store
    splits = {name: {r.split for r in store.episodes if r.name == name} for name in {r.name for r in store.episodes}}
    assert all(len(split) == 1 for split in splits.values())
    assert {"train", "validation"} == {s for split in splits.values() for s in split}


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    source = CountingConfig(count=7)
    collect(source, tmp_path / "one")
    collect(source, tmp_path / "two", executor=Processes(2))
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


@pytest.mark.parametrize("killed_after", range(1, 7))
def test_a_resumed_collection_is_the_one_that_was_not_interrupted(tmp_path: Path, killed_after: int) -> None:
    source = CountingConfig(count=6, damaged=("e2",))

    def dying(reader: Reader, names: Sequence[str]):
        for number, read in enumerate(serial(reader, names)):
            if number == killed_after:
                raise KeyboardInterrupt
            yield read

    collect(source, tmp_path / "whole", damage="skip")
    if killed_after < 6:
        with pytest.raises(KeyboardInterrupt):
            collect(source, tmp_path / "cut", damage="skip", executor=dying)
    resumed = collect(source, tmp_path / "cut", damage="skip", resume=True)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    assert len(resumed.store) == len(EpisodeStore(tmp_path / "whole"))


def test_a_commit_that_was_cut_inside_an_episode_is_completed(tmp_path: Path) -> None:
    collect(CountingConfig(count=4), tmp_path / "whole")
    path = tmp_path / "cut"
    collect(CountingConfig(count=4), path)
    lines = (path / JOURNAL).read_bytes().splitlines(keepends=True)
    (path / JOURNAL).write_bytes(b"".join(lines[:2]))  # of episode e1 only the first of two stretches
    save_manifest(path, load_manifest(path).closed_at(0))
    collect(CountingConfig(count=4), path, resume=True)
    assert bytes_of(path) == bytes_of(tmp_path / "whole")


def test_a_damaged_episode_stops_the_collection_and_keeps_what_came_before(tmp_path: Path) -> None:
    source = CountingConfig(damaged=("e3",))
    with pytest.raises(
        SourceError, match=r"/data/e3.mp4: frame 3 is damaged; download it again .*--damage skip --resume"
    ):
        collect(source, tmp_path / "s")
    assert [record.name for record in EpisodeStore(tmp_path / "s").episodes] == ["e0", "e1", "e1", "e2"]


def test_a_skipped_episode_is_counted_and_told_in_the_manifest(tmp_path: Path) -> None:
    done = collect(CountingConfig(damaged=("e0", "e3")), tmp_path / "s", damage="skip")
    assert [refused.name for refused in done.refused] == ["e0", "e3"]
    assert done.store.manifest.notes == (
        "e0 was left out: /data/e0.mp4: frame 3 is damaged",
        "e3 was left out: /data/e3.mp4: frame 3 is damaged",
    )


def test_an_episode_of_another_size_names_itself_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"episode 'e2' does not fit.*give --size"):
        collect(CountingConfig(taller=("e2",)), tmp_path / "s")
    store = collect(CountingConfig(taller=("e2",)), tmp_path / "t", ConversionConfig(size=(4, 5))).store
    assert len(store) == 7
    assert store.frame_size == (4, 5)


def test_other_settings_cannot_continue_a_store(tmp_path: Path) -> None:
    collect(CountingConfig(count=2), tmp_path / "s", ConversionConfig(shortest=3))
    with pytest.raises(StoreError, match="it was made with shortest 3, not 2"):
        collect(CountingConfig(count=2), tmp_path / "s", resume=True)
    with pytest.raises(StoreError, match="not empty; choose another one, or go on with the store in it: --resume"):
        collect(CountingConfig(count=2), tmp_path / "s")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"miaow")
    with pytest.raises(StoreError, match=r"not empty; choose another one$"):
        collect(CountingConfig(count=2), tmp_path / "photos")


def test_other_settings_cannot_continue_a_store_in_which_there_is_nothing_yet(tmp_path: Path) -> None:
    collect(CountingConfig(count=2), tmp_path / "s", ConversionConfig(fps=10))
    (tmp_path / "s" / JOURNAL).write_bytes(b"")  # killed between the manifest and the first episode
    save_manifest(tmp_path / "s", load_manifest(tmp_path / "s").closed_at(0))
    with pytest.raises(StoreError, match=r"it was made with fps 10, not"):
        collect(CountingConfig(count=2), tmp_path / "s", resume=True)
    with pytest.raises(StoreError, match=r"it was made with validation_share 0.05, not 0.3"):
        collect(CountingConfig(count=2), tmp_path / "s", ConversionConfig(fps=10), resume=True, validation_share=0.3)


def test_a_store_that_was_begun_before_there_was_an_option_can_be_continued_without_it(tmp_path: Path) -> None:
    collect(CountingConfig(), tmp_path / "s", limit=2)
    manifest = load_manifest(tmp_path / "s")
    older = {name: value for name, value in manifest.settings.items() if name not in ("idle", "source.count")}
    save_manifest(tmp_path / "s", replace(manifest, settings=older))
    with pytest.raises(StoreError, match=r"it was made with idle 'null', not 0.5"):
        collect(CountingConfig(), tmp_path / "s", ConversionConfig(idle=0.5), resume=True)
    assert len(collect(CountingConfig(), tmp_path / "s", resume=True).store) == 7


def test_a_store_that_holds_enough_frames_is_still_one_of_its_settings(tmp_path: Path) -> None:
    collect(CountingConfig(), tmp_path / "s", frames=10)
    before = bytes_of(tmp_path / "s")
    with pytest.raises(StoreError, match=r"it was made with source.fps 20.0, not 10.0"):
        collect(CountingConfig(fps=10.0), tmp_path / "s", frames=10, resume=True)
    collect(CountingConfig(), tmp_path / "s", frames=10, resume=True)
    assert bytes_of(tmp_path / "s") == before


def test_a_store_that_lost_its_manifest_is_not_begun_anew(tmp_path: Path) -> None:
    collect(CountingConfig(), tmp_path / "s")
    (tmp_path / "s/manifest.json").unlink()
    before = bytes_of(tmp_path / "s")
    with pytest.raises(StoreError, match=r"episodes.jsonl lists episodes, and manifest.json is missing; restore"):
        collect(CountingConfig(), tmp_path / "s", resume=True)
    assert bytes_of(tmp_path / "s") == before


def test_the_last_stored_episode_may_have_been_lost_since(tmp_path: Path) -> None:
    def without_e1(reader: Reader, names: Sequence[str]):
        for read in serial(reader, names):
            yield Refused("e1", "/data/e1.mp4", "there is no such file", "restore it") if read.name == "e1" else read

    source = CountingConfig(count=4)
    collect(source, tmp_path / "s", limit=2)
    resumed = collect(source, tmp_path / "s", damage="skip", resume=True, executor=without_e1).store
    assert [record.name for record in resumed.episodes] == ["e0", "e1", "e1", "e2", "e3", "e3"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit is 0 episodes; use 1 or more"),
        ({"limit": -1}, "limit is -1 episodes; use 1 or more"),
        ({"validation_share": 7.0}, "validation share is 7.0; use 0 to 0.5"),
        ({"validation_share": float("nan")}, "validation share is nan; use 0 to 0.5"),
    ],
)
def test_impossible_numbers_are_refused_before_there_is_a_store(
    tmp_path: Path, options: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        collect(CountingConfig(), tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_a_source_of_which_nothing_is_kept_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing of it was kept; .*no stretch has 99 frames"):
        collect(CountingConfig(), tmp_path / "s", ConversionConfig(shortest=99))
    with pytest.raises(SourceError, match="no episode to read"):
        collect(CountingConfig(count=0), tmp_path / "s")


def test_executor_of_uses_no_more_workers_than_episodes() -> None:
    assert executor_of(8, 1) is serial
    assert executor_of(8, 3) == Processes(3)
    assert executor_of(1, 3) is serial
    for workers in (0, -2):
        with pytest.raises(ValueError, match=f"workers is {workers}; use 1 or more"):
            executor_of(workers, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while left := [worker for worker in workers if _alive(worker)]:
        assert time.monotonic() < deadline, f"workers {left} outlive their parent"
        time.sleep(0.05)


def test_who_stops_reading_does_not_wait_for_what_is_being_read() -> None:
    read = Processes(2)(Reader(CountingConfig(slow=("e1", "e2")), ConversionConfig()), ["e0", "e1", "e2", "e3"])
    assert isinstance(next(read), Read)
    begin = time.monotonic()
    read.close()
    assert time.monotonic() - begin < 60


@pytest.mark.timeout(60)
def test_who_stops_reading_does_not_hang_on_an_answer_that_is_on_its_way() -> None:
    reader = Reader(CountingConfig(count=9, width=100_000), ConversionConfig())
    read = Processes(2)(reader, [f"e{i}" for i in range(9)])
    assert isinstance(next(read), Read)
    read.close()


def _with_an_engine(name: str) -> int:
    """Start a process that inherits every file, as engines do that are written in C++, and read on for ever."""
    engine = subprocess.Popen(["sleep", "1000"], close_fds=False)
    while name != "e0":
        time.sleep(0.1)
    return engine.pid


@pytest.mark.skipif(sys.platform == "win32", reason="groups of processes of POSIX")
@pytest.mark.timeout(60)
def test_engines_that_workers_started_end_with_them() -> None:
    read = Processes(2)(_with_an_engine, ["e0", "e1", "e2"])
    engine = next(read)
    read.close()  # waits until the workers are dead, which nobody learns while an engine holds their pipes
    deadline = time.monotonic() + 30
    while _alive(engine):
        assert time.monotonic() < deadline, f"engine {engine} outlives its worker"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_ctrl_c_while_workers_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        while len(_session(parent.pid)) < 4:  # the parent, the tracker of resources, two workers
            assert parent.poll() is None
            time.sleep(0.01)
        os.killpg(parent.pid, signal.SIGINT)
        try:
            said = parent.communicate(timeout=60)[1]
        finally:
            parent.kill()
    assert said.count("Traceback") == 1  # the parent's own
    assert "spawn_main" not in said


PARENT = """
import multiprocessing, time
from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.executors import Processes, Reader

if __name__ == "__main__":
    source = EnvironmentConfig(environment="CartPole-v1", bot="random_hold", episode_length=3)
    read = Processes(2)(Reader(source, ConversionConfig()), ["0000000", "0000001", "0000002"])
    next(read)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def _session(leader: int) -> list[str]:
    """Return the processes of a session."""
    found: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(stat.parent.name)
    return found


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_reader_answers_with_a_refusal_instead_of_an_error_that_cannot_travel() -> None:
    reader = Reader(CountingConfig(damaged=("e1",)), ConversionConfig())
    assert isinstance(reader("e0"), Read)
    assert reader("e1") == Refused("e1", "/data/e1.mp4", "frame 3 is damaged", "download it again")


def test_collection_is_what_is_on_disk(tmp_path: Path) -> None:
    done: Collection = collect(CountingConfig(count=3), tmp_path / "s", ConversionConfig(fps=10))
    assert done.store.fps == 10
    assert done.store.actions.axes[0].high == 18
    rows = done.store.episode(0).actions
    assert rows[:, 0].tolist() == [1] * 5
    rewards = done.store.episode(0).rewards
    assert rewards is not None
    assert rewards.tolist() == [2] * 5
    assert all(b - a == 2 for a, b in pairwise(done.store.episode(0).frames[:, 0, 0, 0].tolist()))
