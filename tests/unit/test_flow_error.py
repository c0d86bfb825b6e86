import numpy as np
import pytest

from hallucade.evaluation.metrics.flow_error import (
    area_under,
    divergence_onset,
    flow_errors,
    focus_of_expansion,
    usual_limit,
)

N, H, W = 3, 20, 32


@pytest.fixture
def flows(rng: np.random.Generator) -> np.ndarray:
    """To the right and down, between 1 and 3 pixels."""
    return rng.uniform(1, 2, (N, H, W, 2)).astype(np.float32)


def test_identical_flows_have_no_error(flows: np.ndarray) -> None:
    errors = flow_errors(flows, flows.copy())
    assert len(errors) == N
    np.testing.assert_array_equal(errors.known, 1)
    for name in ("epe", "angle_rmse", "outliers", "mean_epe"):
        np.testing.assert_allclose(getattr(errors, name), 0, atol=1e-4)
    np.testing.assert_allclose(errors.mean_angle, 0, atol=0.1)
    np.testing.assert_allclose(errors.cosine, 1, atol=1e-6)
    np.testing.assert_allclose(errors.magnitude_ratio, 1, rtol=1e-6)


def test_opposite_flows_point_the_other_way_and_are_as_long(flows: np.ndarray) -> None:
    errors = flow_errors(flows, -flows)
    np.testing.assert_allclose(errors.angle_rmse, 180, rtol=1e-4)
    np.testing.assert_allclose(errors.mean_angle, 180, atol=0.1)
    np.testing.assert_allclose(errors.cosine, -1, atol=1e-6)
    np.testing.assert_allclose(errors.magnitude_ratio, 1, rtol=1e-6)
    np.testing.assert_allclose(errors.outliers, 1)


def test_known_angles_and_lengths() -> None:
    expected = np.broadcast_to(np.float32([3, 0]), (1, H, W, 2))
    found = np.broadcast_to(np.float32([0, 6]), (1, H, W, 2))
    errors = flow_errors(np.array(expected), np.array(found))
    assert errors.epe[0] == pytest.approx(45**0.5)
    assert errors.mean_epe[0] == pytest.approx(45**0.5)
    assert (errors.angle_rmse[0], errors.mean_angle[0]) == pytest.approx((90, 90))
    assert errors.magnitude_ratio[0] == pytest.approx(2)


def test_a_dream_that_stands_still_is_at_a_right_angle_to_what_it_should_do(flows: np.ndarray) -> None:
    errors = flow_errors(flows, np.zeros_like(flows))
    np.testing.assert_allclose(errors.mean_angle, 90)
    np.testing.assert_allclose(errors.magnitude_ratio, 0)
    assert np.isnan(errors.angle_rmse).all()
    moves = flow_errors(np.zeros_like(flows), flows)
    np.testing.assert_allclose(moves.cosine, 0)
    assert (moves.epe > 1).all()


def test_where_neither_moves_nothing_but_the_error_is_judged() -> None:
    still = np.zeros((1, H, W, 2), np.float32)
    errors = flow_errors(still, still)
    assert errors.epe[0] == 0
    assert np.isnan(errors.cosine[0])
    assert np.isnan(errors.outliers[0])


def test_noise_has_no_direction(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.02, (1, H, W, 2)).astype(np.float32)  # a few places move more than 0.025 pixels
    errors = flow_errors(np.zeros_like(noise), noise)
    assert errors.mean_epe[0] < 0.02
    assert np.isnan(errors.cosine[0])


def test_places_whose_flow_is_not_known_are_not_judged(flows: np.ndarray) -> None:
    found = flows.copy()
    found[:, :, : W // 4] = -9  # wrong at the left
    assert (flow_errors(flows, found).epe > 1).all()
    found[:, :, : W // 4] = np.nan
    errors = flow_errors(flows, found)
    np.testing.assert_allclose(errors.known, 0.75)
    np.testing.assert_allclose(errors.epe, 0)
    nothing = flow_errors(flows, np.full_like(flows, np.nan))
    np.testing.assert_array_equal(nothing.known, 0)
    assert np.isnan(nothing.epe).all()


def test_flow_outwards_has_no_mean_direction_but_an_angle_at_every_place() -> None:
    x, y = np.meshgrid(np.arange(W) + 0.5 - W / 2, np.arange(H) + 0.5 - H / 2)
    outward = (np.stack([x, y], -1)[None] * 0.1).astype(np.float32)
    errors = flow_errors(outward, -outward)
    assert np.isnan(errors.cosine[0])
    assert errors.angle_rmse[0] == pytest.approx(180, rel=1e-3)
    assert focus_of_expansion(outward[0]) == pytest.approx((0, 0), abs=1e-4)


def test_errors_of_larger_pictures_are_larger_in_pixels_and_equal_in_all_else(
    flows: np.ndarray, rng: np.random.Generator
) -> None:
    found = flows + rng.normal(0, 0.3, flows.shape).astype(np.float32)
    small = flow_errors(flows, found).named()
    large = flow_errors(*(3 * f.repeat(3, 1).repeat(3, 2) for f in (flows, found))).named()
    for name, series in small.items():
        factor = 3 if name in ("epe", "mean_epe") else 1
        np.testing.assert_allclose(large[name], factor * series, rtol=2e-2, atol=1e-3, err_msg=name)


def test_divergence_begins_with_the_first_five_pairs_beyond_the_limit() -> None:
    errors = np.array([0.3] * 12 + [2.0] * 9)
    assert usual_limit(errors, 32) == pytest.approx(0.6)
    assert divergence_onset(errors, 0.6) == 8  # of pairs 8 to 12 one is large: 0.64 in the mean
    assert divergence_onset(errors, 2.1) is None
    spike = errors.copy()
    spike[12:] = 0.3
    spike[6] = 1.7
    assert divergence_onset(spike, 0.6) is None  # one bad pair is none: 0.58
    assert divergence_onset(np.array([0.1, 9.0, 9.0]), 0.2) is None  # too short to tell
    assert usual_limit(np.full(9, np.nan), 640) == 1
    unknown = np.where(np.arange(21) % 3 == 0, np.nan, errors)
    assert divergence_onset(unknown, 0.6) in (7, 8, 9, 10)


def test_area_under_a_line_is_its_middle() -> None:
    assert area_under(np.linspace(1, 4, 7)) == pytest.approx(2.5)
    assert area_under(np.array([0.0, np.nan, 2.0])) == pytest.approx(1)
    assert np.isnan(area_under(np.array([1.0])))
