import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, distributed

from hallucade.evaluation.metrics.frechet import frechet_distance, gaussian_distance
from hallucade.evaluation.metrics.kernel_distance import paired_distance, unpaired_distance
from hallucade.evaluation.metrics.moments import LARGEST, RESOLUTION, Moments, across_ranks, merged


def features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def same(a: Moments, b: Moments) -> bool:
    return a.count == b.count and torch.equal(a.total, b.total) and torch.equal(a.products, b.products)


@pytest.mark.parametrize("sizes", [(97,), (1, 96), (50, 3, 44), (1,) * 97, (13, 0, 84)])
def test_any_division_of_the_samples_gives_the_same_moments_to_the_last_bit(sizes: tuple[int, ...]):
    samples = features(97, 7)
    parts = torch.split(samples[torch.randperm(97)], sizes)
    assert same(merged(map(Moments.of, parts)), Moments.of(samples))


def test_moments_are_those_of_the_samples():
    samples, ours = features(5000, 5), Moments.of(features(5000, 5))
    assert ours.count == 5000
    torch.testing.assert_close(ours.mean, samples.double().mean(0), atol=RESOLUTION, rtol=0)
    torch.testing.assert_close(ours.covariance, torch.cov(samples.double().T), atol=1e-4, rtol=0)


def test_a_mean_of_a_million_spreads_leaves_the_covariance():
    samples = torch.tensor([[127.0, -127.0], [127.0 + RESOLUTION, -127.0], [127.0, -127.0 - RESOLUTION]])
    expected = torch.tensor([[2.0, 1], [1, 2]]).double() * RESOLUTION**2 / 6
    torch.testing.assert_close(Moments.of(samples).covariance, expected, rtol=0.01, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), LARGEST])
def test_features_out_of_range_are_refused(bad: float):
    samples = features(4, 3)
    samples[2, 1] = bad
    with pytest.raises(ValueError, match="a feature is not within ±128"):
        Moments.of(samples)


def test_more_samples_than_dimensions_make_a_full_rank():
    assert Moments.of(features(5, 5)).rank_deficient
    assert not Moments.of(features(6, 5)).rank_deficient


def _rank(rank: int, meeting: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mine = features(31, 4)[: 12 if rank == 0 else None][0 if rank == 0 else 12 :]
    ok = same(across_ranks(Moments.of(mine)), Moments.of(features(31, 4)))
    distributed.destroy_process_group()
    raise SystemExit(0 if ok else 1)


def test_ranks_merge_as_one(tmp_path: Path):
    here = multiprocessing.get_context("fork")
    ranks = [here.Process(target=_rank, args=(rank, str(tmp_path / "meeting"))) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0]


def test_without_ranks_mine_is_all():
    mine = Moments.of(features(5, 3))
    assert across_ranks(mine) is mine


def covariance(d: int, seed: int) -> Tensor:
    root = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T


def test_gaussians_that_commute_have_a_closed_form():
    mean_a, mean_b = torch.tensor([1.0, 2, 3]).double(), torch.tensor([0.0, 2, 5]).double()
    a, b = torch.tensor([4.0, 9, 0.25]).double(), torch.tensor([1.0, 16, 0]).double()
    turn, _ = torch.linalg.qr(covariance(3, 5))
    found = gaussian_distance(mean_a, turn @ a.diag() @ turn.T, mean_b, turn @ b.diag() @ turn.T)
    assert found == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 4) ** 2 + 0.5**2, abs=1e-9)


def test_gaussians_that_do_not_commute_agree_with_the_matrix_root():
    a, b, zero = covariance(6, 1), covariance(6, 2), torch.zeros(6).double()
    root = scipy.linalg.sqrtm((a @ b).numpy()).real
    expected = float(a.trace() + b.trace() - 2 * np.trace(root))
    assert gaussian_distance(zero, a, zero, b) == pytest.approx(expected, rel=1e-9)


