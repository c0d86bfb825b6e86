"""Sequences that go on from step to step: with transformers and their caches, and with a U-Net and its last frames."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from test_self_forcing import TRANSFORMER, UNET, network
from torch import Tensor

from hallucade.actions import ActionSpace, Choice
from hallucade.data.clips import Clip
from hallucade.methods.distribution_matching import Scored, critic_loss, distribution_matching_loss
from hallucade.methods.streaming_long_tuning import StreamingLongTuning, StreamingLongTuningConfig
from hallucade.methods.streaming_schedule import StreamingPhase
from hallucade.methods.streaming_state import leaves
from hallucade.models.base import LatentClip
from hallucade.rollout import rollout
from hallucade.samplers.base import seeded
from hallucade.samplers.few_step import ExitSampler, FewStepSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer, PixelTokenizerConfig
from hallucade.training.checkpoint import CheckpointError, load_tensors

ACTIONS = ActionSpace(choices=(Choice(name="move", options=("stay", "up", "down")),))
SHAPE = (3, 8, 12)
B = 2
CONFIG = StreamingLongTuningConfig(prompt=2, student_every=2, chunk=5, overlap=2)
BLOCKS = replace(TRANSFORMER, layout="full", block=2, window=5, sink=1)


def method(config=CONFIG, model=TRANSFORMER, sampler=None, seed: int = 0, **changes) -> StreamingLongTuning:
    networks = {name: network(model, i) for i, name in enumerate(("model", "teacher", "critic"))}
    sampler = sampler or FewStepSamplerConfig(steps=3)
    tokenizer = changes.pop("tokenizer", None) or PixelTokenizerConfig().build()
    return replace(config, **changes).build(tokenizer, networks, sampler.build(), seed)


def batch(frames: int = 11, seed: int = 5, size: int = B) -> Clip:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size, frames, *SHAPE[1:], 3), generator=generator, dtype=torch.uint8)
    rows = torch.randint(0, 3, (size, frames - 1, 1), generator=generator)
    return Clip(pixels, ACTIONS.encode(rows.float()), seed)


@pytest.fixture(params=[TRANSFORMER, replace(TRANSFORMER, layout="full", sink=1), UNET], ids=["axial", "full", "u-net"])
def model(request):
    return request.param


def walked(taught: StreamingLongTuning, steps: int, frames: int = 11, first: int = 0) -> Iterator[Scored]:
    """Yield the windows that the first draws of so many steps are scored in."""
    for step in range(first, first + steps):
        clip = batch(frames, seed=step)
        with torch.no_grad():
            yield next(taught._draws(clip, step, torch.Generator().manual_seed(step)))


def position(taught: StreamingLongTuning) -> int:
    sequence = taught.state.of(0)
    assert sequence is not None
    return sequence.position


def run(taught: StreamingLongTuning, clip: Clip, step: int) -> dict[str, Tensor]:
    return dict(taught.losses(clip, step))


def test_a_sequence_goes_on_to_its_end_and_the_next_one_begins_with_the_new_batch(model) -> None:
    taught, places = method(model=model), []
    for step in range(5):
        assert list(run(taught, batch(seed=step), step)) == [["model", "critic"], ["critic"]][step % 2]
        places.append(position(taught))
        assert taught.frames_of(batch()) == B * 5  # of eleven, which the sequence has
    assert places == [3, 6, 9, 3, 6]
    assert taught.chunks_drawn == 5
    assert torch.equal(taught.state.of(0).actions, batch(seed=3).actions)


@pytest.mark.parametrize("kind", ["axial", "sink", "blocks", "u-net"])
def test_streamed_chunks_are_one_long_rollout(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights, exits and noise held, chunks of a sequence are what one loop over all of it draws."""
    model = {"axial": TRANSFORMER, "sink": replace(TRANSFORMER, sink=1), "blocks": BLOCKS, "u-net": UNET}[kind]
    taught = method(model=model, chunk=6, sampler=FewStepSamplerConfig(steps=2))
    frames = 2 + 22
    monkeypatch.setattr("hallucade.methods.self_forcing.seeded", lambda seed, count: seeded(11, count))
    noise = torch.Generator().manual_seed(3)
    drawn = torch.randn(200, B, model.block if kind == "blocks" else 1, *SHAPE, generator=noise)
    kept: list[Tensor] = []
    monkeypatch.setattr("hallucade.samplers.few_step.normal", lambda *_: (kept.append(drawn[len(kept)]), kept[-1])[1])
    monkeypatch.setattr(taught, "_exits", lambda blocks, step: [1] * blocks)
    clip = batch(frames)
    windows = [next(taught._draws(clip, step, torch.Generator())) for step in range(6)]  # with gradients
    assert position(taught) == 22
    streamed = torch.cat([window.latents[window.graded].unflatten(0, (B, -1)) for window in windows], 1)
    kept.clear()
    real = LatentClip(taught.tokenizer.encode(clip.frames), clip.actions)
    k = taught.model.block
    with torch.no_grad():
        state = taught.model.prefill(LatentClip(real.latents[:, :2], real.leading_to(1, 2)))
        actions = [real.leading_to(i, i + k) for i in range(2, frames, k)]
        whole = rollout(taught.model, ExitSampler(taught.sampler, iter([1] * 22)), state, actions, seeded(1, B))
        assert torch.allclose(streamed, torch.cat(list(whole), 1), atol=1e-6)


