"""Models that advance by several latents at once: who sees whom, with a mask and with a memory."""

from dataclasses import replace

import pytest
import torch

from hallucade.actions import ActionSpace, Button, Choice
from hallucade.models.base import LatentClip
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.nn.action_injection import KeyboardMouseInjectionConfig
from hallucade.nn.attention import KeysValues
from hallucade.nn.kv_cache import KVCache
from hallucade.nn.positions import moments
from hallucade.nn.window import FrameWindow
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.few_step import ExitSampler, FewStepSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig

CPU = torch.device("cpu")
ACTIONS = ActionSpace(buttons=(Button(name="fire"),), choices=(Choice(name="move", options=("stay", "up")),))
SHAPE = (2, 4, 6)
B, TOKENS, LONG = 2, 3, 14
BLOCKS = DiffusionTransformerConfig(width=12, heads=2, depth=2, patch=2, window=6, block=3)
KINDS = {
    "factorised": BLOCKS,
    "one sink": replace(BLOCKS, sink=1, layout="full"),
    "two sinks, learned": replace(BLOCKS, sink=2, learned_positions=True),
    "learned alone": replace(BLOCKS, window=7, sink=1, positions="learned"),
    "keys, mouse and picture": replace(
        BLOCKS,
        sink=1,
        block=2,
        layout="full",
        injection=KeyboardMouseInjectionConfig(window=2, key_features=5),
        image_condition="every_frame",
    ),
}
WINDOWS = [
    FrameWindow(size, sink, block)
    for block in (1, 2, 3, 4)
    for size in range(block + 1, block + 6)
    for sink in range(min(3, size - block))
]


@pytest.fixture
def double():
    """Numbers of 64 bits, in which two ways to one result agree to ten digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def network(config: DiffusionTransformerConfig) -> DiffusionTransformer:
    model = config.build(ACTIONS, SHAPE).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator) + (parameter == 1))
    return model


def clip(frames: int) -> LatentClip:
    generator = torch.Generator().manual_seed(3)
    latents = torch.rand(B, frames, *SHAPE, generator=generator) * 2 - 1
    rows = torch.randint(0, 2, (B, frames - 1, 2), generator=generator).float()
    return LatentClip(latents, ACTIONS.encode(rows).to(latents.dtype))


def part(whole: LatentClip, frames: int) -> LatentClip:
    return LatentClip(whole.latents[:, :frames], whole.actions[:, : frames - 1])


def block_at(model, whole: LatentClip, i: int):
    """The actions that lead to the block from frame i on, and the block."""
    return whole.actions[:, i - 1 : i - 1 + model.block], whole.latents[:, i : i + model.block]


def as_rule(window: FrameWindow, frames: int) -> torch.Tensor:
    """Who sees whom, spelled out: sinks, and the newest up to the end of one's own block."""
    first = frames % window.block or window.block
    starts = [0, *range(first, frames, window.block)]
    seen = torch.zeros(frames, frames, dtype=torch.bool)
    for start, end in zip(starts, [*starts[1:], frames], strict=True):
        newest = range(max(0, end - (window.size - window.sink)), end)
        for q in range(start, end):
            seen[q, [*range(min(window.sink, end)), *newest]] = True
    return seen


# Masks and rings


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_mask_and_ring_admit_the_same_frames(window: FrameWindow) -> None:
    for frames in range(1, 4 * window.block + window.size):
        mask = window.visible(frames, CPU)
        assert torch.equal(mask, as_rule(window, frames))
        assert int(mask[-1].sum()) == min(frames, window.size)
    for start in range(1, window.block + 1):  # frames of the first block
        cache = KVCache.of_clip(numbered(0, start), window, TOKENS)
        for first in range(start, start + 5 * window.block + window.size, window.block):
            end = first + window.block
            expected = window.visible(end, CPU)[first, :first].nonzero().flatten().tolist()
            assert shown(cache, first) == expected
            assert shown(KVCache.of_clip(numbered(0, first), window, TOKENS), first) == expected
            with torch.set_grad_enabled(first % 2 == 0):  # functionally and in place
                cache = cache.write(first, numbered(first, end))


def numbered(first: int, last: int) -> KeysValues:
    """Keys and values that carry their frames' numbers."""
    numbers = torch.arange(first, last).float().repeat_interleave(TOKENS)
    return KeysValues(numbers.view(1, 1, -1, 1), numbers.view(1, 1, -1, 1) + 0.5)


def shown(cache: KVCache, frames: int) -> list[int]:
    keys, values = cache.read(frames, None)
    assert torch.equal(values, keys + 0.5)
    return sorted(keys[0, 0, ::TOKENS, 0].long().tolist())


def test_matrix_game_2_sees_its_sink_and_its_last_five_latents() -> None:
    seen = FrameWindow(6, 1, 3).visible(9, CPU)
    assert seen[6].nonzero().flatten().tolist() == [0, 4, 5, 6, 7, 8]
    assert torch.equal(seen[6], seen[8])


@torch.no_grad()
def test_a_block_that_is_written_twice_leaves_what_the_second_write_left() -> None:
    for window in WINDOWS:
        provisional, plain = (KVCache.of_clip(numbered(0, 7), window, TOKENS) for _ in range(2))
        end = 7 + window.block
        provisional = provisional.write(7, KeysValues(*(-x for x in numbered(7, end)))).write(7, numbered(7, end))
        assert torch.equal(provisional.keys, plain.write(7, numbered(7, end)).keys)


