"""Stages follow each other as a pure function of the step."""

import pytest
import torch
from dot_game import ACTIONS, write_store

from hallucade.data.clips import Clip, ClipWindows
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
    assert [clips.stage_at(step) for step in range(9)] == [0, 0, 0, 1, 2, 2, 2, 2, 2]
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


@pytest.mark.parametrize(
    ("shapes", "step"),
    [
        ([(5, 9, 64)], 0),
        ([(3, 9, 64), (4, 16, 32), (5, 30, 8)], 0),  # 576, 512, 240 frames a batch
        ([(3, 9, 16), (4, 16, 32), (5, 30, 8)], 3),  # 144, 512, 240
        ([(3, 9, 16), (4, 16, 8), (5, 30, 8)], 7),  # 144, 128, 240
    ],
)
def test_the_preflight_step_lies_in_the_stage_with_most_frames_a_batch(shapes, step):
    clips, _ = staged(*shapes)
    assert clips.preflight_step() == step
    frames = clips.batch_at(step).frames
    assert len(frames) * frames.shape[1] == max(count * batch for _, count, batch in shapes)


def test_stages_and_sources_must_match():
    stage = Stage(steps=1, frames=2, batch=1)
    with pytest.raises(ValueError, match="2 stages and 1 clip sources; give one source a stage"):
        StagedClips([stage, stage], [NamedClips(stage)])
    with pytest.raises(ValueError, match="0 stages and 0 clip sources"):
        StagedClips([], [])


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("frames", 1), ("batch", -3)])
def test_impossible_stages_are_refused(name, value):
    with pytest.raises(ValueError, match=f"stage {name} is {value}; use"):
        Stage(**({"steps": 1, "frames": 2, "batch": 1} | {name: value}))
