"""What a model of codes promises: of its memory what every world model does, and of its cells what a draw relies on."""

from dataclasses import replace

import pytest
import torch

from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.models.raster_head import RasterHeadConfig
from hallucade.models.raster_transformer import RasterTransformer, RasterTransformerConfig
from hallucade.models.token_transformer import TokenTransformer, TokenTransformerConfig
from hallucade.nn.action_injection import AdaLNInjectionConfig, CrossAttentionInjectionConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.raster_tokens import RasterTokensConfig
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig

CODES, ACTIONS, H, W, LONG = 11, 3, 2, 4, 13
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SIZES = {"width": 24, "depth": 2, "heads": 2, "window": 5, "code_width": 6, "zero_init": False}
BASE = TokenTransformerConfig(**SIZES)
RASTER = RasterTransformerConfig(**SIZES, head=RasterHeadConfig(width=20, depth=2, heads=2))
KINDS = {
    TokenTransformerConfig: TokenTransformer,
    TokenConvGRUConfig: TokenConvGRU,
    RasterTransformerConfig: RasterTransformer,
}
MODELS = {
    "factorised": BASE,
    "full": replace(BASE, layout="full", positions="video"),
    "sink": replace(BASE, sink=2, window=6),
    "blocks": replace(BASE, block=2, window=6),
    "patches": replace(BASE, patch=2),
    "adaln": replace(BASE, injection=AdaLNInjectionConfig()),
    "cross": replace(BASE, injection=CrossAttentionInjectionConfig()),
    "recurrent": TokenConvGRUConfig(width=10, layers=2, code_width=6, fill=2),
    "recurrent, alone": TokenConvGRUConfig(width=10, layers=1, code_width=6, fill=1, kernel=1),
    "raster": RASTER,
    "raster, blocks": replace(RASTER, block=2, window=6, sink=2),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys(), scope="module")
def config(request):
    return request.param


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = KINDS[type(config)](config, CODES, ACTIONS, (H, W)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # some begin at zero, and hide what lies behind them
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def clip(frames=LONG, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CODES, (batch, frames, H, W), generator=generator)
    return LatentClip(tokens, torch.rand(batch, frames - 1, ACTIONS, generator=generator))


def part(whole, frames):
    return LatentClip(whole.latents[:, :frames], whole.actions[:, : frames - 1])


def hidden(tokens, seed=1):
    rolls = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(seed))
    return tokens.masked_fill(rolls < 0.6, CODES)


def start(model):
    """A first clip after which blocks come out even."""
    return LONG % model.block or model.block


@torch.no_grad()
def test_r13_training_in_parallel_equals_play_frame_by_frame(model):
    """R13: what is taught is what is asked."""
    whole, k, first = clip(), model.block, start(model)
    tokens = hidden(whole.latents[:, first:])
    parallel = model.forced_logits(whole, tokens)
    state = model.prefill(part(whole, first))
    for i in range(first, LONG, k):
        action = whole.actions[:, i - 1 : i - 1 + k]
        asked = model.logits(state, action, tokens[:, i - first : i - first + k])
        torch.testing.assert_close(asked, parallel[:, i - first : i - first + k], **CLOSE)
        state = model.observe(state, action, whole.latents[:, i : i + k])


@torch.no_grad()
def test_asking_changes_no_memory_and_a_fork_is_independent(model):
    whole, first = clip(), start(model)
    state = model.prefill(part(whole, first))
    action, block = whole.actions[:, first - 1 : first - 1 + model.block], whole.latents[:, first : first + model.block]
    before = model.logits(state, action, hidden(block))
    twin = model.fork(state)
    model.observe(twin, action, block)
    assert torch.equal(model.logits(state, action, hidden(block)), before)


@torch.no_grad()
def test_no_frame_knows_what_comes_after_it(model):
    whole, first = clip(), start(model)
    tokens = hidden(whole.latents[:, first:])
    ours = model.forced_logits(whole, tokens)
    last = LONG - model.block
    later, acted, asked = whole.latents.clone(), whole.actions.clone(), tokens.clone()
    later[:, last:] = (later[:, last:] + 1) % CODES
    acted[:, last - 1 :] += 1
    asked[:, last - first :] = CODES
    changed = model.forced_logits(LatentClip(later, acted), asked)
    assert torch.equal(changed[:, : last - first], ours[:, : last - first])
    assert not torch.equal(changed[:, last - first :], ours[:, last - first :])


def test_actions_and_known_cells_matter(model):
    whole, first = clip(), start(model)
    actions = whole.actions.clone().requires_grad_()
    tokens = hidden(whole.latents[:, first:])
    model.forced_logits(LatentClip(whole.latents, actions), tokens).square().sum().backward()
    assert actions.grad is not None
    assert (actions.grad[:, first - 1 :].abs().sum((0, 2)) > 0).all()
    with torch.no_grad():
        known, unknown = (model.forced_logits(whole, t) for t in (tokens, torch.full_like(tokens, CODES)))
    assert not torch.allclose(known, unknown)


def test_dropped_actions_are_those_of_no_action(model):
    whole, first, k = clip(), start(model), model.block
    tokens = hidden(whole.latents[:, first:])
    dropped = torch.zeros(whole.actions.shape[:2], dtype=torch.bool)
    dropped[:, -k:] = True
    with torch.no_grad():
        ours = model.forced_logits(whole, tokens, dropped)[:, -k:]
        free = model.logits(model.prefill(part(whole, LONG - k)), None, tokens[:, -k:])
    torch.testing.assert_close(ours, free, **CLOSE)


def test_every_weight_learns_from_cells(model):
    model.train()
    objective = RasterTokensConfig if isinstance(model, RasterTransformer) else MaskedTokensConfig
    loss = objective(action_dropout=0.5).build()(model, clip(), torch.Generator().manual_seed(0))["cross_entropy"]
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    one_key = "blocks.0.injection.attention.q."  # of a frame's only action: there is nothing to choose
    assert not [name for name in without if not name.startswith(one_key)]


@torch.no_grad()
def test_a_draw_is_the_same_alone_and_in_a_batch(model):
    config = RasterSamplerConfig() if isinstance(model, RasterTransformer) else MaskGITSamplerConfig(steps=3)
    sampler, whole, first = config.build(), clip(batch=3), start(model)

    def dreamed(rows):
        some = LatentClip(whole.latents[rows, :first], whole.actions[rows, : first - 1])
        actions = (whole.actions[rows, i : i + model.block] for i in range(first - 1, LONG - 1, model.block))
        generators = seeded(4, 3)[rows]
        return torch.cat(list(rollout(model, sampler, model.prefill(some), actions, generators)), 1)

    together = dreamed(slice(0, 3))
    assert together.shape == (3, LONG - first, H, W)
    assert 0 <= int(together.min()) <= int(together.max()) < CODES
    for i in range(3):
        assert torch.equal(dreamed(slice(i, i + 1))[0], together[i])
