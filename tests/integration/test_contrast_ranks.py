"""Contrast over two ranks is that of one rank which holds all clips."""

from pathlib import Path

import numpy as np
import pytest
from contrast_ranks import graded
from two_ranks import found_by_two


def test_two_ranks_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    (loss, gradient, retrieved), (other, gradient_there, retrieved_there) = found_by_two(
        "contrast_ranks", "grade_as_rank", tmp_path
    )
    whole, all_gradients, all_retrieved = graded()
    assert loss != pytest.approx(other, rel=1e-3)
    assert (loss + other) / 2 == pytest.approx(whole, rel=1e-5)
    assert (retrieved + retrieved_there) / 2 == pytest.approx(all_retrieved)
    mean = (np.array(gradient) + np.array(gradient_there)) / 2  # as the trainer averages them
    np.testing.assert_allclose(mean, all_gradients, rtol=1e-4, atol=1e-6)
