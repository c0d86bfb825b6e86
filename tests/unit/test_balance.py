"""Action groups against a slow reading of their definition, and batches against their shares."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_game import dot_manifest, random_episode

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.balance import GROUPS, Balance, count_groups, group_labels
from hallucade.data.clips import ClipWindows
from hallucade.data.focus import Focus
from hallucade.data.manifest import StoreColumn
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.data.windows import Windows
from hallucade.data.writer import StoreWriter

LENGTHS = [40, 31, 7, 90]
FIRST_PERSON = ActionSpace(
    buttons=(Button(name="forward"), Button(name="look_left", turns="left")),
    choices=(Choice(name="item", options=("none", "torch", "map")),),
    axes=(
        Axis(name="throttle", low=0, high=1),
        Axis(name="yaw", low=-5, high=5, kind="delta", turns="right"),
        Axis(name="stick", low=-1, high=1, turns="up"),
    ),
)
NO_CAMERA = ActionSpace(buttons=(Button(name="up"), Button(name="down")))
ONLY_MOUSE = ActionSpace(
    axes=(Axis(name="x", low=-5, high=5, kind="delta"), Axis(name="y", low=-5, high=5, kind="delta"))
)
CAMERA = {"look_left", "yaw", "stick", "x", "y"}


def play(actions: ActionSpace, length: int, seed: int) -> np.ndarray:
    """Return actions whose controls rest most of the time and are held in stretches."""
    rng = np.random.default_rng(seed)
    columns = []
    for control in actions.controls:
        resting = np.repeat(rng.random(length // 9 + 1) < 0.7, 9)[:length]
        high = len(control.options) - 1 if isinstance(control, Choice) else 1
        stretch = np.repeat(rng.integers(1, high + 1, length // 13 + 1), 13)[:length]
        moving = rng.uniform(0.1, 1, length) if isinstance(control, Axis) else stretch
        columns.append(np.where(resting, 0, moving))
    return np.stack(columns, 1).astype(np.float32)


def write(path: Path, actions: ActionSpace, seed: int = 0) -> EpisodeStore:
    columns = tuple(
        StoreColumn(name="actions", dtype="<f4", shape=(actions.size,), per="action") if c.name == "actions" else c
        for c in dot_manifest().columns
    )
    manifest = dot_manifest(actions=actions, columns=columns, validation_share=0.0, shard_bytes=20_000)
    with StoreWriter(path, manifest) as made:
        for i, length in enumerate(LENGTHS):
            made.append([replace(random_episode(length, i), actions=play(actions, length, seed + i))])
    return EpisodeStore(path)


def group_by_hand(actions: ActionSpace, rows: np.ndarray, lead: int) -> str:
    """Tell the group of one window by its actions, which are one fewer than its frames."""
    predicted = range(max(lead - 1, 0), len(rows))

    def held(row: np.ndarray) -> list[float]:
        return [
            float(np.sign(v)) if isinstance(c, Axis) else float(v)
            for c, v in zip(actions.controls, row, strict=True)
            if not (isinstance(c, Axis) and c.kind == "delta")
        ]

    if any(held(rows[i]) != held(rows[i - 1]) for i in predicted if i > 0):
        return "transition"
    used = {name for i in predicted for name, value in zip(actions.names, rows[i], strict=True) if value != 0}
    kinds = (bool(used - CAMERA), bool(used & CAMERA))
    return {(True, False): "movement_only", (False, True): "camera_only", (True, True): "combined"}.get(kinds, "static")


@pytest.mark.parametrize("actions", [FIRST_PERSON, NO_CAMERA, ONLY_MOUSE], ids=["first_person", "no_camera", "mouse"])
@pytest.mark.parametrize(("frames", "lead"), [(9, 8), (6, 2), (4, 0), (2, 1)])
def test_groups_are_those_found_by_hand(tmp_path: Path, actions: ActionSpace, frames: int, lead: int) -> None:
    store = write(tmp_path / "store", actions)
    wanted = [
        group_by_hand(actions, play(actions, length, i)[start : start + frames - 1], lead)
        for i, length in enumerate(LENGTHS)
        for start in range(length + 2 - frames)
    ]
    labels = group_labels(Windows([store], frames), 0, lead)
    assert [GROUPS[label] for label in labels] == wanted
    counts = count_groups(store, frames, lead)
    assert counts == {name: wanted.count(name) for name in GROUPS}
    assert list(counts) == list(GROUPS)
    if actions is FIRST_PERSON and lead == 8:
        assert min(counts.values()) > 0  # the play has something of everything


def groups_of(clips: ClipWindows, ids: np.ndarray) -> Counter[str]:
    assert clips.balance is not None
    labels = group_labels(clips.windows, 0, clips.balance.lead)
    return Counter(GROUPS[labels[i]] for i in ids.tolist())


def test_groups_have_their_shares_of_every_batch(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    clips = ClipWindows(store, FIRST_PERSON, frames=9, batch=20, balance=Balance())
    for step in (0, 1, 7, 10**9):
        wanted = {"transition": 6, "movement_only": 4, "camera_only": 4, "combined": 5, "static": 1}
        assert groups_of(clips, clips.ids_at(step)) == wanted


def test_small_batches_have_the_shares_over_time(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    clips = ClipWindows(store, FIRST_PERSON, frames=9, batch=3, balance=Balance())
    ids = np.concatenate([clips.ids_at(step) for step in range(100)])
    wanted = {"transition": 90, "movement_only": 60, "camera_only": 60, "combined": 75, "static": 15}
    assert groups_of(clips, ids) == wanted


def test_every_window_of_a_group_comes_in_turn(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    count = count_groups(store)["combined"]
    only = Balance(transition=0, movement_only=0, camera_only=0, static=0)
    clips = ClipWindows(store, FIRST_PERSON, frames=9, batch=1, balance=only)
    assert len({int(clips.ids_at(step)[0]) for step in range(count)}) == count


def test_shares_of_a_missing_camera_go_to_the_others(tmp_path: Path) -> None:
    store = write(tmp_path / "store", NO_CAMERA)
    assert count_groups(store)["camera_only"] == count_groups(store)["combined"] == 0
    shares = Balance().shares_of(count_groups(store))
    assert {name: round(float(share), 6) for name, share in shares.items()} == {
        "transition": round(30 / 55, 6), "movement_only": round(20 / 55, 6), "static": round(5 / 55, 6)
    }  # fmt: skip
    assert sum(shares.values()) == 1
    clips = ClipWindows(store, NO_CAMERA, frames=9, batch=11, balance=Balance())
    assert groups_of(clips, clips.ids_at(5)) == {"transition": 6, "movement_only": 4, "static": 1}


def test_what_the_balance_leaves_is_all_windows_in_turn(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    balance = Balance(transition=1, movement_only=0, camera_only=0, combined=0, static=0, share=0.25)
    clips = ClipWindows(store, FIRST_PERSON, frames=9, batch=8, balance=balance)
    steps = -(-len(clips) // 6)
    batches = [clips.ids_at(step) for step in range(steps)]
    assert all(groups_of(clips, ids[:2]) == {"transition": 2} for ids in batches)
    assert {int(i) for ids in batches for i in ids[2:]} == set(range(len(clips)))


def test_a_balance_of_nothing_changes_nothing(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    none, zero = (ClipWindows(store, FIRST_PERSON, batch=8, balance=b) for b in (None, Balance(share=0.0)))
    for step in (0, 3, 77):
        np.testing.assert_array_equal(zero.ids_at(step), none.ids_at(step))


def test_a_focus_goes_first_and_the_balance_shares_the_rest(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    focus = Focus(changes=("x",), share=0.5, lead=2, aftermath=0)
    clips = ClipWindows(store, FIRST_PERSON, batch=40, focus=focus, balance=Balance())
    ids = clips.ids_at(3)
    wanted = {"transition": 6, "movement_only": 4, "camera_only": 4, "combined": 5, "static": 1}
    assert groups_of(clips, ids[20:]) == wanted
    assert len({clips.fingerprint, replace_balance(clips, Balance(lead=3)), replace_balance(clips, None)}) == 3


def replace_balance(clips: ClipWindows, balance: Balance | None) -> str:
    """Return the fingerprint with another balance."""
    return ClipWindows(clips.store, clips.actions, batch=40, focus=clips.focus, balance=balance).fingerprint


def test_a_mixture_is_balanced_as_a_whole(tmp_path: Path) -> None:
    stores = [write(tmp_path / name, FIRST_PERSON, seed) for name, seed in (("a", 0), ("b", 50))]
    mixture = Mixture(stores, [1, 2])
    clips = ClipWindows(mixture, FIRST_PERSON, frames=9, batch=20, balance=Balance())
    labels = np.concatenate([group_labels(clips.windows, i, 8) for i in range(2)])
    ids = clips.ids_at(2)
    wanted = {"transition": 6, "movement_only": 4, "camera_only": 4, "combined": 5, "static": 1}
    assert Counter(GROUPS[labels[i]] for i in ids.tolist()) == wanted
    static = sum(int(labels[i] == GROUPS.index("static")) for r, n in zip(clips.windows.ranges, (1, 2), strict=True)
                 for i in r for _ in range(n))  # fmt: skip
    seen = Counter(int(clips.ids_at(step)[-1]) for step in range(static))  # the last slot is the static one
    assert {n for i, n in seen.items() if i in clips.windows.ranges[0]} == {1}
    assert {n for i, n in seen.items() if i in clips.windows.ranges[1]} == {2}


def test_any_world_shares_the_same_batch(tmp_path: Path) -> None:
    store = write(tmp_path / "store", FIRST_PERSON)
    clips = ClipWindows(store, FIRST_PERSON, batch=20, balance=Balance())
    parts = [clips.batch_at(4, rank, 5) for rank in range(5)]
    assert torch.equal(torch.cat([part.actions for part in parts]), clips.batch_at(4).actions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.2}, "share is 1.2; it lies between 0 and 1"),
        ({"static": -0.1}, "use 0 or more"),
        (dict.fromkeys(GROUPS, 0.0), "more than 0 for one of them"),
        ({"lead": -1}, "lead is -1 frames"),
    ],
)
def test_impossible_balances_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Balance(**settings)


def test_a_balance_that_finds_nothing_says_why(tmp_path: Path) -> None:
    store = write(tmp_path / "store", NO_CAMERA)
    camera = Balance(transition=0, movement_only=0, static=0)
    with pytest.raises(
        ValueError, match=r"no window is of a group that has a share \(found: \d+ transition, .* another"
    ):
        ClipWindows(store, NO_CAMERA, balance=camera)
    with pytest.raises(ValueError, match="frames from 8 on, and windows have 5 frames; lower lead or use longer"):
        ClipWindows(store, NO_CAMERA, frames=5, balance=Balance())
