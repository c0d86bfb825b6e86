"""Clips of a store that is flipped, cut, deleted or appended to, before and while it is open."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, H, W, random_episode, write_store

from hallucade.data import column
from hallucade.data.balance import Balance
from hallucade.data.clips import ClipWindows
from hallucade.data.focus import Focus
from hallucade.data.store import EpisodeStore
from hallucade.data.verified import DamageError
from hallucade.data.writer import StoreWriter

LENGTHS = [13, 30, 9, 21, 17]  # actions; all for training
FRAMES = 5
BLOCK = 512  # bytes: a window of frames, 900 bytes, touches two or three
FRAME = H * W * 3


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(column, "BLOCK", BLOCK)
    write_store(tmp_path / "store", LENGTHS, shard_bytes=9_000, validation_share=0.0)
    return tmp_path / "store"


def clips(path: Path, **settings: object) -> ClipWindows:
    return ClipWindows(EpisodeStore(path), ACTIONS, **({"frames": FRAMES, "batch": 6, "seed": 3} | settings))


def read_all(source: ClipWindows) -> np.ndarray:
    """Return the frames of every window, in order."""
    return source.windows.gather(np.arange(len(source)))[0]


def truth() -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut every window by hand."""
    cut = []
    for i, length in enumerate(LENGTHS):
        e = random_episode(length, i)
        cut += [(e.frames[s : s + FRAMES], e.actions[s : s + FRAMES - 1]) for s in range(length + 2 - FRAMES)]
    return cut


def flip(file: Path, place: int) -> None:
    """Flip a bit so that the file's time of change shows it, as a write does (its clock may be coarse)."""
    content, before = bytearray(file.read_bytes()), file.stat()
    content[place] ^= 4
    with file.open("r+b") as opened:  # the same inode, as a disk does it
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def frames_file(path: Path, episode: int) -> tuple[Path, int]:
    """Return the file that holds an episode's frames, and where they start in it."""
    record = EpisodeStore(path).episodes[episode]
    return path / f"shards/{record.shard:05d}/frames.npy", column.HEADER_BYTES + record.frame_offset * FRAME


def test_a_flipped_bit_anywhere_is_never_handed_out(path: Path, rng: np.random.Generator) -> None:
    wanted = truth()
    files = sorted(path.glob("shards/*/frames.npy")) + sorted(path.glob("shards/*/actions.npy"))
    for _ in range(20):
        file = files[rng.integers(len(files))]
        place = int(rng.integers(column.HEADER_BYTES, file.stat().st_size))
        flip(file, place)
        windows, refused = clips(path).windows, []
        for number, (frames, rows) in enumerate(wanted):
            try:
                found_frames, found_rows = windows.gather(np.array([number]))
            except DamageError as error:
                refused.append(error)
            else:
                np.testing.assert_array_equal(found_frames[0], frames)
                np.testing.assert_array_equal(found_rows[0], rows)
        assert refused  # every byte of the two columns is in some window
        for error in refused:
            assert error.damage.file == file
            assert error.damage.offset <= place < error.damage.offset + BLOCK
            assert f"{file}: from byte {error.damage.offset} (episode" in str(error)
        flip(file, place)


def test_raise_names_file_offset_and_remedy(path: Path) -> None:
    file, start = frames_file(path, 3)
    flip(file, start + 2 * BLOCK + 5)
    with pytest.raises(DamageError, match=r"frames\.npy: from byte \d+ \(episode 3\) .* with --damage skip") as e:
        read_all(clips(path))
    assert e.value.damage.offset == start + 2 * BLOCK


def test_skip_hands_out_whole_windows_only_and_counts(path: Path) -> None:
    file, start = frames_file(path, 3)
    whole, plain = {frames.tobytes() for frames, _ in truth()}, clips(path)
    before = [plain.batch_at(step) for step in range(40)]
    flip(file, start + 7)
    skipping = clips(path, damage="skip")
    after = [skipping.batch_at(step) for step in range(40)]
    damaged = {frames.tobytes() for frames, _ in truth_of_first_block(3)}
    for old, new in zip(before, after, strict=True):
        hit = [frames.numpy().tobytes() in damaged for frames in old.frames]
        assert new.skipped == sum(hit)
        for was_hit, one, other in zip(hit, old.frames, new.frames, strict=True):
            assert other.numpy().tobytes() in whole - damaged
            assert was_hit or torch.equal(one, other)
    assert sum(clip.skipped for clip in after) > 5
    assert all(clip.skipped == 0 for clip in before)


