import pytest
import torch

from hallucade.nn.attention import KeysValues
from hallucade.nn.kv_cache import KVCache
from hallucade.nn.rope import Rotation
from hallucade.nn.window import FrameWindow

WINDOWS = [FrameWindow(2), FrameWindow(5), FrameWindow(5, 3), FrameWindow(7, 2)]
TOKENS = 3


def frame(i):
    """Keys and values that carry the frame's number."""
    return KeysValues(torch.full((2, 1, TOKENS, 4), float(i)), torch.full((2, 1, TOKENS, 4), i + 0.5))


def seen(cache, frames):
    return sorted(cache.read(frames, None).keys[0, 0, ::TOKENS, 0].long().tolist())


def fed(window, frames):
    cache = KVCache.of_clip(frame(0), window, TOKENS)
    for i in range(1, frames):
        cache = cache.write(i, frame(i))
    return cache


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("grad", [False, True])
def test_the_ring_holds_what_the_mask_shows(window, grad):
    visible = window.visible(17, torch.device("cpu"))
    assert visible.sum(1).tolist() == [min(i + 1, window.size) for i in range(17)]
    with torch.set_grad_enabled(grad):
        for i in range(1, 17):
            expected = visible[i, :i].nonzero().flatten().tolist()
            assert seen(fed(window, i), i) == expected
            whole = KeysValues(*(torch.cat(parts, -2) for parts in zip(*map(frame, range(i)), strict=True)))
            assert seen(KVCache.of_clip(whole, window, TOKENS), i) == expected


@torch.no_grad()
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_keys_and_values_stay_together(window):
    past = fed(window, 11).read(11, None)
    torch.testing.assert_close(past.values, past.keys + 0.5)


def test_in_place_under_inference_and_functional_under_autograd():
    with torch.no_grad():
        cache = fed(FrameWindow(4), 5)
        kept = cache.keys
        assert cache.write(5, frame(5)).keys.data_ptr() == kept.data_ptr()
    before = kept.clone()
    assert cache.write(6, frame(6)).keys.data_ptr() != kept.data_ptr()
    assert torch.equal(kept, before)


def test_a_memory_with_a_history_is_never_overwritten():
    new = KeysValues(frame(1).keys.requires_grad_(), frame(1).values)
    cache = fed(FrameWindow(3), 1).write(1, new)
    with torch.no_grad():
        cut = cache.write(2, frame(2))
    assert not cut.keys.requires_grad
    cache.read(2, None).keys.sum().backward()
    assert torch.equal(new.keys.grad, torch.ones_like(new.keys))


@torch.no_grad()
def test_only_sinks_are_turned():
    cache = fed(FrameWindow(5, 2), 9)
    half_turn = Rotation(-torch.ones(1, 2), torch.zeros(1, 2))
    keys = cache.read(9, half_turn).keys[0, 0, ::TOKENS, 0]
    assert sorted(keys.tolist()) == [-1.0, 0.0, 7.0, 8.0]
    assert torch.equal(cache.read(9, None).keys[0, 0, ::TOKENS, 0].sort().values, torch.tensor([0.0, 1.0, 7.0, 8.0]))


@pytest.mark.parametrize(("size", "sink"), [(1, 0), (4, 3), (4, -1)])
def test_a_window_needs_room_for_what_moves(size, sink):
    with pytest.raises(ValueError, match=r"use|sees 2"):
        FrameWindow(size, sink)
