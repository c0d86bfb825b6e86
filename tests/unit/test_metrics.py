import math

import pytest
import torch
from torch import Tensor

from hallucade.evaluation.metrics.motion import moving_region
from hallucade.evaluation.metrics.psnr import CEILING, psnr
from hallucade.evaluation.metrics.ssim import ssim


def pictures(*shape: int) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)


def test_psnr_of_a_known_error():
    truth = torch.full((2, 5, 7, 3), 100, dtype=torch.uint8)
    frames = truth + torch.tensor([3, 10], dtype=torch.uint8)[:, None, None, None]
    expected = [10 * math.log10(255**2 / 9), 10 * math.log10(255**2 / 100)]
    assert psnr(frames, truth).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_does_not_wrap_around_at_zero():
    black, white = torch.zeros(5, 7, 3, dtype=torch.uint8), torch.full((5, 7, 3), 255, dtype=torch.uint8)
    assert psnr(black, white).item() == psnr(white, black).item() == pytest.approx(0)


def test_identical_pictures_score_the_ceiling_and_one():
    truth = pictures(2, 3, 13, 17)
    assert (psnr(truth, truth) == CEILING).all()
    assert torch.allclose(ssim(truth, truth), torch.ones(2, 3), atol=1e-4)


def test_a_region_looks_at_its_own_pixels_only():
    truth = pictures(12, 14)
    frames = truth.clone()
    frames[:6] = 255 - frames[:6]
    region = torch.zeros(12, 14, dtype=torch.bool)
    region[6:] = True
    assert psnr(frames, truth, region) == CEILING
    assert psnr(frames, truth, ~region) < psnr(frames, truth) < CEILING


def test_an_empty_region_has_no_score():
    truth = pictures(12, 14)
    nothing = torch.zeros(12, 14, dtype=torch.bool)
    assert psnr(truth, truth, nothing).isnan()
    assert ssim(truth, truth, nothing).isnan()


def test_ssim_follows_its_definition_for_flat_pictures():
    a, b = 50 / 255, 80 / 255
    flat = torch.full((2, 15, 13, 3), 50, dtype=torch.uint8), torch.full((2, 15, 13, 3), 80, dtype=torch.uint8)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)  # no variance: the term of luminance alone, C1 = 0.01^2
    assert ssim(*flat).tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_ssim_sees_structure_where_psnr_sees_none():
    truth = pictures(24, 24) // 2 + 60
    brighter = truth + 12
    noisy = (truth.int() + 12 * (2 * torch.randint(0, 2, truth.shape) - 1)).to(torch.uint8)
    assert psnr(brighter, truth).item() == pytest.approx(psnr(noisy, truth).item(), abs=1e-3)
    assert ssim(brighter, truth) > ssim(noisy, truth)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="10x30 pixels; SSIM needs 11x11"):
        ssim(pictures(10, 30), pictures(10, 30))


def test_the_moving_region_is_where_the_truth_changed_and_one_pixel_around():
    truth = torch.full((2, 3, 9, 11, 3), 20, dtype=torch.uint8)
    truth[1, 1, 4, 5, 2] = 200  # appears in one channel, stays
    truth[1, 2, 4, 5, 2] = 205  # and flickers below the threshold
    region = moving_region(truth)
    assert region.shape == (2, 2, 9, 11)
    assert not region[0].any()
    assert region[1, 0].nonzero().tolist() == [[y, x] for y in (3, 4, 5) for x in (4, 5, 6)]
    assert not region[1, 1].any()
    assert moving_region(truth, margin=0)[1, 0].sum() == 1
