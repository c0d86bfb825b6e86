"""The recurrent model of codes: its gates against closed forms, its memory in play, and what it is built for."""

import pytest
import torch

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.nn.conv_gru import ConvGRUCell
from hallucade.nn.film import FiLM, film
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.tokenizers.pixel import PixelTokenizer
from hallucade.training.live_memory import LiveMemory

CODES, ACTIONS, B, H, W = 9, 4, 2, 3, 5
CONFIG = TokenConvGRUConfig(width=12, layers=2, code_width=6)
SPACE = ActionSpace(buttons=(Button(name="a"), Button(name="b")), axes=(Axis(name="yaw", low=-2, high=2),))


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = TokenConvGRU(CONFIG, CODES, ACTIONS, (H, W)).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


def clip(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, CODES, (B, frames, H, W), generator=generator)
    return LatentClip(tokens, torch.rand(B, frames - 1, ACTIONS, generator=generator))


@torch.no_grad()
def test_a_cell_is_project_ochres():
    """z, r = sigmoid(conv([x, h])); h~ = tanh(conv([x, r h])); h = (1 - z) h + z h~."""
    torch.manual_seed(0)
    cell, x, memory = ConvGRUCell(3, 4, 3), torch.randn(B, 3, H, W), torch.randn(B, 4, H, W)
    gates = torch.sigmoid(cell.gates(torch.cat([x, memory], 1)))
    update, reset = gates[:, :4], gates[:, 4:]
    candidate = torch.tanh(cell.candidate(torch.cat([x, reset * memory], 1)))
    torch.testing.assert_close(cell(x, memory), (1 - update) * memory + update * candidate)
    cell.gates.bias[:4] = -1e4  # shut
    assert torch.equal(cell(x, memory), memory)
    cell.gates.bias[:4] = 1e4  # open, and blind to what was
    cell.gates.bias[4:] = -1e4
    torch.testing.assert_close(cell(x, memory), cell(x, memory + 1.0))


@torch.no_grad()
def test_film_is_the_identity_at_first_and_scales_and_shifts_channels():
    torch.manual_seed(0)
    layer, x = FiLM(ACTIONS, 3), torch.randn(B, 3, H, W)
    assert torch.equal(film(x, layer(torch.randn(B, ACTIONS))), x)
    parts = torch.tensor([[1.0, 0.0, -0.5, 0.0, 7.0, 0.0]]).expand(B, -1)  # three scales, three shifts
    expected = x * torch.tensor([2.0, 1.0, 0.5])[:, None, None] + torch.tensor([0.0, 7.0, 0.0])[:, None, None]
    torch.testing.assert_close(film(x, parts), expected)


@torch.no_grad()
def test_the_memory_stays_small_and_bounded_however_long_the_game(model):
    state, sampler = model.initial(clip(1).latents), MaskGITSamplerConfig(steps=2).build()
    peaks, seen = [], 0
    with LiveMemory(torch.device("cpu"), model.parameters()) as memory:
        for action in clip(25).actions.split(1, 1):
            walk = rollout(model, sampler, state, [action], seeded(seen, B))
            next(walk)
            with pytest.raises(StopIteration) as end:
                next(walk)
            state, seen = end.value.value, seen + 1
            if seen % 8 == 0:
                peaks.append(memory.peak)
                memory.reset_peak()
    assert peaks[1] == peaks[2]
    assert all(float(layer.abs().max()) <= 1 for layer in state.layers)


@torch.no_grad()
def test_a_draw_of_many_steps_moves_the_memory_once(model, monkeypatch):
    calls = []
    original = TokenConvGRU.step
    monkeypatch.setattr(TokenConvGRU, "step", lambda *given: calls.append(1) or original(*given))
    state, whole = model.initial(clip(1).latents), clip(4)
    actions = list(whole.actions.split(1, 1))
    list(rollout(model, MaskGITSamplerConfig(steps=5).build(), state, actions, seeded(0, B)))
    assert len(calls) == len(actions)


