"""Flow, smoothness, motion, consistency and flicker of videos whose motion is known."""

import cv2
import numpy as np
import pytest
import torch
from moving_scene import Scene, film

from hallucade.evaluation.metrics.consistency import consistency, palette
from hallucade.evaluation.metrics.dynamic_degree import dynamic_degree
from hallucade.evaluation.metrics.motion_smoothness import motion_smoothness
from hallucade.evaluation.metrics.optical_flow import dis_flow, on_texture, reliable_flow
from hallucade.evaluation.metrics.picture_statistics import flickering

SCENE = Scene(height=36, width=60, painted=0.0, noise=1.0)


def panned(degrees: list[float], rng: np.random.Generator) -> np.ndarray:
    """Return a film whose view turns to the right by so many degrees a frame: 6/7 pixels each."""
    rows = np.array([[0, 0, turn, 0] for turn in degrees], np.float32)
    return film(SCENE, rows, rng)[0]


def test_flow_is_measured_in_pixels_of_the_frames_whatever_their_size(rng: np.random.Generator) -> None:
    frames = panned([2.8, -1.4, 0], rng)  # 2.4 pixels to the right, 1.2 to the left, none
    doubled = np.stack([cv2.resize(frame, (120, 72), interpolation=cv2.INTER_CUBIC) for frame in frames])
    for shown, factor in ((frames, 1), (doubled, 2)):
        flows = dis_flow(shown)
        assert flows.shape == (3, *shown.shape[1:3], 2)
        inner = flows[:, 4:-4, 8:-8]
        np.testing.assert_allclose(np.median(inner[..., 0], (1, 2)), np.array([-2.4, 1.2, 0]) * factor, atol=0.15)
        np.testing.assert_allclose(np.median(inner[..., 1], (1, 2)), 0, atol=0.1)


def test_flow_that_cannot_be_followed_back_is_unknown(rng: np.random.Generator) -> None:
    frames = panned([5.6], rng)  # 4.8 pixels, of which what was at the left leaves the picture
    kept = np.isfinite(reliable_flow(frames)[0]).all(-1)
    assert kept[:, 8:].mean() > 0.95
    assert kept[:, :4].mean() < 0.1
    replaced = np.stack([frames[0], rng.integers(0, 256, frames.shape[1:], np.uint8)])
    assert np.isfinite(reliable_flow(replaced)).mean() < 0.3


def test_what_is_plain_tells_no_flow(rng: np.random.Generator) -> None:
    frames = np.full((2, 32, 32, 3), 90, np.uint8)
    frames += rng.integers(0, 3, frames.shape, np.uint8)  # a floor that is hardly grained
    frames[:, :16] = rng.integers(0, 255, (2, 16, 32, 1), np.uint8)
    known = np.isfinite(on_texture(frames, np.ones((1, 32, 32, 2), np.float32))).all(-1)[0]
    assert known[:16].all()
    assert not known[20:].any()


def test_flow_of_a_single_frame_or_a_speck_is_refused() -> None:
    with pytest.raises(ValueError, match="flow needs two or more"):
        dis_flow(np.zeros((1, 30, 30, 3), np.uint8))
    with pytest.raises(ValueError, match="of 4 pixels a side or more"):
        dis_flow(np.zeros((2, 3, 30, 3), np.uint8))


def test_even_motion_is_smoother_than_jerks_over_the_same_way(rng: np.random.Generator) -> None:
    even = panned([2.0] * 8, rng)
    jerky = even[[0, 2, 1, 4, 3, 6, 5, 8, 7]]  # the same pictures, back and forth
    still = np.repeat(even[:1], 9, 0)
    assert motion_smoothness(still) == pytest.approx(1, abs=1e-3)
    assert motion_smoothness(even) > 0.97
    assert motion_smoothness(jerky) < motion_smoothness(even) - 0.02
    assert np.isnan(motion_smoothness(even[:2]))


def test_what_stands_still_is_not_dynamic(rng: np.random.Generator) -> None:
    moving = panned([3.0] * 8, rng)
    assert dynamic_degree(moving, fps=8) == 1
    assert dynamic_degree(np.repeat(moving[:1], 9, 0), fps=8) == 0
    slow = panned([0.3] * 16, rng)
    assert dynamic_degree(slow, fps=8) == 0
    assert dynamic_degree(slow, fps=64) == 1  # at 64 a second it goes eight times as far between two pictures
    assert np.isnan(dynamic_degree(moving[:1], fps=8))


def test_a_turn_of_the_view_keeps_the_colours_and_another_world_does_not(rng: np.random.Generator) -> None:
    turning = torch.from_numpy(panned([3.0] * 8, rng))
    dark = torch.cat([turning[:4], turning[4:] // 4])
    assert consistency(palette(turning[:1].repeat(3, 1, 1, 1))) == pytest.approx(1, abs=1e-5)
    assert consistency(palette(turning)) > 0.9
    assert consistency(palette(dark)) < consistency(palette(turning)) - 0.1
    assert np.isnan(consistency(palette(turning[:1])))


def test_consistency_of_known_features() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    # With the frame before: 1, 0, 0. With the first one: 1, 0, and -1, which counts as nothing.
    assert consistency(features) == pytest.approx((1 + 1) / 2 / 3)


def test_palette_counts_each_colour() -> None:
    frame = torch.tensor([[[0, 0, 0], [255, 255, 255], [255, 255, 255], [30, 31, 0]]], dtype=torch.uint8)[None]
    shares = palette(frame)[0].square()
    # 30 and 31 are in the first eighth too.
    torch.testing.assert_close(shares[[0, -1]], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))


def test_flickering_is_the_mean_change() -> None:
    frames = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    frames[1] = 51
    assert flickering(frames) == pytest.approx(1 - 51 / 255)
