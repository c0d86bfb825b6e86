"""Clips that grow longer as training goes on, as a pure function of the step."""

from collections.abc import Sequence
from dataclasses import dataclass

from hallucade.config import Config
from hallucade.data.clips import Clip, ClipSource


@dataclass(frozen=True, kw_only=True)
class Stage(Config):
    """Some steps of training on clips of one shape."""

    steps: int
    frames: int  # in a clip
    batch: int  # clips in a step, over all ranks

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("frames", 2), ("batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"stage {name} is {getattr(self, name)}; use {least} or more")


class StagedClips:
    """Hands each step to the clip source of its stage; past the last stage, the last one goes on.

    Args:
        stages: in order; their steps add up from 0.
        sources: one a stage.
    """

    def __init__(self, stages: Sequence[Stage], sources: Sequence[ClipSource]) -> None:
        if not stages or len(stages) != len(sources):
            raise ValueError(f"{len(stages)} stages and {len(sources)} clip sources; give one source a stage")
        self._stages, self._sources = tuple(stages), tuple(sources)

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's share of the global batch of `step`."""
        return self._sources[self.stage_at(step)].batch_at(step, rank, world)

    def stage_at(self, step: int) -> int:
        """Return the index of the stage that holds `step`."""
        for index, stage in enumerate(self._stages):
            if step < stage.steps:
                return index
            step -= stage.steps
        return len(self._stages) - 1

    def preflight_step(self) -> int:
        """Return a step of the stage that needs most memory: the most frames in a batch."""
        sizes = [stage.frames * stage.batch for stage in self._stages]
        return sum(stage.steps for stage in self._stages[: sizes.index(max(sizes))])