@pytest.mark.parametrize("window", [FrameWindow(6, 1, 3), FrameWindow(7, 2, 2)], ids=str)
@pytest.mark.parametrize("frames", [2, 6, 22, 23, 24])
def test_a_clip_and_a_memory_give_a_block_the_same_learned_vectors(window: FrameWindow, frames: int) -> None:
    alone, beside = (moments(kind, window, window.clip(frames)) for kind in ("learned", "axial"))
    assert all(len(alone[seen].unique()) == seen.sum() for seen in window.visible(frames, CPU))
    count = min(frames, window.block)
    newest = window.next(frames - count, count)
    assert torch.equal(moments("learned", window, newest), alone[-count:])
    assert torch.equal(moments("axial", window, newest), beside[-count:])
    full = min(frames, window.size)  # the clock of a fuller clip stands still at the last block of a full one
    assert beside[-count:].tolist() == list(range(full - count, full))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 0}, "block is 0; a model advances by 1"),
        ({"block": 6}, "window is 6; a model with a memory sees 7 frames or more: a block of 6"),
        ({"sink": 3}, "sink is 3; with a window of 6 and blocks of 3 use 0 to 2"),
    ],
)
def test_windows_hold_a_block_and_a_past(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BLOCKS, **change)


# Networks


@torch.no_grad()
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("start", [1, 2, 3])
@pytest.mark.usefixtures("double")
def test_a_memory_changes_nothing_to_ten_digits(config: DiffusionTransformerConfig, start: int) -> None:
    """With a first block of any length, before the window is full and after it wrapped."""
    model, whole = network(config), clip(LONG)
    state, level = model.prefill(part(whole, start)), torch.full((B,), 0.6)
    for i in range(start, LONG - model.block + 1, model.block):
        seen, end = part(whole, i + model.block), i + model.block
        levels = torch.zeros(B, end)
        levels[:, i:] = 0.6
        uncached = model(seen.latents, levels, seen.actions)[:, i:]
        action, latent = block_at(model, whole, i)
        assert (model.denoise(state, action, latent, level) - uncached).abs().max() < 1e-10
        parallel = model.prefill(part(whole, i))
        assert (model.denoise(parallel, action, latent, level) - uncached).abs().max() < 1e-10
        state = model.observe(state, action, latent)


@torch.no_grad()
def test_a_first_block_is_remembered_as_one_whose_actions_nobody_knows() -> None:
    model, whole = network(KINDS["keys, mouse and picture"]), clip(4)
    nothing = torch.arange(3) < 1
    expected = model(whole.latents, torch.tensor([[0, 0, 0.6, 0.6]] * B), whole.actions, nothing.expand(B, -1))[:, 2:]
    state = model.initial(whole.latents[:, :2])
    found = model.denoise(state, *block_at(model, whole, 2), torch.full((B,), 0.6))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_frame_one_hundred_thousand_is_as_good_as_the_twentieth(config: DiffusionTransformerConfig) -> None:
    model, whole, k = network(config), clip(26), config.block
    early = model.prefill(part(whole, 8))
    late = replace(model.fork(early), frames=8 + 60 * 1667)  # whole turns of learned vectors
    for i in range(8, 24 - k, k):  # long enough to fill every layer's memory anew
        early, late = (model.observe(state, *block_at(model, whole, i)) for state in (early, late))
    assert late.frames > 100_000
    following = (*block_at(model, whole, 26 - k), torch.full((B,), 0.6))
    torch.testing.assert_close(model.denoise(late, *following), model.denoise(early, *following), rtol=1e-4, atol=1e-4)


def test_latents_of_a_block_are_drawn_at_one_level() -> None:
    pyramid = JointSamplerConfig(steps=2, lag=1).build().levels(5, block=3) * 2
    assert pyramid.int().tolist() == [[2, 2, 2, 2, 2], [1, 1, 2, 2, 2], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]


# Gradients


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_checkpointing_changes_no_gradient_though_the_memory_is_written_before_backward(
    config: DiffusionTransformerConfig,
) -> None:
    """As self-forcing does: a graded exit, a context pass that overwrites, the next block, and backward at last."""

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = network(replace(config, checkpointing=checkpointing))
        whole = clip(7 + 2 * model.block)
        with torch.no_grad():
            state = model.prefill(part(whole, 7))
        sampler = ExitSampler(FewStepSamplerConfig(steps=2).build(), iter((1, 0)))
        actions = whole.actions[:, 6:].split(model.block, 1)
        drawn = torch.cat(list(rollout(model, sampler, state, actions, seeded(0, B))), 1)
        levels = torch.linspace(0.1, 0.9, whole.latents.shape[1]).expand(B, -1)
        loss = drawn.square().mean() + model(whole.latents, levels, whole.actions).mean()
        return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))

    for again, plain in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(again, plain, rtol=0, atol=0)


def test_checkpointing_computes_each_block_again() -> None:
    model, whole, calls = network(replace(BLOCKS, checkpointing=True)), clip(7), list[int]()
    model.blocks[1].mlp.register_forward_hook(lambda *_: calls.append(1))
    out = model(whole.latents, torch.rand(B, 7), whole.actions)
    assert len(calls) == 1
    out.sum().backward()
    assert len(calls) == 2
