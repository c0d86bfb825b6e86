import contextlib
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, random_episode, write_store

from hallucade.data.clips import Clip, ClipWindows
from hallucade.data.prefetch import prefetch
from hallucade.data.shuffle import shuffled
from hallucade.data.store import EpisodeStore

LENGTHS = [3, 7, 1, 12, 5, 9, 2]  # actions; with a share of 0.25, episodes 1 and 5 are for validation
TRAIN = [0, 2, 3, 4, 6]


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    write_store(tmp_path / "store", LENGTHS, shard_bytes=4_000)
    return EpisodeStore(tmp_path / "store")


def legal_windows(episodes: list[int], frames: int) -> set[bytes]:
    """Return the content of every window, cut by hand."""
    cut = set()
    for i in episodes:
        e = random_episode(LENGTHS[i], i)
        cut |= {e.frames[s : s + frames].tobytes() for s in range(len(e.frames) - frames + 1)}
    return cut


@pytest.mark.parametrize(("frames", "count"), [(2, 23), (4, 14), (13, 1)])
def test_r23_every_legal_window_comes_once_an_epoch(store: EpisodeStore, frames: int, count: int) -> None:
    windows = ClipWindows(store, ACTIONS, frames=frames, batch=1)
    wanted = legal_windows(TRAIN, frames)
    assert len(windows) == len(wanted) == count
    for epoch in (0, 1, 5):
        seen = [windows.batch_at(epoch * count + i).frames.numpy().tobytes() for i in range(count)]
        assert set(seen) == wanted
        assert len(seen) == len(set(seen))


def test_actions_are_those_between_the_frames(store: EpisodeStore) -> None:
    clip = ClipWindows(store, ACTIONS, frames=4, batch=5).batch_at(3)
    assert clip.frames.shape == (5, 4, 6, 10, 3)
    assert clip.actions.shape == (5, 3, 4)  # a choice of three options and an axis
    for frames, actions in zip(clip.frames.numpy(), clip.actions.numpy(), strict=True):
        (episode, start), = [
            (e, s)
            for e in (random_episode(LENGTHS[i], i) for i in TRAIN)
            for s in range(len(e.frames) - 3)
            if (e.frames[s : s + 4] == frames).all()
        ]  # fmt: skip
        np.testing.assert_allclose(actions, ACTIONS.encode(episode.actions[start : start + 3]))


def test_a_clip_knows_which_of_its_windows_are_of_one_episode(store: EpisodeStore) -> None:
    clip = ClipWindows(store, ACTIONS, frames=4, batch=14).batch_at(3)
    assert clip.episodes is not None
    owners = [
        next(
            i
            for i in TRAIN
            if any((random_episode(LENGTHS[i], i).frames[s : s + 4] == window).all() for s in range(LENGTHS[i] - 2))
        )
        for window in clip.frames.numpy()
    ]
    same = np.array(owners)[:, None] == np.array(owners)
    assert same.sum() > 14
    assert torch.equal(clip.episodes[:, None] == clip.episodes, torch.from_numpy(same))
    assert torch.equal(torch.cat([part.episodes for part in clip.split(2)]), clip.episodes)


def test_epochs_are_in_different_orders_that_the_seed_names(store: EpisodeStore) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        windows = ClipWindows(store, ACTIONS, frames=2, batch=23, seed=seed)
        return windows.ids_at(epoch).tolist()

    orders = [order(0, 0), order(0, 1), order(1, 0), list(range(23))]
    assert len({tuple(o) for o in orders}) == 4
    assert order(0, 1) == orders[1]


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_ranks_share_one_global_batch(store: EpisodeStore, world: int) -> None:
    windows = ClipWindows(store, ACTIONS, frames=3, batch=6, seed=4)
    whole = windows.batch_at(7)
    parts = [windows.batch_at(7, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
    assert torch.equal(torch.cat([part.actions for part in parts]), whole.actions)
    assert len({part.seed for part in parts}) == world


def test_a_batch_is_a_pure_function_of_the_step(store: EpisodeStore) -> None:
    a, b = (ClipWindows(store, ACTIONS, frames=3, batch=4, seed=2) for _ in range(2))
    b.batch_at(0)
    again, other = b.batch_at(9), b.batch_at(10)
    assert torch.equal(a.batch_at(9).frames, again.frames)
    assert a.batch_at(9).seed == again.seed != other.seed


def test_a_batch_may_be_larger_than_an_epoch(store: EpisodeStore) -> None:
    windows = ClipWindows(store, ACTIONS, frames=13, batch=5)
    assert len(windows) == 1
    assert windows.batch_at(2).frames.shape[0] == 5


def test_splits_never_share_a_window(store: EpisodeStore) -> None:
    windows = ClipWindows(store, ACTIONS, frames=3, batch=14, split="validation")
    seen = {frames.tobytes() for frames in windows.batch_at(0).frames.numpy()}
    assert seen == legal_windows([1, 5], 3)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4097])
