from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallucade.data.lanes import Lane, Lanes, Population, divided, fraction

weights = st.lists(st.integers(1, 99), min_size=1, max_size=7)


@given(weights, st.integers(0, 10**12), st.integers(0, 500))
def test_slots_are_divided_near_their_due_and_never_given_back(parts: list[int], slots: int, more: int) -> None:
    shares = [Fraction(part, sum(parts)) for part in parts]
    before, after = divided(slots, shares), divided(slots + more, shares)
    assert sum(before) == slots
    assert all(b <= a for b, a in zip(before, after, strict=True))
    assert all(abs(count - share * slots) <= len(parts) / 2 for count, share in zip(before, shares, strict=True))


def test_a_whole_share_of_a_batch_is_the_same_in_every_batch() -> None:
    shares = [fraction(share) for share in (0.375, 0.5, 0.125)]
    for step in range(50):
        before, after = divided(8 * step, shares), divided(8 * step + 8, shares)
        assert [a - b for a, b in zip(after, before, strict=True)] == [3, 4, 1]


@pytest.mark.parametrize("epoch", [0, 1, 9])
def test_a_population_gives_each_part_so_many_times_an_epoch(epoch: int) -> None:
    listed = np.array([40, 3, 17], np.uint32)
    population = Population([(range(100, 105), 2), (listed, 3), (range(200, 203), 0), (range(0), 4)])
    assert len(population) == 5 * 2 + 3 * 3
    drawn = population.draw(np.arange(epoch * 19, (epoch + 1) * 19), seed=6)
    assert Counter(drawn.tolist()) == {**dict.fromkeys(range(100, 105), 2), **dict.fromkeys(listed.tolist(), 3)}


def lanes() -> Lanes:
    shares = (Fraction(1, 4), Fraction(0), Fraction(3, 4))
    ranges = (range(10), range(1000, 2000), range(50, 60))
    return Lanes([Lane(s, Population([(r, 1)]), i) for i, (s, r) in enumerate(zip(shares, ranges, strict=True))], 6)


def test_lanes_keep_their_shares_over_a_run() -> None:
    drawn = np.concatenate([lanes().ids_at(step) for step in range(20)])
    assert len(drawn) == 120
    assert (drawn < 10).sum() == 30
    assert (drawn >= 1000).sum() == 0
    assert set(drawn.tolist()) == {*range(10), *range(50, 60)}


def test_substitutes_are_all_windows_of_the_slots_own_lane_in_an_order_of_its_own() -> None:
    for step in (0, 1):  # the first lane has two of the six slots, then one
        for slot, window in enumerate(lanes().ids_at(step)):
            wanted = range(10) if window < 10 else range(50, 60)
            assert sorted(lanes().substitutes(step, slot)) == list(wanted)
    orders = {tuple(lanes().substitutes(step, 5)) for step in range(5)}
    assert len(orders) == 5
    assert tuple(lanes().substitutes(3, 5)) in orders