def test_windows_hold_the_overlap_the_chunk_and_their_actions(model) -> None:
    taught = method(model=model, chunk=6, overlap=3, prompt=4)
    frames, actions = batch(4 + 7, seed=0).frames, batch(4 + 7, seed=0).actions
    first, second, third = walked(taught, 3, 4 + 7)
    assert torch.equal(first.latents[:, :3], taught.tokenizer.encode(frames)[:, 1:4])
    assert torch.equal(second.latents[:, :3], first.latents[:, -3:])
    assert torch.equal(third.latents[:, :5], second.latents[:, 1:])  # one is left to draw: five overlap
    assert [window.graded[0].sum().item() for window in (first, second, third)] == [3, 3, 1]
    assert all(window.graded.shape == (B, 6) for window in (first, second, third))
    for window, begin in ((first, 1), (second, 4), (third, 5)):
        assert torch.equal(window.actions, actions[:, begin : begin + 5])


def test_no_gradient_reaches_the_overlap_and_its_values_reach_only_what_sees_it(model) -> None:
    taught = method(model=model, student_every=1)
    _ = list(walked(taught, 1))
    window = next(taught._draws(batch(seed=1), 1, torch.Generator().manual_seed(1)))
    assert window.graded[0].tolist() == [False] * 2 + [True] * 3
    x = window.latents.detach().requires_grad_()

    def loss(latents: Tensor) -> Tensor:
        clip, generator = Scored(latents, window.actions, window.graded), torch.Generator().manual_seed(2)
        return distribution_matching_loss(taught.teacher, taught.critic, clip, taught.config.matching, generator)

    slope = torch.autograd.grad(loss(x), x)[0]
    assert slope[:, :2].abs().max() == 0
    assert (slope[:, 2:].abs().amax((0, 2, 3, 4)) > 0).all()
    assert window.latents.grad_fn is not None
    critic = critic_loss(taught.critic, window, taught.config.matching, torch.Generator().manual_seed(2))
    assert torch.autograd.grad(critic, window.latents, allow_unused=True) == (None,)


