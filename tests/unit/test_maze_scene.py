import numpy as np
import pytest
from samples.scene import walk


@pytest.mark.parametrize("seed", [0, 5])
def test_rows_are_the_differences_of_poses(seed: int) -> None:
    frames, rows, poses = walk(seed, 90, size=(34, 46))
    assert frames.shape == (90, 34, 46, 3)
    assert (rows.shape, rows.dtype, poses.shape) == ((89, 6), np.float32, (90, 4))
    turned = np.diff(poses[:, 2:], axis=0)
    turned[:, 0] = (turned[:, 0] + 180) % 360 - 180
    assert turned == pytest.approx(rows[:, 4:], abs=1e-5)
    walked = np.hypot(*np.diff(poses[:, :2], axis=0).T)
    assert walked.max() <= 0.06 + 1e-9
    assert (walked[~rows[:, :4].any(1)] == 0).all()
    assert walked[rows[:, :4].any(1)].mean() > 0.02  # it does not only push against walls


def test_the_same_seed_walks_the_same_and_another_does_not() -> None:
    first, again, other = walk(3, 20), walk(3, 20), walk(4, 20)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)


def test_one_frame_is_a_walk_without_actions() -> None:
    assert walk(1, 1).rows.shape == (0, 6)


def test_fewer_frames_a_second_walk_further_in_each() -> None:
    slow = np.hypot(*np.diff(walk(2, 60, fps=10.0).poses[:, :2], axis=0).T)
    assert slow.max() == pytest.approx(0.18, abs=1e-9)