def test_who_asks_for_another_action_or_with_gradients_gets_no_stale_answer(model):
    whole = clip(2)
    state, unknown = model.initial(whole.latents[:, :1]), torch.full((B, 1, H, W), CODES)
    one, other = whole.actions, whole.actions + 1
    with torch.no_grad():
        first = model.logits(state, one, unknown)
        assert not torch.allclose(model.logits(state, other, unknown), first)
        assert not torch.allclose(model.logits(state, None, unknown), first)
        assert torch.equal(model.logits(state, one, unknown), first)
    graded = model.logits(state, one, unknown)
    graded.sum().backward()
    assert model.cells[0].gates.weight.grad is not None
    with torch.no_grad():
        assert not model.observe(state, one, whole.latents[:, 1:]).layers[0].requires_grad


@torch.no_grad()
def test_what_a_cell_showed_is_known_further_away_with_every_frame():
    """By one convolution at first; then by two a frame, as gates have seen what the candidate sees through them."""
    config = TokenConvGRUConfig(width=12, layers=1, code_width=6, fill=0)
    torch.manual_seed(1)
    small = TokenConvGRU(config, CODES, ACTIONS, (1, 16)).eval()
    tokens = torch.zeros(1, 4, 1, 16, dtype=torch.int64)
    changed = tokens.clone()
    changed[0, 0, 0, 0] = 5
    actions, unknown = torch.zeros(1, 3, ACTIONS), torch.full((1, 3, 1, 16), CODES)
    ours, theirs = (small.forced_logits(LatentClip(t, actions), unknown) for t in (tokens, changed))
    differs = (ours != theirs).any(-1)[0, :, 0]
    reach = [int(differs[frame].nonzero().max()) for frame in range(3)]
    assert reach == [1, 3, 5]


@torch.no_grad()
def test_r14_the_first_answers_are_not_all_of_one_code():
    torch.manual_seed(0)
    fresh = TokenConvGRU(TokenConvGRUConfig(width=16, layers=2), 200, ACTIONS, (8, 8))
    tokens = torch.randint(0, 200, (1, 3, 8, 8))
    answers = fresh.forced_logits(LatentClip(tokens, torch.zeros(1, 2, ACTIONS)), torch.full_like(tokens[:, 1:], 200))
    assert answers.argmax(-1).unique().numel() > 5


@torch.no_grad()
def test_without_fill_known_cells_change_nothing_and_with_it_only_near_ones(model):
    whole = clip(2)
    unknown = torch.full((B, 1, H, W), CODES)
    known = unknown.clone()
    known[:, :, 0, 0] = 1
    torch.manual_seed(0)
    alone = TokenConvGRU(TokenConvGRUConfig(width=12, layers=1, fill=0), CODES, ACTIONS, (H, W))
    assert torch.equal(alone.forced_logits(whole, known), alone.forced_logits(whole, unknown))
    differs = (model.forced_logits(whole, known) != model.forced_logits(whole, unknown)).any(-1)[:, 0].any(0)
    assert differs[:3, :3].all()  # two convolutions of three cells
    assert not differs[:, 3:].any()


def test_r1_it_is_built_for_the_codes_of_its_tokenizer():
    tokenizer = LearnedTokenizerConfig().build()
    made = TokenConvGRUConfig(stride=1).build_on(tokenizer, SPACE, (64, 48))
    assert isinstance(made, TokenConvGRU)
    assert (made.codes, made.latent_shape, made.mask) == (tokenizer.codes, (8, 6), tokenizer.codes)
    assert made.head.to_codes.out_channels == tokenizer.codes
    with pytest.raises(ValueError, match="a TokenConvGRU dreams codes, and the tokenizer makes floats of 3x64x48"):
        TokenConvGRUConfig().build_on(PixelTokenizer(), SPACE, (64, 48))


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"layers": 0}, "layers is 0; use 1 or more"),
        ({"fill": -1}, "fill is -1; use 0 to answer every cell by itself"),
        ({"kernel": 4}, "kernel is 4 cells; use an odd number"),
    ],
)
def test_bad_sizes_are_refused(numbers, told):
    with pytest.raises(ValueError, match=told):
        TokenConvGRUConfig(**numbers)
