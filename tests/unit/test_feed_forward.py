import pytest
import torch
import torch.nn.functional as F

from hallucade.nn.feed_forward import build_feed_forward

GATES = {"swiglu": F.silu, "geglu": F.gelu}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["swiglu", "geglu", "gelu"])
def test_each_kind_is_its_formula(kind, bias):
    layer, x = build_feed_forward(kind, 12, 2.0, bias=bias), torch.randn(2, 5, 12)
    up = F.linear(x, layer.up.weight, layer.up.bias)
    hidden = GATES[kind](up[..., :24]) * up[..., 24:] if kind in GATES else F.gelu(up)
    torch.testing.assert_close(layer(x), F.linear(hidden, layer.down.weight, layer.down.bias))
    assert hidden.shape[-1] == 24
    assert sum(p.numel() for p in layer.parameters()) == 12 * 24 * (3 if kind in GATES else 2) + bias * (
        up.shape[-1] + 12
    )


@pytest.mark.parametrize(("width", "ratio", "hidden"), [(20, 3.0, 64), (20, 2.5, 48), (320, 4.0, 1280)])
def test_hidden_sizes_are_round(width, ratio, hidden):
    assert build_feed_forward("gelu", width, ratio, bias=False).down.in_features == hidden


def test_a_layer_without_hidden_units_is_refused():
    with pytest.raises(ValueError, match=r"mlp_ratio is 0.1: no hidden units at width 20; use 0.4 or more"):
        build_feed_forward("swiglu", 20, 0.1, bias=False)
