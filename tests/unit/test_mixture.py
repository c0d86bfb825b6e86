from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_game import ACTIONS, dot_manifest, random_episode, write_store

from hallucade.actions import ActionSpace, Button
from hallucade.data.clips import ClipWindows
from hallucade.data.focus import Focus
from hallucade.data.manifest import StoreError
from hallucade.data.mixture import Mixture, MixtureConfig, open_stores
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

FRAMES = 4
SIZES = {"a": [7, 5], "b": [12], "c": [3, 4, 6]}  # actions of each episode; all for training
COUNTS = {"a": 8, "b": 10, "c": 7}  # windows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, lengths in SIZES.items():
        write(tmp_path / name, lengths, ord(name))
    return tmp_path


def write(path: Path, lengths: list[int], seed: int, **changes: object) -> None:
    with StoreWriter(path, dot_manifest(**({"validation_share": 0.0} | changes))) as made:
        for i, length in enumerate(lengths):
            made.append([random_episode(length, 100 * seed + i)])


def mixed(folder: Path, stores: dict[str, float], by: str = "repeats", **settings: object) -> ClipWindows:
    named = {str(folder / name): number for name, number in stores.items()}
    mixture = MixtureConfig(stores=named, by=by).build()
    return ClipWindows(mixture, ACTIONS, **({"frames": FRAMES, "batch": 6, "seed": 2} | settings))


def store_of(clips: ClipWindows, ids: np.ndarray) -> Counter[int]:
    """Count windows by the number of their store."""
    return Counter(next(i for i, r in enumerate(clips.windows.ranges) if number in r) for number in ids.tolist())


def test_every_window_comes_as_often_as_its_store_is_repeated(folder: Path) -> None:
    clips = mixed(folder, {"a": 2, "b": 1, "c": 3}, batch=1)
    epoch = 2 * COUNTS["a"] + COUNTS["b"] + 3 * COUNTS["c"]
    for number in (0, 4):
        seen = Counter(int(clips.ids_at(number * epoch + i)[0]) for i in range(epoch))
        wanted = {**dict.fromkeys(range(8), 2), **dict.fromkeys(range(8, 18), 1), **dict.fromkeys(range(18, 25), 3)}
        assert seen == wanted


def test_windows_are_those_of_their_own_store(folder: Path) -> None:
    clips = mixed(folder, {"a": 1, "b": 1, "c": 1})
    alone = [ClipWindows(EpisodeStore(folder / name), ACTIONS, frames=FRAMES) for name in "abc"]
    parts = [one.windows.gather(np.arange(len(one))) for one in alone]
    frames, rows = clips.windows.gather(np.arange(25)[::-1].copy())
    np.testing.assert_array_equal(frames[::-1], np.concatenate([part for part, _ in parts]))
    np.testing.assert_array_equal(rows[::-1], np.concatenate([part for _, part in parts]))


def test_one_store_once_is_the_store_itself(folder: Path) -> None:
    alone = ClipWindows(EpisodeStore(folder / "a"), ACTIONS, frames=FRAMES, batch=6, seed=2)
    clips = mixed(folder, {"a": 1, "b": 0})
    for step in (0, 5, 1000):
        assert torch.equal(clips.batch_at(step).frames, alone.batch_at(step).frames)


def test_shares_hold_whatever_the_stores_sizes(folder: Path) -> None:
    clips = mixed(folder, {"a": 0.15, "b": 0.35, "c": 0.5}, by="shares", batch=6)
    total: Counter[int] = Counter()
    for step in range(200):
        batch = store_of(clips, clips.ids_at(step))
        total += batch
        for store, share in enumerate((0.15, 0.35, 0.5)):
            assert abs(batch[store] - 6 * share) <= 3  # of one batch: what rounding can do, twice
            assert abs(total[store] - 6 * share * (step + 1)) <= 1.5  # of all so far: it never adds up
    assert total == {0: 180, 1: 420, 2: 600}


def test_each_store_has_epochs_of_its_own_under_shares(folder: Path) -> None:
    clips = mixed(folder, {"a": 1, "b": 1}, by="shares", batch=20)
    for step in range(4):
        ids = clips.ids_at(step)
        assert sorted(ids[10:]) == list(range(8, 18))  # one epoch of b a batch


