"""Bottlenecks: every code has one vector and comes back from it; gradients pass; codebooks stay alive."""

import sys
from importlib.util import find_spec

import pytest
import torch

from hallucade.config import Config
from hallucade.tokenizers.bottlenecks.fsq import FSQConfig
from hallucade.tokenizers.bottlenecks.gaussian import GaussianConfig
from hallucade.tokenizers.bottlenecks.lfq import LFQConfig
from hallucade.tokenizers.bottlenecks.residual_vq import ResidualVQConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig

CODED = [FSQConfig(levels=(3, 2, 5, 4)), LFQConfig(bits=6), VQConfig(codes=70, width=5)]
RESIDUAL = ResidualVQConfig(codes=20, width=6, stages=3)
PRODUCT = ResidualVQConfig(codes=20, width=6, stages=1, groups=2)
NEEDS = pytest.mark.skipif(
    find_spec("vector_quantize_pytorch") is None,
    reason="vector-quantize-pytorch is not installed: pip install 'hallucade[quantisers]'",
)
BOTH = ResidualVQConfig(codes=20, width=6, stages=2, groups=2)
SEVERAL = [pytest.param(config, marks=NEEDS) for config in (RESIDUAL, PRODUCT, BOTH)]
BOTTLENECKS = [*CODED, GaussianConfig(channels=3), *SEVERAL]
FOLLOWING = [VQConfig(codes=9, width=3), *SEVERAL]


def name(config):
    if isinstance(config, ResidualVQConfig):
        return f"ResidualVQ {config.stages}x{config.groups}"
    return type(config).__name__ if isinstance(config, Config) else None


def encoded(config, seed=0, scale=2.0, size=(2, 3, 7)):
    n, h, w = size
    draw = torch.randn(n, config.build().width, h, w, generator=torch.Generator().manual_seed(seed))
    return scale * draw


@pytest.mark.parametrize("config", CODED, ids=name)
def test_every_code_has_a_vector_of_its_own(config):
    torch.manual_seed(0)
    bottleneck = config.build().eval()
    codes = torch.arange(bottleneck.codes)[:, None, None]
    vectors = bottleneck.features(codes)
    assert vectors.shape == (bottleneck.codes, bottleneck.width, 1, 1)
    assert len(torch.unique(vectors.flatten(1), dim=0)) == bottleneck.codes
    nearest = torch.cdist(vectors.flatten(1), vectors.flatten(1)).argmin(1)
    assert torch.equal(nearest, codes.flatten())


@pytest.mark.parametrize("config", BOTTLENECKS, ids=name)
def test_what_the_decoder_reads_in_training_is_what_latents_stand_for(config):
    torch.manual_seed(0)
    bottleneck, x = config.build(), encoded(config)
    bottleneck(x)  # a codebook starts at the first features
    bottleneck.eval()
    latents = bottleneck.latents(x)
    assert latents.shape == (2, *bottleneck.latent_shape(3, 7))
    if bottleneck.codes is None:
        mean = bottleneck.to_moments(x).chunk(2, 1)[0]
        torch.testing.assert_close(bottleneck.features(latents), mean)
        return
    passed = bottleneck(x)
    assert torch.equal(passed.codes, latents)
    torch.testing.assert_close(passed.features, bottleneck.features(latents))
    assert 0 <= int(latents.min()) <= int(latents.max()) < bottleneck.codes


@pytest.mark.parametrize("config", BOTTLENECKS, ids=name)
def test_gradients_reach_the_encoder_through_features_and_losses(config):
    torch.manual_seed(0)
    bottleneck, x = config.build(), encoded(config, scale=0.5, size=(4, 5, 7)).requires_grad_()
    passed = bottleneck(x)
    for part in (passed.features.sum(), *passed.losses.values()):
        (gradient,) = torch.autograd.grad(part, x, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_scalars_are_rounded_to_their_levels():
    fsq = FSQConfig(levels=(5, 4)).build()
    far = torch.tensor([[-9.0, -9.0], [9.0, 9.0], [0.0, 0.0]])[..., None, None]
    assert fsq.features(fsq.latents(far)).flatten(1).tolist() == [[-1, -1], [1, 0.5], [0, 0]]
    assert fsq.codes == 20


def test_entropy_is_least_for_clear_choices_of_all_codes():
    lfq = LFQConfig(bits=3, entropy_weight=1.0, commitment=0.0, sample=64).build()
    clear = lfq.features(torch.arange(8).reshape(8, 1, 1)) * 5
    loss = {"clear": clear, "one code": clear[:1].expand(8, -1, -1, -1), "unclear": torch.zeros(8, 3, 1, 1)}
    entropy = {name: float(lfq(x).losses["entropy"]) for name, x in loss.items()}
    assert entropy["clear"] == pytest.approx(-3 * torch.tensor(2.0).log().item(), abs=1e-4)
    assert entropy["one code"] == pytest.approx(0, abs=1e-4)
    assert entropy["unclear"] == pytest.approx(0, abs=1e-4)  # every choice open, and so is the mean one


def test_the_codebook_is_the_running_mean_of_what_chose_each_code():
    torch.manual_seed(0)
    vq = VQConfig(codes=4, width=2, decay=0.5, epsilon=1e-9, patience=0).build()
    corners = torch.tensor([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]])
    for _ in range(30):
        x = corners.repeat(5, 1) + 0.1 * torch.randn(20, 2)
        vq.book[:] = corners + 0.5 if not bool(vq.started) else vq.book
        vq.started.fill_(True)
        vq(x[..., None, None])
    torch.testing.assert_close(vq.book, corners, atol=0.15, rtol=0)
    torch.testing.assert_close(vq.counts, torch.full((4,), 5.0), atol=0.01, rtol=0)


