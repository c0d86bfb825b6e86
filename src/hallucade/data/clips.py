"""Clips: batches of windows cut from a store."""

from dataclasses import dataclass

from hallucade.shapes import Actions, Frames


@dataclass(frozen=True)
class Clip:
    """A batch of windows: t frames joined by t - 1 encoded actions.

    `seed` is a pure function of (seed, step, rank): every random draw made for this batch starts from it, so that
    resume is exact without saving a generator.
    """

    frames: Frames
    actions: Actions
    seed: int = 0
