"""Codes drawn one after the other: what a cell knows, how likely a frame is, and that its parts agree."""

import itertools

import pytest
import torch
from samples.codes import Memoryless

from hallucade.models.base import LatentClip
from hallucade.models.raster_head import RasterHead, RasterHeadConfig, above, before
from hallucade.models.raster_transformer import RasterTransformer, RasterTransformerConfig
from hallucade.models.token_transformer import TokenTransformer, TokenTransformerConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.raster_tokens import RasterTokensConfig
from hallucade.samplers.base import seeded
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig

CODES, ACTIONS, H, W = 5, 3, 2, 3
HEAD = RasterHeadConfig(width=24, depth=2, heads=2)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def raster_model(block=1, codes=CODES, grid=(H, W)):
    torch.manual_seed(0)
    config = RasterTransformerConfig(
        width=16, depth=2, heads=2, window=4, block=block, code_width=6, zero_init=False, head=HEAD
    )
    model = RasterTransformer(config, codes, ACTIONS, grid).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def clip(frames=5, codes=CODES, grid=(H, W), batch=2):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, codes, (batch, frames, *grid), generator=generator)
    return LatentClip(tokens, torch.rand(batch, frames - 1, ACTIONS, generator=generator))


def asked(model, block=1):
    """Return a memory, and the action that leads to its next block."""
    whole = clip(2 * block)
    state = model.prefill(LatentClip(whole.latents[:, :block], whole.actions[:, : block - 1]))
    return state, whole.actions[:, block - 1 :], whole.latents[:, block:]


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 2])
def test_r13_cell_by_cell_is_all_cells_at_once(block):
    model = raster_model(block)
    state, action, answer = asked(model, block)
    seen, cells = [], answer.flatten(1)

    def follow(logits):
        seen.append(logits)
        return cells[:, len(seen) - 1]

    drawn = model.draw(state, action, follow)
    assert torch.equal(drawn, answer)
    torch.testing.assert_close(torch.stack(seen, 1), model.logits(state, action, answer).flatten(1, 3), **CLOSE)


@torch.no_grad()
def test_a_cell_knows_those_before_it_and_none_after():
    model = raster_model()
    state, action, answer = asked(model)
    ours = model.logits(state, action, answer).flatten(1, 3)
    for place in range(H * W):
        other = answer.flatten(1).clone()
        other[:, place] = (other[:, place] + 1) % CODES
        changed = model.logits(state, action, other.reshape(answer.shape)).flatten(1, 3)
        assert torch.equal(changed[:, : place + 1], ours[:, : place + 1])
        for later in range(place + 1, H * W):
            assert not torch.allclose(changed[:, later], ours[:, later])


@torch.no_grad()
def test_the_likelihoods_of_all_frames_add_up_to_one():
    codes, grid = 3, (2, 2)
    model = raster_model(codes=codes, grid=grid)
    frames = torch.tensor(list(itertools.product(range(codes), repeat=4))).reshape(-1, 1, *grid)
    first = torch.zeros(len(frames), 1, *grid, dtype=torch.int64)
    whole = LatentClip(torch.cat([first, frames], 1), torch.full((len(frames), 1, ACTIONS), 0.3))
    logs = model.forced_logits(whole, frames).log_softmax(-1).gather(-1, frames[..., None])
    each = logs.flatten(1).sum(1).exp()
    assert float(each.sum()) == pytest.approx(1, abs=1e-5)
    assert float(each.max()) > 1.5 / len(frames)  # they are not all alike


def test_neighbours_of_a_cell():
    tokens = torch.arange(6).reshape(1, 1, 2, 3)
    assert before(tokens, 9).tolist() == [[[[9, 0, 1], [2, 3, 4]]]]
    assert above(tokens, 9).tolist() == [[[[9, 9, 9], [0, 1, 2]]]]


@torch.no_grad()
def test_greedy_takes_the_likeliest_code_of_each_cell():
    model = raster_model()
    state, action, _ = asked(model)
    sampler = RasterSamplerConfig(choice=CodeChoice(temperature=0.0)).build()
    drawn = sampler(model, state, action, seeded(0, 2))
    assert torch.equal(model.logits(state, action, drawn).argmax(-1), drawn)
    assert torch.equal(sampler(model, state, action, seeded(5, 2)), drawn)