def saved_bytes(taught: StreamingLongTuning, frames: int, step: int) -> int:
    """Return the bytes that a step keeps for its backward passes."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        _ = list(taught.losses(batch(frames, seed=step), step))
    return sum(kept.values())


def test_memory_of_a_step_does_not_depend_on_the_length_of_the_sequence(model) -> None:
    held: dict[int, int] = {}
    for horizon in (39, 117):
        taught = method(model=model, student_every=1, chunk=9, overlap=3)
        chunks = 1 + (horizon - 9) // 6
        for _ in walked(taught, chunks - 2, 2 + horizon):
            pass
        held[horizon] = max(saved_bytes(taught, 2 + horizon, step) for step in (chunks - 2, chunks - 1))
        assert position(taught) == horizon
    assert held[117] == pytest.approx(held[39], rel=0.05)


def test_phases_change_what_is_drawn_and_begin_new_sequences() -> None:
    taught = method(schedule="2:4,5:8")
    seen = [(tuple(window.latents.shape[1:2]), position(taught)) for window in walked(taught, 5)]
    assert seen == [((6,), 4), ((6,), 4), ((5,), 3), ((5,), 6), ((5,), 8)]  # at once, then chunk by chunk
    own = method(phases=(StreamingPhase(end=3), StreamingPhase(start=3, chunk=6, overlap=4)))
    assert [window.latents.shape[1] for window in walked(own, 5)] == [5, 5, 5, 8, 6]  # a short prompt is extra


def test_a_batch_of_another_size_or_length_begins_new_sequences() -> None:
    taught = method()
    run(taught, batch(), 1)
    run(taught, batch(size=3), 3)
    assert position(taught) == 3
    run(taught, batch(size=3), 5)
    assert position(taught) == 6
    run(taught, batch(14, size=3), 7)
    assert (position(taught), taught.state.of(0).horizon) == (3, 12)


def test_a_first_chunk_may_be_drawn_without_a_loss() -> None:
    taught = method(train_first_chunk=False, student_every=1)
    calls: list[bool] = []
    denoise = taught.model.denoise
    taught.model.denoise = lambda *given: (calls.append(torch.is_grad_enabled()), denoise(*given))[1]
    taught._exits = lambda blocks, step: [0] * blocks
    assert list(run(taught, batch(), 0)) == ["model", "critic"]
    assert calls == [False] * 3 + [True] * 3
    assert position(taught) == 6
    assert [position(taught) for _ in walked(taught, 2, first=1)] == [9, 6]


def test_a_sequence_of_one_chunk_trains_it() -> None:
    taught = method(train_first_chunk=False, schedule="9:4")
    assert [window.graded[0].sum().item() for window in walked(taught, 2)] == [4, 4]


def test_the_critic_s_own_draw_is_of_the_same_chunk_and_leaves_no_trace(model) -> None:
    ours, theirs = method(model=model, critic_fresh_rollout=True), method(model=model)
    for step in range(2):
        draws = ours._draws(batch(), step, torch.Generator().manual_seed(step))
        expected = next(theirs._draws(batch(), step, torch.Generator().manual_seed(step)))
        first, second = next(draws), next(draws)
        assert torch.equal(first.latents, expected.latents)
        assert torch.equal(first.latents[:, :2], second.latents[:, :2])
        assert not torch.equal(first.latents[:, 2:], second.latents[:, 2:])
        for (name, value), (_, other) in zip(leaves(ours.state.of(0)), leaves(theirs.state.of(0)), strict=True):
            assert torch.equal(value, other), name


def test_random_chunks_are_alike_for_every_batch_and_differ_between_steps() -> None:
    one, two = (method(chunk=7, overlap=2, min_new=1) for _ in range(2))
    lengths = [
        (position(one), position(two))
        for step in range(12)
        if [run(one, batch(32, seed=step), step), run(two, batch(32, seed=99 - step), step)]
    ]
    assert all(ours == theirs for ours, theirs in lengths)
    steps = [after - before for (before, _), (after, _) in pairwise(lengths)]
    assert len({step for step in steps if step > 0}) > 2


def test_random_turns_of_the_student_are_as_many_and_meet_every_chunk() -> None:
    with pytest.raises(ValueError, match="learn from 1 of 3 places only"):
        method(student_every=3).check_clips([(9, 11)])
    taught = method(student_every=3, student_turns="random", phases=(StreamingPhase(horizon=9),))
    learns = [taught._student_learns(step) for step in range(60)]
    assert all(sum(learns[i : i + 3]) == 1 for i in range(0, 60, 3))
    assert {i % 3 for i, is_turn in enumerate(learns) if is_turn} == {0, 1, 2}


class Coarse(PixelTokenizer):
    """Loses what is between five levels, so that decoding and encoding shows; counts what it decodes."""

    lossless = False

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode((latents * 2).round() / 2)


@pytest.mark.parametrize("anchor", [0, 1, 2])
def test_the_first_latents_of_an_overlap_are_encoded_anew(anchor: int) -> None:
    taught = method(tokenizer=Coarse(), anchor=anchor)
    first, second = walked(taught, 2)
    raw = first.latents[:, -2:]
    anew = taught.tokenizer.encode(taught.tokenizer.decode(raw))
    assert not torch.equal(raw, anew)
    assert torch.equal(second.latents[:, :anchor], anew[:, :anchor])
    assert torch.equal(second.latents[:, anchor:2], raw[:, anchor:])
    assert torch.equal(first.latents[:, :2], taught.tokenizer.encode(batch(seed=0).frames)[:, :2])  # the prompt is real
    assert torch.equal(taught.state.of(0).recent[:, :2], raw)  # what was drawn stays known as it was


class Paired(PixelTokenizer):
    """Two frames a latent, side by side in its channels."""

    stride = 2

    def encode(self, frames: Tensor) -> Tensor:
        return super().encode(frames).unflatten(1, (-1, 2)).flatten(2, 3)

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents.unflatten(2, (2, 3)).flatten(1, 2))


def test_latents_of_several_frames_keep_their_actions() -> None:
    built = replace(TRANSFORMER, stride=2).build(ACTIONS, (6, *SHAPE[1:]))
    networks = {"model": built, "teacher": copy.deepcopy(built), "critic": copy.deepcopy(built)}
    taught = CONFIG.build(Paired(), networks, FewStepSamplerConfig(steps=2).build(), 0)
    taught.check_clips([(9, 2 * (2 + 9))])
    real = LatentClip.encoded(Paired().encode(batch(22, seed=0).frames), batch(22, seed=0).actions, 2)
    windows = list(walked(taught, 3, 2 * (2 + 9)))
    assert position(taught) == 9
    assert torch.equal(windows[0].latents[:, :2], real.latents[:, :2])
    for number, window in enumerate(windows):
        assert window.latents.shape[1] == 5
        assert torch.equal(window.actions, real.leading_to(1 + 3 * number, 5 + 3 * number))


def test_latents_of_a_cache_stand_in_for_frames() -> None:
    clip = batch(seed=0)
    cached = replace(clip, frames=clip.frames[:, :, :0, :0], latents=PixelTokenizer().encode(clip.frames))
    ours, theirs = method(), method()
    assert run(ours, clip, 0) == run(theirs, cached, 0)
    assert torch.equal(ours.state.of(0).recent, theirs.state.of(0).recent)


@pytest.mark.parametrize("context", ["clean", "noised"])
def test_the_picture_that_a_window_is_conditioned_on_is_its_own_first_one(context: str) -> None:
    conditioned = replace(TRANSFORMER, image_condition="first_frame")
    matching = replace(CONFIG.matching, context=context, guidance=2.0)
    taught = method(model=conditioned, tokenizer=Coarse(), matching=matching, student_every=1)
    pictures: list[Tensor] = []
    for judge in (taught.teacher, taught.critic):
        picture = judge._picture
        judge._picture = lambda image, given, picture=picture: (pictures.append(image), picture(image, given))[1]
    for step in range(2):
        run(taught, batch(), step)
    raw = taught.state.of(0).recent[:, :1]
    assert len(pictures) == 8  # teacher with and without actions, and critic twice, in either step
    real = taught.tokenizer.encode(batch().frames[:, :1])
    assert all(torch.equal(picture, real) for picture in pictures[:4])
    anchor = taught.tokenizer.encode(taught.tokenizer.decode(raw))
    assert all(torch.equal(picture, anchor) for picture in pictures[4:])


@pytest.mark.parametrize("kind", ["picture", "sink", "u-net"])
def test_a_memory_that_is_begun_anew_is_that_of_the_last_latents(kind: str) -> None:
    pictured = replace(TRANSFORMER, image_condition="every_frame")
    model = {"picture": pictured, "sink": replace(TRANSFORMER, layout="full", sink=1), "u-net": UNET}[kind]
    taught = method(model=model, recache_every=6)
    windows = list(walked(taught, 2))
    sequence, count = taught.state.of(0), taught.model.context
    assert sequence.read == 0
    anew = taught._recached(sequence)
    assert anew.read == 6
    last = windows[-1].latents[:, -count:]
    with torch.no_grad():
        fresh = taught.model.prefill(LatentClip(last, sequence.actions[:, 8 - count : 7]))
    pairs = list(zip(leaves(anew.memory), leaves(fresh), strict=True))
    assert all(torch.equal(ours, theirs) for (_, ours), (_, theirs) in pairs)
    if kind != "u-net":
        assert any(
            (ours != old).any()
            for (_, ours), (_, old) in zip(leaves(anew.memory), leaves(sequence.memory), strict=True)
        )
        assert all(cache.tokens.keys[..., 0, :].abs().max() > 0 for cache in anew.memory.caches)
    assert [position(taught) for _ in walked(taught, 1, first=2)] == [9]
    assert taught.state.of(0).read == 6


def test_sequences_travel_with_the_state_and_go_on_to_the_same_bits(model) -> None:
    whole, halves = method(model=model), method(model=model)
    for step in range(2):
        run(whole, batch(seed=step), step)
    saved = {name: value.clone() for name, value in whole.state_dict().items()}
    assert any(name.startswith("state.0.memory.") for name in saved)
    run(halves, batch(14, size=3, seed=9), 0)  # another sequence, which must not stay
    load_tensors(halves, saved, "here")
    assert run(halves, batch(seed=2), 2) == run(whole, batch(seed=2), 2)
    for name, value in whole.state_dict().items():
        assert torch.equal(halves.state_dict()[name], value), name


def test_nothing_saved_is_a_fresh_start_and_damage_changes_nothing() -> None:
    taught = method()
    before = {name: value.clone() for name, value in taught.state_dict().items()}
    run(taught, batch(), 0)
    with pytest.raises(CheckpointError, match="missing chunks_drawn"):
        load_tensors(taught, {n: v for n, v in taught.state_dict().items() if n != "chunks_drawn"}, "here")
    assert position(taught) == 3
    load_tensors(taught, before, "here")
    assert taught.state.of(0) is None


def test_microbatches_have_sequences_of_their_own() -> None:
    taught = method()
    for step in (1, 3):
        streams = [taught.losses(part, step) for part in batch(size=4, seed=step).split(2)]
        assert [next(stream)[0] for stream in streams] == ["critic", "critic"]
    one, two = (taught.state.of(part) for part in (0, 1))
    assert (one.position, two.position) == (6, 6)
    assert torch.equal(torch.cat([one.actions, two.actions]), batch(size=4, seed=1).actions)


def test_gradients_survive_autocast_and_memories_stay_without(model) -> None:
    taught = method(model=model, student_every=1)
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            _, loss = next(taught.losses(batch(), step))
        loss.backward()
    silent = [name for name, p in taught.model.named_parameters() if p.ndim > 1 and p.grad is None]
    assert not silent
    assert not any(value.requires_grad for _, value in leaves(taught.state.of(0)))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: replace(CONFIG, schedule="9:4", phases=(StreamingPhase(),)), "leave one of them out"),
        (lambda: replace(CONFIG, overlap=5), "overlap is 5 of a chunk of 5 latents; use 0 to 4"),
        (lambda: replace(CONFIG, chunk=0), "chunk is 0"),
        (lambda: replace(CONFIG, anchor=-1), "anchor is -1"),
        (lambda: replace(CONFIG, recache_every=0), "recache_every is 0"),
        (lambda: replace(CONFIG, phases=(StreamingPhase(start=1),)), "starts at step 1 where 0 is due"),
        (lambda: replace(CONFIG, schedule="3:4,6:2:9"), "phase starts at step 6 where 3 is due"),
        (lambda: method(anchor=3), "anchor is 3 of an overlap of 2"),
        (lambda: replace(CONFIG, first_graded=1), "first_graded is 1; all blocks of a chunk are graded"),
        (lambda: method(model=UNET, overlap=1), "overlap is 1 latents and teacher or critic look back over 2"),
        (lambda: method(model=BLOCKS), "chunk - overlap is 3 latents and the student draws 2 at once; use 2 or 4"),
        (lambda: method(schedule="9:3,20:12"), "takes 4 steps, so that it would learn from 2 of 4 places only"),
        (lambda: method().check_clips([(5, 11), (5, 14)]), "sequence of 12 latents takes 4 steps"),
        (lambda: method(schedule="5:4,9:15").check_clips([(9, 11)]), "use stages with clips of 17 latents or more"),
        (lambda: run(method(schedule="9:15"), batch(), 0), "clips of 11 latents for a prompt of 2 and a horizon of 15"),
    ],
)
def test_what_cannot_work_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_clips_need_only_be_as_long_as_the_phases_that_meet_them() -> None:
    method(schedule="5:4,9:15").check_clips([(5, 6), (4, 17)])
    with pytest.raises(ValueError, match="clips of 6 latents"):
        method(schedule="5:4,9:15").check_clips([(6, 6), (3, 17)])


def test_configs_travel_as_json() -> None:
    config = replace(CONFIG, phases=(StreamingPhase(end=4, streaming=False), StreamingPhase(start=4, horizon=9)))
    assert StreamingLongTuningConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match=r"unknown field\(s\) streaming_chunk_size"):
        StreamingLongTuningConfig.from_json({**config.to_json(), "streaming_chunk_size": 9})
