"""Scaled group norm: one formula for compilers, torch's kernel for the rest, the same numbers."""

import pytest
import torch
from torch.nn import functional as F

from hallucade.nn.group_norm import multiply_add_group_norm, scaled_group_norm

B, C, H, W, GROUPS = 2, 12, 3, 5, 4


def reference(x, groups, scale, shift):
    """What the layer means."""
    return F.group_norm(x, groups) * scale[..., None, None] + shift[..., None, None]


def inputs(lead, mean=0.0):
    """A picture, scales and shifts in float64 that want gradients."""
    generator = torch.Generator().manual_seed(5)
    shapes = (B, C, H, W), (*lead, C), (*lead, C)
    x, scale, shift = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return tuple(part.requires_grad_() for part in (x + mean, scale, shift))


@pytest.mark.parametrize("lead", [(B,), ()], ids=["a scale a sample", "one scale"])
@pytest.mark.parametrize("norm", [multiply_add_group_norm, scaled_group_norm])
def test_values_and_gradients_are_those_of_torchs_group_norm(norm, lead):
    x, scale, shift = inputs(lead, mean=3.0)
    expected, given = reference(x, GROUPS, scale, shift), norm(x, GROUPS, scale, shift)
    torch.testing.assert_close(given, expected)
    weights = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).reshape(expected.shape)
    gradients = [torch.autograd.grad((out * weights).sum(), (x, scale, shift)) for out in (given, expected)]
    for pair in zip(*gradients, strict=True):
        torch.testing.assert_close(*pair)


def test_groups_and_samples_do_not_mix():
    x, scale, shift = (part.detach() for part in inputs((B,)))
    before = multiply_add_group_norm(x, GROUPS, scale, shift)
    x[1, 3:6] *= 7  # the second group of the second sample, and nothing but scale: the norm takes it out again
    after = multiply_add_group_norm(x, GROUPS, scale, shift)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    x[1, 3] += 1
    changed = (multiply_add_group_norm(x, GROUPS, scale, shift) - before).abs().amax((2, 3)) > 1e-3
    assert changed.nonzero().tolist() == [[1, 3], [1, 4], [1, 5]]


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_bfloat16_pictures_are_normalised_in_float32(mean):
    x, scale, shift = (part.detach().float() for part in inputs((B,), mean))
    x = x.bfloat16()
    given = multiply_add_group_norm(x, GROUPS, scale, shift)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given, reference(x.float(), GROUPS, scale, shift), rtol=1e-3, atol=1e-3)


def test_a_picture_of_one_colour_becomes_the_shift():
    _, scale, shift = (part.detach().float() for part in inputs((B,)))
    given = multiply_add_group_norm(torch.full((B, C, H, W), 0.7), GROUPS, scale, shift)
    torch.testing.assert_close(given, shift[..., None, None].expand_as(given), rtol=0, atol=1e-3)


def test_compilers_see_the_formula_and_everyone_else_torchs_kernel(monkeypatch):
    x, scale, shift = (part.detach() for part in inputs((B,)))
    calls = []
    kernel = F.group_norm
    monkeypatch.setattr(F, "group_norm", lambda *args, **kwargs: calls.append(args) or kernel(*args, **kwargs))
    plain = scaled_group_norm(x, GROUPS, scale, shift)
    assert len(calls) == 1
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(scaled_group_norm(x, GROUPS, scale, shift), plain)
    assert len(calls) == 1