@torch.no_grad()
def test_draws_follow_the_model():
    """Shares of frames among many draws are their likelihoods."""
    codes, grid, draws = 2, (1, 2), 3000
    model = raster_model(codes=codes, grid=grid)
    first = torch.zeros(draws, 1, *grid, dtype=torch.int64)
    state, action = (
        model.prefill(LatentClip(first, torch.zeros(draws, 0, ACTIONS))),
        torch.full((draws, 1, ACTIONS), 1.0),
    )
    drawn = RasterSamplerConfig().build()(model, state, action, seeded(0, draws)).flatten(1)
    for pair in itertools.product(range(codes), repeat=2):
        answer = torch.tensor(pair).reshape(1, 1, *grid).expand(draws, 1, *grid)
        logs = model.logits(state, action, answer).log_softmax(-1).gather(-1, answer[..., None])
        share = float((drawn == torch.tensor(pair)).all(1).float().mean())
        assert share == pytest.approx(float(logs[0].sum().exp()), abs=0.03)


def test_what_is_drawn_agrees_with_itself():
    """All cells of a frame hold one code, and nobody knows which: cells that are drawn apart would mix them."""
    torch.manual_seed(0)
    head = RasterHead(HEAD, codes=2, features=4, code_width=4, grid=(H, W))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(40):
        tokens = torch.randint(0, 2, (32, 1, 1, 1)).expand(32, 1, H, W)
        loss = torch.nn.functional.cross_entropy(
            head(torch.ones(32, 1, H, W, 4), tokens).flatten(0, 3), tokens.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    generators, choice = seeded(0, 64), CodeChoice()
    with torch.no_grad():
        drawn = head.draw(torch.ones(64, 1, H, W, 4), lambda x: choice.draw(x[:, None], generators)[0][:, 0]).flatten(1)
    assert float((drawn == drawn[:, :1]).all(1).float().mean()) > 0.9
    assert 0.2 < float(drawn[:, 0].float().mean()) < 0.8


class Listening(RasterTransformer):
    def forced_logits(self, clip, tokens, dropped=None):
        self.shown = tokens
        return super().forced_logits(clip, tokens, dropped)


def test_the_objective_shows_the_answers_and_grades_all_of_them():
    model, whole = raster_model(), clip()
    model.__class__ = Listening
    losses = RasterTokensConfig(corruption=0.0).build()(model, whole, torch.Generator().manual_seed(0))
    assert torch.equal(model.shown, whole.latents[:, 1:])
    plain = torch.nn.functional.cross_entropy(
        model.forced_logits(whole, whole.latents[:, 1:]).flatten(0, -2),
        whole.latents[:, 1:].flatten(),
        label_smoothing=MaskedTokensConfig().losses.cross_entropy.label_smoothing,
    )
    torch.testing.assert_close(losses["cross_entropy"], plain)


def test_objectives_and_samplers_refuse_the_other_kind():
    generator, model = torch.Generator().manual_seed(0), raster_model()
    config = TokenTransformerConfig(width=16, depth=2, heads=2, code_width=6)
    other = TokenTransformer(config, CODES, ACTIONS, (H, W))
    with pytest.raises(ValueError, match="RasterTokensConfig"):
        MaskedTokensConfig().build()(model, clip(), generator)
    with pytest.raises(ValueError, match="MaskedTokensConfig"):
        RasterTokensConfig().build()(other, clip(), generator)
    with pytest.raises(ValueError, match="token_raster_small"):
        MaskGITSamplerConfig().view(model)
    with pytest.raises(ValueError, match="token_raster_small"):
        RasterSamplerConfig().view(other)
    with pytest.raises(ValueError, match="leave it at 1"):
        RasterTokensConfig(all_share=0.5)
    with pytest.raises(ValueError, match="heads"):
        RasterHeadConfig(width=16, heads=8)


def test_a_model_without_order_is_no_raster_model():
    class Plain(Memoryless):
        latent_shape, codes = (H, W), CODES

    with pytest.raises(ValueError, match="Plain"):
        RasterSamplerConfig().view(Plain())
