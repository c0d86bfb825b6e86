import pytest
import torch

from hallucade.nn.attention import SelfAttention, View, attend, attend_by_matmul, attend_fused
from hallucade.nn.rope import Rotation


def still(tokens, pairs):
    return Rotation(torch.ones(tokens, pairs), torch.zeros(tokens, pairs))


def test_equal_logits_give_the_mean_of_what_is_visible():
    v = torch.randn(2, 3, 5, 4)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    out = attend(torch.zeros(2, 3, 5, 6), torch.randn(2, 3, 5, 6), v, mask)
    torch.testing.assert_close(out, v.cumsum(-2) / torch.arange(1, 6)[:, None])


def test_a_large_scale_picks_the_best_key():
    k = torch.eye(5)[None, None]
    v = torch.randn(1, 1, 5, 7)
    torch.testing.assert_close(attend(k.flip(-2), k, v, scale=1e4), v.flip(-2))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (2, 7, 3, 5, 8)])
def test_both_kernels_agree_in_value_and_gradient(shape, masked):
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    outs = [kernel(q, k, v, mask, 0.4) for kernel in (attend_by_matmul, attend_fused)]
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), (q, k, v)) for out in outs))


@pytest.mark.parametrize(("axis", "reached"), [("space", (1, None)), ("time", (None, 4)), ("both", (None, None))])
def test_each_axis_mixes_its_own_tokens(axis, reached):
    attention = SelfAttention(24, 2, axis)
    tokens = {"space": 5, "time": 3, "both": 15}[axis]
    x = torch.randn(2, 3, 5, 24)
    other = x.clone()
    other[0, 1, 4] += 1
    view = View(still(tokens, 6))
    changed = (attention(other, view)[0] - attention(x, view)[0]).abs().sum(-1) > 1e-6
    expected = torch.zeros(2, 3, 5, dtype=torch.bool)
    frame, token = (slice(None) if r is None else r for r in reached)
    expected[0, frame, token] = True
    assert torch.equal(changed, expected)


def test_normalised_heads_do_not_care_how_large_queries_are():
    plain, normed = SelfAttention(24, 2, "space", qk_norm=False), SelfAttention(24, 2, "space")
    x, view = torch.randn(2, 1, 5, 24), View(still(5, 6))
    for attention, same in ((plain, False), (normed, True)):
        before = attention(x, view)[0]
        with torch.no_grad():
            attention.qkv.weight[:48] *= 3  # queries and keys
            attention.qkv.bias[:48] *= 3
        assert torch.allclose(attention(x, view)[0], before, atol=1e-5) == same
