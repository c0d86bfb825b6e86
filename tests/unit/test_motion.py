import numpy as np
import pytest
from moving_scene import Scene, film, play

from hallucade.data.checks.alignment_evidence import JUMP
from hallucade.data.checks.motion import CELLS, Motion, measure_motion


@pytest.mark.parametrize(("height", "width"), [(24, 24), (40, 56), (90, 160), (180, 320)])
@pytest.mark.parametrize("painted", [0.0, 0.3])
def test_the_shift_of_the_view_is_read_in_pixels_of_the_store(
    height: int, width: int, painted: float, rng: np.random.Generator
) -> None:
    frames, shifts = film(Scene(height, width, painted), play(rng, 60) * [1, 1, 0.5, 0.5], rng)
    motion = measure_motion(frames)
    assert len(motion) == 60
    moved = np.abs(shifts[:, 0]) < width / 6
    assert np.corrcoef(motion.right[moved], shifts[moved, 0])[0, 1] > 0.9
    assert np.median(np.abs(motion.right - shifts[:, 0])) < 0.02 * width
    assert np.corrcoef(motion.up, shifts[:, 1])[0, 1] > 0.5


def test_growth_is_forward_motion(rng: np.random.Generator) -> None:
    frames, _ = film(Scene(120, 160, 0, 0), np.zeros((1, 4), np.float32), rng)
    near = frames[0, 15:105, 20:140]  # the middle three quarters
    near = near.repeat(4, axis=0).repeat(4, axis=1)[1::3, 1::3]
    motion = measure_motion(np.stack([frames[0], near, frames[0]]))
    assert motion.forward[0] > 0.15
    assert motion.forward[1] < -0.1


def test_a_cut_is_unlike_any_turn(rng: np.random.Generator) -> None:
    cuts = (11, 29, 47)
    frames, _ = film(Scene(48, 64, 0.2, cuts=cuts), play(rng, 60), rng)
    unlike = measure_motion(frames).unlike
    turns = np.delete(unlike, cuts)
    assert (unlike[list(cuts)] > JUMP).all()
    assert (turns < JUMP).all()


def test_copies_and_plain_frames_are_marked(rng: np.random.Generator) -> None:
    frames, _ = film(Scene(), play(rng, 9), rng)
    frames[4] = frames[3]
    frames[7] = (3, 2, 1)
    motion = measure_motion(frames)
    assert np.flatnonzero(motion.copied).tolist() == [3]
    assert np.flatnonzero(motion.plain).tolist() == [6]


def test_small_things_show_in_their_part_of_the_picture() -> None:
    frames = np.full((9, 30, 42, 3), 20, np.uint8)
    for i, frame in enumerate(frames):
        frame[4 + 2 * i : 10 + 2 * i, 37:40] = 220  # a paddle at the right, going down
    motion = measure_motion(frames)
    down = motion.parts[:, CELLS**2 : 2 * CELLS**2].reshape(-1, CELLS, CELLS)
    assert (down[:, :, -1].sum(axis=1) > 0.1).all()
    assert np.abs(down[:, :, :3]).max() < 0.01
    assert np.abs(motion.right).max() < 1


def test_nothing_moves_in_a_still_picture(rng: np.random.Generator) -> None:
    frames, _ = film(Scene(noise=0), np.zeros((4, 4), np.float32), rng)
    motion = measure_motion(frames)
    for values in (motion.right, motion.up, motion.forward, motion.change, motion.parts):
        assert np.abs(values).max() < 1e-3


def test_runs_join_end_to_end(rng: np.random.Generator) -> None:
    frames, _ = film(Scene(noise=0, painted=0), play(rng, 12), rng)
    joined = Motion.joined([measure_motion(frames[:8]), measure_motion(frames[7:])])
    assert len(joined) == 12
    assert joined.change == pytest.approx(measure_motion(frames).change)
