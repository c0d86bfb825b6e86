"""A store of ten million frames: opening it, sorting its windows by action group, and the memory that each takes.

The store is made sparsely: its frames, all black, take no room on the disk.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.measurement import Details, Measurement
from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.balance import Balance
from hallucade.data.clips import ClipWindows
from hallucade.data.column import checksums, column_path, header, position, shard_path
from hallucade.data.journal import JOURNAL, EpisodeRecord, journal_lines
from hallucade.data.manifest import StoreColumn, StoreManifest, save_manifest, split_of
from hallucade.data.store import EpisodeStore

T = TypeVar("T")
EPISODES, LENGTH = 16_667, 599  # actions: 600 frames each
PER_SHARD = 36  # episodes, 265 MB of frames, as a recorder makes them
SIZE = 64  # pixels
ACTIONS = ActionSpace(
    buttons=tuple(Button(name=name) for name in ("forward", "back", "left", "right", "jump", "use")),
    axes=(Axis(name="yaw", low=-15, high=15, kind="delta"), Axis(name="pitch", low=-15, high=15, kind="delta")),
)
MANIFEST = StoreManifest(
    actions=ACTIONS,
    columns=(
        StoreColumn(name="frames", dtype="|u1", shape=(SIZE, SIZE, 3), per="frame"),
        StoreColumn(name="actions", dtype="<f4", shape=(ACTIONS.size,), per="action"),
    ),
    fps=15.0,
)


def make_store(path: Path) -> None:
    """Write the store; every episode has the same actions."""
    rows = played_rows()
    frames = np.zeros((LENGTH + 1, SIZE, SIZE, 3), np.uint8)
    path.mkdir()
    (path / JOURNAL).write_bytes(journal_lines(records({"frames": checksums(frames), "actions": checksums(rows)})))
    for shard, first in enumerate(range(0, EPISODES, PER_SHARD)):
        episodes = min(PER_SHARD, EPISODES - first)
        shard_path(path, shard).mkdir(parents=True)
        for column in MANIFEST.columns:
            with column_path(path, shard, column.name).open("wb") as file:
                file.write(header(column, episodes * column.rows(LENGTH)))
                file.write(rows.tobytes() * episodes if column.name == "actions" else b"")
                file.truncate(position(column, episodes * column.rows(LENGTH)))
    save_manifest(path, MANIFEST.closed_at(EPISODES))


def records(sums: dict[str, list[int]]) -> Iterator[EpisodeRecord]:
    """Yield the lines of the journal."""
    for index in range(EPISODES):
        shard, place = divmod(index, PER_SHARD)
        split = split_of(index, MANIFEST.validation_share)
        yield EpisodeRecord(shard, place * (LENGTH + 1), place * LENGTH, LENGTH, split, index, sums)


def played_rows() -> np.ndarray:
    """Return actions of every kind: keys held for most of a second, and the mouse now and then."""
    rng = np.random.default_rng(0)
    held = np.repeat(rng.random((LENGTH // 12 + 1, 6)) < 0.3, 12, axis=0)[:LENGTH]
    turning = np.repeat(rng.random((LENGTH // 20 + 1, 1)) < 0.5, 20, axis=0)[:LENGTH]
    return np.concatenate([held, turning * rng.uniform(-15, 15, (LENGTH, 2))], axis=1).astype(np.float32)


def measured(bench: str, work: Callable[[], T], details: Details) -> T:
    """Print how long some work takes, and by how much it raises the peak of this process's memory."""
    before, start = peak_memory(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    Measurement(bench, seconds, "s", details | {"memory_mb": (peak_memory() - before) / 1e6}).print()
    return result


def peak_memory() -> int:
    """Return the most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        maker = multiprocessing.get_context("spawn").Process(target=make_store, args=(path,))
        maker.start()
        maker.join()
        details: Details = {"frames": EPISODES * (LENGTH + 1), "episodes": EPISODES, "frame_size": SIZE}
        store = measured("open_store_s", lambda: EpisodeStore(path), details)
        measured("first_batch_s", lambda: ClipWindows(store, ACTIONS, frames=32).batch_at(0), details)
        clips = measured("balance_s", lambda: ClipWindows(store, ACTIONS, frames=32, balance=Balance()), details)
        assert len(clips.batch_at(1).frames) == clips.batch


if __name__ == "__main__":
    main()
