"""A store against what disks and processes do to it: flipped bits, cuts, two writers at once, and training on it."""

import json
import multiprocessing
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_training import A, H, T, W, tiny_trainer

from hallucade.actions import ActionSpace, Button
from hallucade.data import column
from hallucade.data.clips import ClipWindows
from hallucade.data.episode import Episode
from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import MANIFEST, StoreColumn, StoreError, StoreManifest
from hallucade.data.store import EpisodeStore
from hallucade.data.verified import DamageError
from hallucade.data.writer import StoreWriter

FLIPS, CUTS = 1000, 200
BLOCK = 256  # bytes under one checksum here, so that these small files have many
ACTIONS = ActionSpace(buttons=tuple(Button(name=f"button_{i}") for i in range(A)))
PER_WRITER = 12  # episodes


def random_episode(length: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (length + 1, H, W, 3), np.uint8)
    actions = rng.integers(0, 2, (length, A)).astype(np.float32)
    return Episode(frames, actions, rng.random(length).astype(np.float32), rng.random((length + 1, 5)))


def manifest(**changes: object) -> StoreManifest:
    e = random_episode(1, 0)
    columns = {"frames": e.frames, "actions": e.actions, "rewards": e.rewards, "state": e.state}
    described = tuple(StoreColumn.like(name, rows) for name, rows in columns.items())
    settings = {"fps": 15.0, "state_names": tuple("abcde"), "shard_bytes": 12_000, "validation_share": 0.0}
    return StoreManifest(actions=ACTIONS, columns=described, **(settings | changes))


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of several shards, with small blocks."""
    monkeypatch.setattr(column, "BLOCK", BLOCK)
    with StoreWriter(tmp_path / "good", manifest()) as made:
        for seed, length in enumerate((30, 11, 57, 40, 23)):
            made.append([random_episode(length, seed)], [seed])
    return tmp_path / "good"


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock")


def test_a_thousand_flipped_bits_are_all_found_with_their_place(good: Path, rng: np.random.Generator) -> None:
    files = files_of(good)
    assert {file.name for file in files} == {MANIFEST, JOURNAL, *(f"{c.name}.npy" for c in manifest().columns)}
    assert len({file.parent for file in files}) > 2
    counts = dict.fromkeys((file.name for file in files), 0)
    for _ in range(FLIPS):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        place = int(rng.integers(len(content)))
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.integers(8)]) + content[place + 1 :])
        with pytest.raises(StoreError) as caught:
            EpisodeStore(good).verify()
        assert place_is_named(str(caught.value), file, content, place)
        file.write_bytes(content)
        counts[file.name] += 1
    EpisodeStore(good).verify()
    assert min(counts.values()) > 20


def place_is_named(message: str, file: Path, content: bytes, place: int) -> bool:
    """Whether an error names the damaged file, and the block, line or header in which a byte lies."""
    if file.name == MANIFEST:  # sealed as a whole
        return MANIFEST in message
    if file.name == JOURNAL:
        lines = content.count(b"\n")
        line = content.count(b"\n", 0, place) + 1
        last_newline = f"was closed with {lines} episodes and lists {lines - 1}"
        return str(file) in message and (f"line {line} is damaged" in message or last_newline in message)
    found = re.search(rf"{re.escape(str(file))} from byte (\d+) ", message)
    if found is None:
        return False
    start = int(found[1])
    return start <= place < (column.HEADER_BYTES if start == 0 else start + BLOCK)


def test_two_hundred_cuts_are_all_found_when_opening(good: Path, rng: np.random.Generator) -> None:
    files = files_of(good)
    for _ in range(CUTS):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        size = int(rng.integers(len(content)))
        os.truncate(file, size)
        with pytest.raises(StoreError) as caught:
            EpisodeStore(good)
        message = str(caught.value)
        file.write_bytes(content)
        if file.suffix == ".npy":
            assert f"{file}: the file has {size} bytes, its episodes need {len(content)}" in message
        elif file.name == JOURNAL:
            kept = content.count(b"\n", 0, size)
            assert f"{file}: it was closed with 5 episodes and lists {kept}" in message
        else:
            assert MANIFEST in message
    EpisodeStore(good).verify()


def test_two_hundred_cuts_under_an_open_store_are_errors_and_never_a_crash(
    good: Path, rng: np.random.Generator
) -> None:
    frames = sorted(good.glob("shards/*/frames.npy")) + sorted(good.glob("shards/*/actions.npy"))
    for _ in range(CUTS):
        windows = ClipWindows(EpisodeStore(good), ACTIONS, frames=T).windows
        if rng.random() < 0.5:
            windows.gather(np.arange(0, len(windows), 3))
        file = frames[rng.integers(len(frames))]
        content = file.read_bytes()
        size = int(rng.integers(len(content)))
        os.truncate(file, size)
        with pytest.raises(DamageError) as caught:
            windows.gather(np.arange(len(windows)))
        assert caught.value.damage.file == file
        file.write_bytes(content)


# -- two writers


def append_one_by_one(path: Path, first_seed: int, barrier: object) -> None:
    """Append episodes, one a lock, as soon as the other process lets go of it; for another process."""
    barrier.wait()
    for seed in range(first_seed, first_seed + PER_WRITER):
        while True:
            try:
                with StoreWriter(path) as made:
                    made.append([random_episode(seed % 7 + 1, seed)], [seed])
                break
            except StoreError as error:
                if "another process is writing" not in str(error):
                    raise
                time.sleep(0.0005)


def test_two_processes_that_write_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    StoreWriter(path, manifest(shard_bytes=2_000)).close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hallucade.data.writer"])
    barrier = context.Barrier(2)
    writers = [context.Process(target=append_one_by_one, args=(path, seed, barrier)) for seed in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = EpisodeStore(path)
    store.verify()
    seeds = [record.seed for record in store.episodes]
    assert sorted(seeds) == [*range(PER_WRITER), *range(100, 100 + PER_WRITER)]
    for index, seed in enumerate(seeds):
        np.testing.assert_array_equal(store.episode(index).frames, random_episode(seed % 7 + 1, seed).frames)
        np.testing.assert_array_equal(store.episode(index).actions, random_episode(seed % 7 + 1, seed).actions)


# -- training


def test_training_goes_on_over_damage_when_told_to_and_says_how_often(good: Path, tmp_path: Path) -> None:
    file = good / "shards/00000/frames.npy"
    content = bytearray(file.read_bytes())
    content[column.HEADER_BYTES + 700] ^= 1
    file.write_bytes(content)
    store = EpisodeStore(good)
    skipping = ClipWindows(store, ACTIONS, frames=T, batch=6, damage="skip")
    steps = 12
    wanted = np.cumsum([skipping.batch_at(step).skipped for step in range(steps)])
    assert wanted[-1] > 2
    tiny_trainer(tmp_path / "run", clips=skipping, steps=5).train()
    tiny_trainer(tmp_path / "run", clips=skipping, steps=steps).train(resume=True)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = {row["step"]: row.get("data/skipped_windows", 0) for row in rows}
    assert [logged[step + 1] for step in range(steps)] == wanted.tolist()
    strict = ClipWindows(store, ACTIONS, frames=T, batch=6)
    with pytest.raises(DamageError, match=re.escape(f"{file}: from byte {column.HEADER_BYTES + 700 // BLOCK * BLOCK}")):
        tiny_trainer(tmp_path / "strict", clips=strict, steps=steps).train()