def test_shuffled_is_a_permutation_of_each_epoch(size: int) -> None:
    for epoch in (0, 3):
        items = shuffled(np.arange(epoch * size, (epoch + 1) * size), size, seed=11)
        np.testing.assert_array_equal(np.sort(items), np.arange(size))


def test_shuffled_looks_random() -> None:
    size = 10_000
    items = shuffled(np.arange(size), size, seed=0)
    assert abs(np.corrcoef(np.arange(size), items)[0, 1]) < 0.04  # four standard errors
    assert abs(np.corrcoef(items[1:], items[:-1])[0, 1]) < 0.04
    following = np.mean(np.abs(np.diff(items)) == 1)
    assert following < 10 / size  # 2 / size are expected by chance


def test_windows_far_out_are_as_cheap_and_legal(store: EpisodeStore) -> None:
    ids = ClipWindows(store, ACTIONS, frames=2, batch=64).ids_at(10**12)
    assert ids.min() >= 0
    assert ids.max() < 23


def test_too_short_episodes_name_the_remedy(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds a window of 14 frames, the longest has 13; use shorter windows"):
        ClipWindows(store, ACTIONS, frames=14)
    write_store(tmp_path / "one", [4])
    with pytest.raises(ValueError, match="has no validation episode; record more"):
        ClipWindows(EpisodeStore(tmp_path / "one"), ACTIONS, frames=2, split="validation")
    with pytest.raises(ValueError, match="cannot be shared by 4 ranks"):
        ClipWindows(store, ACTIONS, frames=2, batch=6).batch_at(0, 0, 4)


def test_fingerprint_changes_with_any_batch(store: EpisodeStore) -> None:
    base = {"frames": 3, "batch": 4, "seed": 0, "split": "train"}
    variants = [base, base | {"frames": 2}, base | {"batch": 5}, base | {"seed": 1}, base | {"split": "validation"}]
    prints = [ClipWindows(store, ACTIONS, **variant).fingerprint for variant in variants]
    assert len(set(prints)) == 5
    assert ClipWindows(store, ACTIONS, **base).fingerprint == prints[0]


def test_split_cuts_a_clip_into_microbatches_with_seeds_of_their_own(store: EpisodeStore) -> None:
    clip = ClipWindows(store, ACTIONS, frames=3, batch=6).batch_at(1)
    parts = clip.split(3)
    assert torch.equal(torch.cat([part.frames for part in parts]), clip.frames)
    assert torch.equal(torch.cat([part.actions for part in parts]), clip.actions)
    assert len({clip.seed, *(part.seed for part in parts)}) == 4
    assert [part.seed for part in clip.split(3)] == [part.seed for part in parts]
    with pytest.raises(ValueError, match="batch of 6 windows cannot be cut into 4"):
        clip.split(4)


def test_prefetch_yields_the_steps_in_order_and_ends_its_thread(store: EpisodeStore) -> None:
    windows = ClipWindows(store, ACTIONS, frames=3, batch=4)
    with contextlib.closing(prefetch(windows, 5, depth=2, rank=1, world=2)) as clips:
        for step, clip in zip(range(5, 12), clips, strict=False):
            wanted = windows.batch_at(step, 1, 2)
            assert torch.equal(clip.frames, wanted.frames)
            assert clip.seed == wanted.seed
        assert any(thread.name == "prefetch" for thread in threading.enumerate())
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_prefetch_raises_what_the_thread_met() -> None:
    class Broken:
        def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
            if step == 2:
                raise OSError("the disk is gone")
            return Clip(torch.zeros(1, 2, 1, 1, 3, dtype=torch.uint8), torch.zeros(1, 1, 1), step)

    clips = prefetch(Broken())
    assert [clip.seed for clip in islice(clips, 2)] == [0, 1]
    with pytest.raises(OSError, match="disk is gone"):
        next(clips)
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())
