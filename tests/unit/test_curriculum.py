"""Stages follow each other as a pure function of the step."""

import gc
import multiprocessing
import os
import threading
from contextlib import closing, suppress

import pytest
import torch
from dot_game import ACTIONS, write_store

from hallucade.data.clips import Clip, ClipWindows
from hallucade.data.framing import Framing
from hallucade.data.prefetch import prefetch
from hallucade.data.store import EpisodeStore
from hallucade.training.curriculum import Stage, StagedClips


class NamedClips:
    """Hands out clips that say where they come from."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.asked = stage, []

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        self.asked.append((step, rank, world))
        return Clip(
            torch.zeros(self.stage.batch, self.stage.frames, 6, 10, 3, dtype=torch.uint8),
            torch.zeros(self.stage.batch, self.stage.frames - 1, 4),
            seed=step,
        )


def staged(*shapes: tuple[int, int, int]) -> tuple[StagedClips, list[NamedClips]]:
    stages = [Stage(steps=steps, frames=frames, batch=batch) for steps, frames, batch in shapes]
    sources = [NamedClips(stage) for stage in stages]
    return StagedClips(stages, sources), sources


def test_each_step_comes_from_its_stage_and_the_last_stage_goes_on():
    clips, _ = staged((3, 5, 7), (1, 9, 4), (2, 11, 2))
    assert [clips.number_at(step) for step in range(9)] == [0, 0, 0, 1, 2, 2, 2, 2, 2]
    shapes = [tuple(clips.batch_at(step).frames.shape[:2]) for step in range(7)]
    assert shapes == [(7, 5)] * 3 + [(4, 9)] + [(2, 11)] * 3


def test_a_stage_is_asked_for_the_step_of_the_run_and_for_one_rank():
    clips, sources = staged((3, 5, 4), (3, 9, 4))
    assert clips.batch_at(4, 1, 2).seed == 4
    assert (sources[0].asked, sources[1].asked) == ([], [(4, 1, 2)])


def test_the_order_of_asking_changes_nothing(tmp_path):
    write_store(tmp_path / "store", [20, 23, 31])
    store = EpisodeStore(tmp_path / "store")
    stages = (Stage(steps=3, frames=4, batch=6), Stage(steps=4, frames=9, batch=2))

    def batches(order):
        clips = StagedClips(stages, [ClipWindows(store, ACTIONS, frames=s.frames, batch=s.batch) for s in stages])
        return {step: clips.batch_at(step) for step in order}

    forward, backward = batches(range(7)), batches(reversed(range(7)))
    for step, clip in forward.items():
        assert torch.equal(clip.frames, backward[step].frames)
        assert clip.seed == backward[step].seed
    assert len({clip.seed for clip in forward.values()}) == 7


def held():
    """Return what a loader could leave behind: open files, threads, processes."""
    files = 0
    for descriptor in range(512):
        with suppress(OSError):
            os.fstat(descriptor)
            files += 1
    return files, threading.active_count(), len(multiprocessing.active_children())


def test_r3_every_batch_is_that_of_the_schedule_and_twenty_loaders_leave_nothing_behind(tmp_path):
    write_store(tmp_path / "store", [20, 23, 31])
    stages = [
        Stage(size=(3 + i % 2, 5), frames=2 + i % 3, batch=1 + i % 4, steps=1 + i % 2, fps=15 / (1 + i % 3))
        for i in range(20)
    ]

    def loader():
        store = EpisodeStore(tmp_path / "store")
        sources = [
            ClipWindows(store, ACTIONS, frames=s.frames, batch=s.batch, framing=Framing.of(store, s.size, s.fps))
            for s in stages
        ]
        return StagedClips(stages, sources)

    gc.collect()  # what tests before this one left open
    before = held()
    clips, wanted = loader(), [stage for stage in stages for _ in range(stage.steps)]
    with closing(prefetch(clips)) as batches:
        shapes = [tuple(next(batches).frames.shape[:4]) for _ in wanted]
    assert shapes == [(stage.batch, stage.frames, *stage.size) for stage in wanted]
    for step in range(20):
        with closing(prefetch(loader(), step)) as batches:
            assert len(next(batches).frames) == wanted[step].batch
    del clips, batches  # a store that is read keeps its files open
    gc.collect()
    assert held() == before


@pytest.mark.parametrize(
    ("shapes", "steps"),
    [
        ([(5, 9, 64)], (0,)),
        ([(3, 9, 64), (4, 16, 32), (5, 30, 8)], (0, 3, 7)),  # 576, 512, 240 frames a batch, and longer clips
        ([(3, 9, 16), (4, 16, 32), (5, 30, 8)], (3, 7)),  # 144, 512, 240
        ([(3, 9, 16), (4, 16, 32), (5, 16, 32)], (3,)),  # of equals, the first
    ],
)
def test_r5_the_stages_that_may_be_largest_are_tried_the_one_with_most_frames_first(shapes, steps):
    clips, _ = staged(*shapes)
    assert clips.largest_steps() == steps
    frames = clips.batch_at(steps[0]).frames
    assert len(frames) * frames.shape[1] == max(count * batch for _, count, batch in shapes)


def test_r5_larger_pictures_may_need_most_memory():
    shapes = [((6, 10), 9), (None, 2), ((3, 5), 9)]
    stages = [Stage(size=size, steps=2, frames=4, batch=batch) for size, batch in shapes]
    clips = StagedClips(stages, [NamedClips(stage) for stage in stages], size=(12, 20))
    assert clips.largest_steps() == (0, 2)  # 2,160, 1,920 and 540 pixels; attention has the square of a picture's


def test_stages_and_sources_must_match():
    stage = Stage(steps=1, frames=2, batch=1)
    with pytest.raises(ValueError, match="2 stages and 1 clip sources; give one source a stage"):
        StagedClips([stage, stage], [NamedClips(stage)])
    with pytest.raises(ValueError, match="0 stages and 0 clip sources"):
        StagedClips([], [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "stage steps is 0; use 1 or more"),
        ({"frames": 1}, "stage frames is 1; use 2"),
        ({"batch": -3}, "stage batch is -3; use 0"),
        ({"batch": 0}, "batch 0 and tokens 0; give one of them"),
        ({"tokens": 64}, "batch 1 and tokens 64; give one of them"),
        ({"lr": 0.0}, "stage lr is 0.0; it must be positive"),
        ({"fps": -1.0}, "stage fps is -1.0; it must be positive"),
        ({"size": (0, 8)}, r"size is \(0, 8\); give a height and width of 1 to"),
    ],
)
def test_impossible_stages_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Stage(**({"steps": 1, "frames": 2, "batch": 1} | wrong))