def truth_of_first_block(episode: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the windows of an episode that touch its first block."""
    first = sum(length + 2 - FRAMES for length in LENGTHS[:episode])
    return truth()[first : first + -(-BLOCK // FRAME)]


def test_what_stands_in_depends_on_seed_step_slot_and_damage_alone(path: Path) -> None:
    file, start = frames_file(path, 1)
    for place in range(0, 20 * FRAME, BLOCK):
        flip(file, start + place)
    fresh, used = (clips(path, damage="skip", batch=12) for _ in range(2))
    for step in range(6):
        used.batch_at(step)
    whole = fresh.batch_at(4)
    assert whole.skipped > 1
    assert torch.equal(used.batch_at(4).frames, whole.frames)
    for world in (2, 3, 12):
        parts = [clips(path, damage="skip", batch=12).batch_at(4, rank, world) for rank in range(world)]
        assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
        assert sum(part.skipped for part in parts) == whole.skipped


def test_a_substitute_is_of_the_kind_that_was_asked_for(path: Path) -> None:
    balance = Balance(static=1, transition=0, movement_only=0, camera_only=0, combined=0, lead=FRAMES - 1)
    with pytest.raises(ValueError, match="no window is of a group that has a share"):
        clips(path, balance=balance)  # noise is always in transition
    focus = Focus(changes=("x",), share=0.5, lead=2, aftermath=0)
    file, start = frames_file(path, 1)
    flip(file, start)
    focused = clips(path, damage="skip", focus=focus, batch=8)
    assert sum(focused.batch_at(step).skipped for step in range(20)) > 0


def test_nothing_whole_is_an_error_even_when_skipping(path: Path) -> None:
    for file in path.glob("shards/*/frames.npy"):
        for place in range(column.HEADER_BYTES, file.stat().st_size, BLOCK // 2):
            flip(file, place)
    with pytest.raises(DamageError, match="is not what was recorded"):
        clips(path, damage="skip").batch_at(0)


@pytest.mark.parametrize("name", ["frames", "actions"])
@pytest.mark.parametrize("size", [0, 100, column.HEADER_BYTES + 100])
def test_a_file_cut_after_opening_is_an_error_and_no_crash(path: Path, name: str, size: int) -> None:
    fresh, used = clips(path), clips(path)
    read_all(used)
    for file in path.glob(f"shards/*/{name}.npy"):
        os.truncate(file, size)
    for windows in (fresh, used):
        with pytest.raises(DamageError, match=rf"{name}\.npy: from byte \d+ \(episode \d\) it is not what was"):
            read_all(windows)


def test_a_file_deleted_after_opening_is_an_error(path: Path) -> None:
    windows = clips(path)
    for file in path.glob("shards/*/frames.npy"):
        file.unlink()
    with pytest.raises(DamageError, match=r"frames\.npy"):
        windows.batch_at(0)


def test_a_flip_after_a_block_was_verified_is_found_too(path: Path) -> None:
    windows, (file, start) = clips(path), frames_file(path, 3)
    read_all(windows)
    flip(file, start + BLOCK + 1)
    with pytest.raises(DamageError) as caught:
        read_all(windows)
    assert (caught.value.damage.file, caught.value.damage.offset) == (file, start + BLOCK)
    flip(file, start + BLOCK + 1)  # restored
    np.testing.assert_array_equal(read_all(windows), [frames for frames, _ in truth()])


def test_a_store_that_grows_while_it_is_read_stays_readable(path: Path) -> None:
    windows, reference = clips(path), clips(path)
    wanted = [reference.batch_at(step).frames for step in range(12)]
    with StoreWriter(path) as more:
        for step, frames in enumerate(wanted):
            more.append([random_episode(3, step)])
            assert torch.equal(windows.batch_at(step).frames, frames)


def test_verified_blocks_are_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = clips(path)
    read_all(windows)
    monkeypatch.setattr("zlib.crc32", lambda content: pytest.fail("a verified block was checked again"))
    read_all(windows)


def test_damaged_states_and_actions_are_left_out_of_what_is_looked_for_only_when_skipping(path: Path) -> None:
    record = EpisodeStore(path).episodes[1]
    focus = Focus(changes=("x",), share=0.5, lead=2, aftermath=0)
    complete = clips(path, focus=focus, batch=8)
    state = path / f"shards/{record.shard:05d}/state.npy"
    flip(state, column.HEADER_BYTES + record.frame_offset * 3 * 8 + 9)
    with pytest.raises(DamageError, match=r"state\.npy"):
        clips(path, focus=focus)
    rest = clips(path, focus=focus, batch=8, damage="skip")
    hit = range(LENGTHS[0] + 2 - FRAMES, LENGTHS[0] + 2 - FRAMES + LENGTHS[1] + 2 - FRAMES)
    assert any(i in hit for step in range(20) for i in complete.ids_at(step)[:4])
    assert not any(i in hit for step in range(20) for i in rest.ids_at(step)[:4])