def test_codes_that_nothing_chooses_start_again_with_their_running_sums():
    torch.manual_seed(0)
    vq = VQConfig(codes=6, width=2, patience=3).build()
    vq.started.fill_(True)
    vq.book[:] = torch.tensor([0.0, 0.0])
    vq.book[1:] = 100 + torch.arange(5.0)[:, None]  # out of reach
    vq.sums.copy_(vq.book)
    spread = torch.randn(64, 2, 1, 1)
    for _ in range(3):
        vq(spread)
    assert vq.book.abs().max() < 10, "unused codes were not put at features"
    before = vq.book.clone()
    vq(spread)  # running sums that still pointed to the old place would pull them back
    assert (vq.book - before).abs().max() < 1
    assert len(torch.unique(vq.latents(spread))) > 1


def state(bottleneck):
    return {name: value.clone() for name, value in bottleneck.state_dict().items()}


def unchanged(bottleneck, before):
    return all(torch.equal(value, before[name]) for name, value in bottleneck.state_dict().items())


@pytest.mark.parametrize("config", FOLLOWING, ids=name)
def test_a_codebook_does_not_move_in_play(config):
    torch.manual_seed(0)
    bottleneck = config.build()
    bottleneck(encoded(config))
    before = state(bottleneck)
    bottleneck.latents(encoded(config, seed=1))
    bottleneck.eval()(encoded(config, seed=1))
    assert unchanged(bottleneck, before)
    bottleneck.train()(encoded(config, seed=1))
    assert not unchanged(bottleneck, before)


@pytest.mark.parametrize("config", [VQConfig(codes=50, width=8), SEVERAL[0]], ids=name)
def test_r21_half_precision_of_a_trainer_does_not_reach_the_codebook(config):
    torch.manual_seed(0)
    bottleneck, x = config.build(), encoded(config, scale=300.0, size=(4, 5, 5))
    bottleneck(x)
    bottleneck.eval()
    with torch.autocast("cpu", torch.bfloat16):
        half, passed = bottleneck.latents(x), bottleneck(x)
    assert torch.equal(half, bottleneck.latents(x))
    assert passed.features.dtype == torch.float32


@pytest.mark.parametrize("config", [*FOLLOWING, GaussianConfig(channels=3)], ids=name)
@pytest.mark.parametrize("fresh", [True, False])
def test_r21_a_batch_that_is_not_finite_moves_no_codebook_and_fails_its_loss(config, fresh):
    """The trainer skips such a step, counts it and gives up after some (see test_trainer)."""
    torch.manual_seed(0)
    bottleneck = config.build()
    if not fresh:
        bottleneck(encoded(config))
    before, bad = state(bottleneck), encoded(config)
    bad[0, 0, 0, 0] = float("nan")
    passed = bottleneck(bad)
    assert unchanged(bottleneck, before)
    assert not torch.stack([passed.features.sum(), *passed.losses.values()]).sum().isfinite()
    assert bottleneck(encoded(config, seed=2)).features.isfinite().all()


@NEEDS
def test_residual_codes_come_nearer_with_every_stage():
    torch.manual_seed(0)
    bottleneck, x = RESIDUAL.build(), encoded(RESIDUAL, size=(4, 5, 5))
    for _ in range(20):
        bottleneck(x)
    codes = bottleneck.eval().latents(x).unflatten(1, (3, 5))
    book = bottleneck.quantizer.codebooks[0]
    shown = torch.stack([book[i][codes[:, i]].movedim(-1, 1) for i in range(3)]).cumsum(0)
    errors = (shown - x).square().mean((1, 2, 3, 4))
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


@NEEDS
def test_product_codes_stand_for_their_own_channels():
    torch.manual_seed(0)
    bottleneck, x = PRODUCT.build(), encoded(PRODUCT)
    bottleneck(x)
    codes = bottleneck.eval().latents(x)
    other = codes.clone()
    other[:, :3] = (other[:, :3] + 1) % 20  # the first group of a picture of three rows
    ours, theirs = bottleneck.features(codes), bottleneck.features(other)
    assert torch.equal(ours[:, 3:], theirs[:, 3:])
    assert (ours[:, :3] != theirs[:, :3]).any(1).all()


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'hallucade\[quantisers\]'"):
        RESIDUAL.build()


def test_latents_of_a_gaussian_are_as_large_as_noise():
    torch.manual_seed(0)
    gaussian = GaussianConfig(channels=2, memory=0.5).build()
    x = torch.randn(64, 2, 3, 3) * torch.tensor([5.0, 0.1])[:, None, None] + 7
    for _ in range(40):
        gaussian(x)
    latents = gaussian.latents(x)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(2), atol=0.1, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(2), atol=0.1, rtol=0)
    torch.testing.assert_close(gaussian.features(latents), gaussian.to_moments(x).chunk(2, 1)[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FSQConfig(levels=(8, 1)), "levels are (8, 1); give each channel 2 or more"),
        (lambda: FSQConfig(levels=(256, 257)), "65,792 codes; use 65,536 or fewer"),
        (lambda: LFQConfig(bits=15), "bits is 15; use 1 to 14"),
        (lambda: VQConfig(codes=1), "codes is 1; use 2 to 65,536"),
        (lambda: VQConfig(decay=1.0), "decay is 1.0; use a number between 0 and 1"),
        (lambda: ResidualVQConfig(stages=1), "use 2 or more of either, or VQConfig for one code a cell"),
        (lambda: ResidualVQConfig(width=7, groups=2), "width 7 does not divide into 2 groups"),
        (lambda: GaussianConfig(channels=0), "channels is 0"),
    ],
)
def test_what_makes_no_bottleneck_is_refused(make, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        make()