@pytest.mark.parametrize("by", ["repeats", "shares"])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_any_world_shares_the_same_global_batch(folder: Path, by: str, world: int) -> None:
    stores = {"a": 3, "b": 1, "c": 2}
    whole = mixed(folder, stores, by).batch_at(9)
    parts = [mixed(folder, stores, by).batch_at(9, rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
    assert torch.equal(torch.cat([part.actions for part in parts]), whole.actions)


def test_a_focus_looks_into_every_store(folder: Path) -> None:
    clips = mixed(folder, {"a": 1, "b": 2}, focus=Focus(changes=("x",), share=1.0, lead=2, aftermath=0))
    seen = Counter(int(i) for step in range(14) for i in clips.ids_at(step))
    assert seen == {**dict.fromkeys(range(8), 3), **dict.fromkeys(range(8, 18), 6)}  # noise changes always: 3 epochs


def test_fingerprint_names_what_is_mixed_and_how(folder: Path) -> None:
    variants = [
        mixed(folder, {"a": 1, "b": 2}),
        mixed(folder, {"a": 2, "b": 1}),
        mixed(folder, {"b": 2, "a": 1}),
        mixed(folder, {"a": 1, "c": 2}),
        mixed(folder, {"a": 1, "b": 2}, by="shares"),
        mixed(folder, {"a": 1, "b": 2}, seed=3),
    ]
    assert len({clips.fingerprint for clips in variants}) == len(variants)
    assert mixed(folder, {"a": 1, "b": 2, "c": 0}).fingerprint == variants[0].fingerprint
    (folder / "a").rename(folder / "moved")
    assert mixed(folder, {"moved": 1, "b": 2}).fingerprint == variants[0].fingerprint


@pytest.mark.parametrize(
    ("text", "stores", "by"),
    [
        ("stores/a:2,stores/b", {"stores/a": 2, "stores/b": 1}, "repeats"),
        ("a, b:0 ,c:3", {"a": 1, "b": 0, "c": 3}, "repeats"),
        ("a:70%,b:29.5%", {"a": 70, "b": 29.5}, "shares"),
        (r"C:\play\a:2", {r"C:\play\a": 2}, "repeats"),
        ("runs/12:30/a", {"runs/12:30/a": 1}, "repeats"),
    ],
)
def test_text_form(text: str, stores: dict[str, float], by: str) -> None:
    config = MixtureConfig.parse(text)
    assert (config.stores, config.by) == (stores, by)
    assert MixtureConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:2,b:30%", "mixes repeats and shares; give every store a share in %, or none"),
        ("a:2,a", "names a store twice"),
        ("a:1.5,b", "a is repeated 1.5 times; use a whole number, or shares"),
        ("a:0,b:0", "leaves out every store"),
        ("a,,b", "a store in the mixture has no name"),
        (" ", "has no name"),
    ],
)
def test_unclear_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_stores(text)


def test_typed_form_refuses_impossible_numbers() -> None:
    with pytest.raises(ValueError, match="store a has repeats -1; use 0 to leave it out"):
        MixtureConfig(stores={"a": -1})
    with pytest.raises(ValueError, match="store a has shares inf"):
        MixtureConfig(stores={"a": float("inf")}, by="shares")


def test_open_stores_gives_a_store_or_a_mixture(folder: Path) -> None:
    assert isinstance(open_stores(folder / "a"), EpisodeStore)
    assert isinstance(open_stores(f"{folder}/a:3,{folder}/b:0"), EpisodeStore)
    both = open_stores(f"{folder}/a:3,{folder}/b")
    assert isinstance(both, Mixture)
    assert both.numbers == (3, 1)
    (folder / "a").rename(folder / "a:2")
    alone = open_stores(f"{folder}/a:2")  # a folder of that name wins
    assert isinstance(alone, EpisodeStore)
    with pytest.raises(StoreError, match="no such folder"):
        open_stores(f"{folder}/a,{folder}/b")


def test_the_game_is_that_of_all_stores(tmp_path: Path) -> None:
    for name, game in (("a", "dot"), ("b", "dot"), ("c", None)):
        write_store(tmp_path / name, [5], game=game)
    assert open_stores(f"{tmp_path}/a,{tmp_path}/b").game == "dot"
    assert open_stores(f"{tmp_path}/a,{tmp_path}/c").game is None


def test_stores_that_differ_are_refused_with_what_differs(folder: Path) -> None:
    write(folder / "fast", [5], 1, fps=30.0)
    with pytest.raises(
        StoreError, match=r"fast: it cannot be mixed with .*a: its fps is 30\.0, not 15\.0 .*again like"
    ):
        mixed(folder, {"a": 1, "fast": 1})
    other = ActionSpace(buttons=(Button(name="fire"),), axes=ACTIONS.axes)
    write_other(folder / "other", other)
    with pytest.raises(StoreError, match=r"other: .*expected actions \[move.*move missing; fire unexpected.*"):
        mixed(folder, {"a": 1, "other": 1})
    wide = random_episode(5, 0)
    wide = replace(wide, frames=np.concatenate([wide.frames, wide.frames], axis=2))
    columns = tuple(
        replace(c, shape=wide.frames.shape[1:]) if c.name == "frames" else c for c in dot_manifest().columns
    )
    with StoreWriter(folder / "wide", dot_manifest(columns=columns)) as made:
        made.append([wide])
    with pytest.raises(
        StoreError, match=r"wide: .*its frame_size is \(6, 20\), not \(6, 10\) pixels \(height, width\)"
    ):
        mixed(folder, {"a": 1, "wide": 1})


def write_other(path: Path, actions: ActionSpace) -> None:
    """Write a store of another action space of two controls."""
    episode = random_episode(5, 0)
    episode = replace(episode, actions=np.zeros_like(episode.actions))
    with StoreWriter(path, dot_manifest(actions=actions)) as made:
        made.append([episode])


def test_a_store_without_windows_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no train episode of .*c holds a window of 8 frames, the longest has 7"):
        mixed(folder, {"b": 1, "c": 1}, frames=8)
