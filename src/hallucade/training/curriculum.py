"""Stages: what clips look like as training goes on, as a pure function of the step.

Small pictures first, then large ones, then long clips: most of what a game does is learned where a step is cheap. There
is no loader to be exchanged: every stage's clips are there from the start, and a step asks those of its stage.

Source of growing pictures and clips under position interpolation: Assran et al. 2025 (V-JEPA 2), arXiv:2506.09985.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from hallucade.config import Config
from hallucade.data.clips import Clip, ClipSource
from hallucade.data.framing import check_size

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True, kw_only=True)
class Stage(Config):
    """Some steps of training on clips of one shape.

    Raises:
        ValueError: a number that no clip or training can have, or not one of `batch` and `tokens`.
    """

    size: Size | None = None  # height, width that pictures are scaled to, in pixels; None: the recording's
    frames: int  # in a clip
    fps: float | None = None  # frames a second, a whole part of the recording's; None: all of its frames
    steps: int
    batch: int = 0  # clips in a step, over all ranks; 0: as many as `tokens` hold
    tokens: int = 0  # of the network in a step, over all ranks; 0: `batch` says how many clips
    lr: float | None = None  # learning rate; all rates are scaled as this one is to the optimizer's; None: unscaled
    init_from: str | None = None  # run whose weights the model goes on from; None: from its own

    def __post_init__(self) -> None:
        check_size(self.size)
        for name, least in (("steps", 1), ("frames", 2), ("batch", 0), ("tokens", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"stage {name} is {getattr(self, name)}; use {least} or more")
        if (self.batch > 0) == (self.tokens > 0):
            raise ValueError(
                f"a stage has batch {self.batch} and tokens {self.tokens}; give one of them: clips in a step, or how "
                "many tokens they may add up to"
            )
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ValueError(f"stage lr is {self.lr}; it must be positive")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"stage fps is {self.fps}; it must be positive")

    def describe(self) -> str:
        """Return one short line: ``9 frames of 32x40 at 15 fps, batch 64``."""
        size = "" if self.size is None else f" of {self.size[0]}x{self.size[1]}"
        rate = "" if self.fps is None else f" at {self.fps:g} fps"
        clips = f"batch {self.batch}" if self.batch else f"{self.tokens:,} tokens"
        return f"{self.frames} frames{size}{rate}, {clips}"


class StagedClips:
    """Hands each step to the clip source of its stage; past the last stage, the last one goes on.

    Args:
        stages: in order; their steps add up from 0.
        sources: one a stage.
        size: of the pictures of stages that name none.
    """

    def __init__(self, stages: Sequence[Stage], sources: Sequence[ClipSource], size: Size = (1, 1)) -> None:
        if not stages or len(stages) != len(sources):
            raise ValueError(f"{len(stages)} stages and {len(sources)} clip sources; give one source a stage")
        self._stages, self._sources, self._size = tuple(stages), tuple(sources), size

    def __len__(self) -> int:
        return len(self._stages)

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        """Return this rank's share of the global batch of `step`."""
        return self._sources[self.number_at(step)].batch_at(step, rank, world)

    def number_at(self, step: int) -> int:
        """Return the number of the stage that holds `step`."""
        for index, stage in enumerate(self._stages):
            if step < stage.steps:
                return index
            step -= stage.steps
        return len(self._stages) - 1

    def stage_at(self, step: int) -> Stage:
        """Return the stage that holds `step`."""
        return self._stages[self.number_at(step)]

    def named(self, step: int, error: ValueError) -> ValueError:
        """Return an error that says in which stage it was met."""
        return named(self.number_at(step), self.stage_at(step), error)

    def largest_steps(self) -> tuple[int, ...]:
        """Return the first steps of the stages that may need most memory, the likeliest one first."""
        firsts = first_steps(self._stages)
        return tuple(firsts[number] for number in largest_stages(self._stages, self._size))


def stage_share(clips: ClipSource, step: int, learning_rate: float) -> float:
    """Return what the stage of a step makes of all learning rates; `learning_rate` is the optimizer's."""
    rate = clips.stage_at(step).lr if isinstance(clips, StagedClips) else None
    return 1.0 if rate is None else rate / learning_rate


def stage_number(clips: ClipSource, step: int) -> int:
    """Return the number of a step's stage."""
    return clips.number_at(step) if isinstance(clips, StagedClips) else 0


def stage_row(clips: ClipSource, step: int) -> dict[str, float]:
    """Return the number of a step's stage for the log, where there are several."""
    if not isinstance(clips, StagedClips) or len(clips) == 1:
        return {}
    return {"stage": float(clips.number_at(step))}


def named(number: int, stage: Stage, error: ValueError) -> ValueError:
    """Return an error that says in which stage it was met, by the number that options call it by."""
    return ValueError(f"stages.{number} ({stage.describe()}): {error}")


def first_steps(stages: Sequence[Stage]) -> list[int]:
    """Return the first step of each stage."""
    return [0, *accumulate(stage.steps for stage in stages[:-1])]


def largest_stages(stages: Sequence[Stage], size: Size) -> list[int]:
    """Return the numbers of the stages that may need most memory, those with most pixels in a batch first.

    Attention takes the square of a clip's length or of a picture's pixels, so that a stage with fewer pixels in all may
    need more. Left out is who has no more pixels in a batch, frames in a clip and pixels in a frame than another one.

    Args:
        stages: of known batch.
        size: height, width of the pictures of stages that name none.
    """
    areas = [math.prod(stage.size or size) for stage in stages]
    shapes = [(s.frames * s.batch * area, s.frames, area) for s, area in zip(stages, areas, strict=True)]

    def surpassed(i: int) -> bool:
        rivals = (shape for j, shape in enumerate(shapes) if shape != shapes[i] or j < i)
        return any(all(a >= b for a, b in zip(rival, shapes[i], strict=True)) for rival in rivals)

    return sorted((i for i in range(len(stages)) if not surpassed(i)), key=lambda i: shapes[i], reverse=True)