def test_a_singular_covariance_is_no_source_of_error():
    thin = torch.randn(10, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    singular, zero = thin.T @ thin, torch.zeros(200).double()
    assert gaussian_distance(zero, singular, zero, singular) < 1e-9 * singular.trace()
    assert gaussian_distance(zero, singular, zero, 4 * singular) == pytest.approx(float(singular.trace()), rel=1e-9)


def test_a_shift_is_seen_as_its_square():
    samples = features(400, 3)
    shifted = samples + torch.tensor([0.5, 0.0, -0.25])  # whole units: nothing is rounded otherwise
    assert frechet_distance(Moments.of(samples), Moments.of(shifted)) == pytest.approx(0.3125, abs=1e-6)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="1 samples have no covariance"):
        frechet_distance(Moments.of(features(1, 3)), Moments.of(features(5, 3)))
    with pytest.raises(ValueError, match="features of 3 and 4 dimensions"):
        frechet_distance(Moments.of(features(5, 3)), Moments.of(features(5, 4)))


def kernel(x: Tensor, y: Tensor) -> float:
    return float((x.double() @ y.double() / len(x) + 1) ** 3)


def test_the_paired_distance_is_the_sum_over_all_pairs_of_different_clips():
    a, b = features(10, 3, 1).reshape(5, 2, 3), features(15, 3, 2).reshape(5, 3, 3)

    def between(x: Tensor, y: Tensor) -> float:
        return float(np.mean([kernel(p, q) for p in x for q in y]))

    def estimate(clips: list[int]) -> float:
        return float(
            np.mean([
                between(a[i], a[j]) + between(b[i], b[j]) - between(a[i], b[j]) - between(a[j], b[i])
                for i in clips for j in clips if i != j
            ])
        )  # fmt: skip

    found = paired_distance(a, b)
    assert found.value == pytest.approx(estimate([0, 1, 2, 3, 4]))
    without = [estimate([i for i in range(5) if i != left]) for left in range(5)]
    assert found.error == pytest.approx(np.sqrt(4 / 5 * np.square(np.array(without) - np.mean(without)).sum()))


def test_the_unpaired_distance_leaves_out_nothing_between_the_sets():
    a, b = features(4, 3, 1)[:, None], features(6, 3, 2)[:, None]

    def estimate(p: list[int], q: list[int]) -> float:
        inner = np.mean([kernel(a[i, 0], a[j, 0]) for i in p for j in p if i != j])
        other = np.mean([kernel(b[i, 0], b[j, 0]) for i in q for j in q if i != j])
        return float(inner + other - 2 * np.mean([kernel(a[i, 0], b[j, 0]) for i in p for j in q]))

    found, p, q = unpaired_distance(a, b), [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]
    assert found.value == pytest.approx(estimate(p, q))
    without_a = np.array([estimate([i for i in p if i != left], q) for left in p])
    without_b = np.array([estimate(p, [j for j in q if j != left]) for left in q])
    variance = 3 / 4 * np.square(without_a - without_a.mean()).sum()
    variance += 5 / 6 * np.square(without_b - without_b.mean()).sum()
    assert found.error == pytest.approx(np.sqrt(variance))


def test_few_samples_of_one_distribution_are_at_no_distance_on_average_paired_or_not():
    """Frames of one clip depend on each other, and a dream on its truth: neither may pull the mean off zero."""
    rng = torch.Generator().manual_seed(4)
    found = []
    for _ in range(400):
        prompt = torch.randn(5, 1, 4, generator=rng)
        truth, dream, other = (prompt + 0.3 * torch.randn(5, 3, 4, generator=rng) for _ in range(3))
        far = torch.randn(5, 1, 4, generator=rng) + 0.3 * torch.randn(5, 3, 4, generator=rng)
        found.append([paired_distance(truth, dream).value, unpaired_distance(other, far).value])
    mean, error = np.mean(found, 0), np.std(found, 0) / 20
    assert (np.abs(mean) < 4 * error).all()
    assert (np.array(found)[:, 1] < 0).any()


def test_the_error_is_that_of_repeated_draws():
    rng = torch.Generator().manual_seed(5)
    draws = [torch.randn(2, 40, 1, 3, generator=rng) for _ in range(200)]
    found = [unpaired_distance(a, b + 1) for a, b in draws]
    assert np.mean([f.error for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.2)
    assert np.mean([f.value for f in found]) > 2 * np.mean([f.error for f in found])


def test_too_few_clips_are_refused():
    with pytest.raises(ValueError, match="2 pairs of clips"):
        paired_distance(features(2, 3)[:, None], features(2, 3)[:, None])
    with pytest.raises(ValueError, match="sets of 5 and 2 clips"):
        unpaired_distance(features(5, 3)[:, None], features(2, 3)[:, None])
