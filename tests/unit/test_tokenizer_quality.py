"""How a tokenizer is judged: by pictures that it gives back exactly, or never, and beside JPEG."""

import math

import numpy as np
import pytest
import torch

from hallucade.data.recorder import RecordingConfig, record
from hallucade.evaluation.jpeg_budget import jpeg_at
from hallucade.evaluation.metrics.psnr import CEILING, psnr
from hallucade.evaluation.tokenizer_quality import TokenizerCheckConfig, evaluate_tokenizer, held_out_pictures
from hallucade.tokenizers.pictures import PictureTokenizer
from hallucade.tokenizers.pixel import PixelTokenizer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return record(RecordingConfig(frame_size=24, frames=600, episode_length=60), tmp_path_factory.mktemp("q") / "store")


class Brightness(PictureTokenizer):
    """Four codes a picture, each how bright a quarter is, of which half are never used."""

    codes = 8

    def latent_shape(self, height, width):
        return (2, 2)

    def encode_pixels(self, pixels):
        quarters = torch.nn.functional.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), 2)[:, 0]
        return torch.full_like(quarters, 1, dtype=torch.int64) * torch.tensor([[0, 1], [2, 3]])

    def decode_pixels(self, latents):
        return torch.zeros(len(latents), 3, 24, 24)


def test_codes_are_counted(store):
    found = evaluate_tokenizer(Brightness(), store, TokenizerCheckConfig(pictures=30)).metrics
    assert found["tokenizer/usage"] == 0.5
    assert found["tokenizer/perplexity"] == pytest.approx(4)
    assert found["tokenizer/cells"] == 4
    assert found["tokenizer/bits"] == 4 * math.log2(8)


def test_likeness_is_the_mean_over_held_out_pictures(store):
    found = evaluate_tokenizer(Brightness(), store, TokenizerCheckConfig(pictures=40))
    pictures = held_out_pictures(store, 40)
    grey = torch.full_like(pictures, 128)
    assert found.metrics["tokenizer/psnr"] == pytest.approx(float(psnr(grey, pictures).mean()), rel=1e-3)
    assert found.stills[0].pixels.shape == (3 * 24, 8 * 24, 3)


def test_pixels_come_back_exactly_and_have_no_codes(store):
    found = evaluate_tokenizer(PixelTokenizer(), store, TokenizerCheckConfig(pictures=5)).metrics
    assert found == {"tokenizer/psnr": CEILING, "tokenizer/ssim": pytest.approx(1, abs=1e-4)}


def test_held_out_pictures_are_spread_over_validation_episodes_alone(store):
    everything = held_out_pictures(store, 10**6)
    episodes = [np.asarray(store.episode(i).frames) for i in store.indices("validation")]
    assert np.array_equal(everything.numpy(), np.concatenate(episodes))
    few = held_out_pictures(store, 7)
    assert len(few) == 7
    assert torch.equal(few[0], everything[0])
    assert torch.equal(few[-1], everything[-1])


def smooth_pictures(side=64):
    y, x = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 2, side), indexing="ij")
    waves = torch.stack([(x + y).sin(), (x * y).cos(), (x - y).sin()], -1)
    return ((waves + 1) * 127).to(torch.uint8).expand(3, -1, -1, -1).contiguous()


def test_jpeg_takes_no_more_bits_than_it_may_and_uses_them():
    pictures, before = smooth_pictures(), 0.0
    for budget in (300, 1000, 3000, 20000):
        shown, bits = jpeg_at(pictures, budget)
        assert shown.shape == pictures.shape
        assert bits <= budget
        quality = float(psnr(shown, pictures).mean())
        assert quality >= before
        before = quality
    assert before > 35


def test_a_budget_that_nothing_meets_is_told_by_its_bits():
    shown, bits = jpeg_at(smooth_pictures(16), 1)
    assert bits > 1
    assert shown.shape == (3, 16, 16, 3)


def test_a_store_without_validation_is_refused(tmp_path):
    alone = record(RecordingConfig(frame_size=24, frames=40, episode_length=60), tmp_path / "one")
    if alone.indices("validation"):
        pytest.skip("its only episode is for validation")
    with pytest.raises(ValueError, match="has no validation episode to judge by"):
        held_out_pictures(alone, 3)
