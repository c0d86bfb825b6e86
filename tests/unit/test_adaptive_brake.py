"""When frames are held back, when they are let go, and that a resumed training knows."""

import pytest
import torch
from brake_ranks import OF_RANKS, braked
from two_ranks import found_by_two

from hallucade.objectives.adaptive_brake import AdaptiveBrakeConfig

ASKED = 4


def brake(**choices):
    made = AdaptiveBrakeConfig(**{"most_ratio": 1.5, "least_ratio": 1.2, "every": 3, "decay": 0.0} | choices).build()
    assert made is not None
    return made


def saw(made, ratio, codes=1.0, steps=1, asked=ASKED):
    for _ in range(steps):
        made.update(torch.tensor(2.0), torch.tensor(2.0 * ratio), torch.tensor(codes), asked)
    return made.limited(asked)


def test_too_large_a_ratio_holds_one_more_back_every_few_steps():
    made = brake()
    assert [saw(made, 1.6) for _ in range(15)] == [4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    assert saw(made, 1.3, steps=9) == 1  # between the bounds nothing changes
    assert [saw(made, 1.1, steps=3) for _ in range(4)] == [2, 3, 4, 4]


def test_too_few_codes_hold_back_whatever_the_ratio():
    assert saw(brake(least_codes=0.3), 1.0, codes=0.2, steps=3) == ASKED - 1
    assert saw(brake(least_codes=0.3), 1.0, codes=0.4, steps=3) == ASKED


def test_the_ratio_is_of_running_means():
    made = brake(decay=0.75)
    saw(made, 2.0)
    assert float(made.ratio()) == pytest.approx(2.0)  # begins with what it saw first
    saw(made, 1.0)
    assert float(made.ratio()) == pytest.approx(1.75)


def test_what_is_not_finite_is_passed_over():
    made = brake()
    saw(made, float("nan"), steps=7)
    assert int(made.seen) == 0
    assert saw(made, 1.6, steps=3) == ASKED - 1


def test_nothing_asked_is_nothing_held():
    made = brake()
    saw(made, 9.0, steps=30)
    assert made.limited(0) == 0
    assert made.limited(1) == 1


def test_r7_a_resumed_brake_goes_on_as_it_was():
    whole, half = brake(decay=0.5), brake(decay=0.5)
    saw(whole, 1.6, steps=5)
    saw(half, 1.6, steps=5)
    resumed = brake(decay=0.5)
    resumed.load_state_dict(half.state_dict())
    for ratio in (1.6, 1.9, 1.4, 1.0, 1.0):
        assert saw(resumed, ratio) == saw(whole, ratio)
    assert torch.equal(resumed.means, whole.means)


def test_without_a_bound_there_is_no_brake():
    assert AdaptiveBrakeConfig().build() is None


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"least_ratio": 2.0, "most_ratio": 1.5}, "least_ratio is 2.0 and most_ratio 1.5; use 0 < least < most"),
        ({"decay": 1.0}, r"decay is 1.0; it lies in \[0, 1\)"),
        ({"least_codes": -0.1}, r"least_codes is -0.1; it lies in \[0, 1\)"),
        ({"every": 0}, "every is 0 steps; use 1 or more"),
    ],
)
def test_bad_numbers_are_refused(numbers, told):
    with pytest.raises(ValueError, match=told):
        AdaptiveBrakeConfig(**numbers)


def test_ranks_that_see_different_losses_brake_alike(tmp_path):
    let = found_by_two("brake_ranks", "brake_as_rank", tmp_path)
    assert let[0] == let[1] == [3, 3, 3, 4]  # as the mean of both says; one that is not finite stops neither
    assert [braked(ratios) for ratios in OF_RANKS] == [[4, 4, 4, 4], [3, 2, 3, 4]]  # alone they part
