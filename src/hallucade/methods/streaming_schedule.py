"""Which stretch of a long sequence a streamed student draws next, and how long sequences are at which step.

A sequence of many latents is drawn chunk by chunk, one a training step. A chunk is scored together with the last
latents before it, its overlap. Nothing here touches a tensor: phases and chunks are pure functions of numbers.

Source: Yang et al. 2025, LongLive, arXiv:2509.22622, section 3.2.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hallucade.config import Config

SCHEDULE_FORM = "write end:horizon or start:end:horizon, in steps and latents, as in '700:21,3000:240'"


@dataclass(frozen=True, kw_only=True)
class StreamingPhase(Config):
    """Some steps of training on sequences of one horizon; numbers that are None are the method's."""

    start: int = 0  # its first step
    end: int | None = None  # the step after its last; None for the last phase, which is open
    horizon: int | None = None  # latents of a sequence after its prompt; None is as many as the clips hold
    streaming: bool = True  # False draws and scores the whole horizon at once
    chunk: int | None = None
    overlap: int | None = None
    min_new: int | None = None

    def __post_init__(self) -> None:
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon}; a sequence has 1 latent or more after its prompt")
        if not self.streaming and (self.chunk, self.overlap, self.min_new) != (None, None, None):
            raise ValueError(
                f"the phase from step {self.start} draws its horizon at once and has a chunk, an overlap or a min_new, "
                "which nothing would read; leave them out, or set streaming"
            )


def parse_schedule(text: str) -> tuple[StreamingPhase, ...]:
    """Read phases from "end:horizon" or "start:end:horizon", joined by commas; "start::horizon" is open.

    The first phase draws its whole horizon at once, later ones stream. No text is one open phase of streaming.

    Raises:
        ValueError: the text has another form, or its phases leave gaps or overlap.
    """
    if not text.strip():
        return (StreamingPhase(),)
    phases: list[StreamingPhase] = []
    for part in text.split(","):
        fields = part.strip().split(":")
        if len(fields) == 2:
            fields = [str(phases[-1].end or 0) if phases else "0", *fields]
        if len(fields) != 3 or not all(f.isdecimal() for f in (fields[0], fields[1] or "0", fields[2])):
            raise ValueError(f"phase {part.strip()!r} of schedule {text!r} cannot be read; {SCHEDULE_FORM}")
        start, end, horizon = fields
        phases.append(
            StreamingPhase(
                start=int(start), end=int(end) if end else None, horizon=int(horizon), streaming=bool(phases)
            )
        )
    check_phases(phases)
    return tuple(phases)


def check_phases(phases: Sequence[StreamingPhase]) -> None:
    """Refuse phases that do not follow each other from step 0.

    Raises:
        ValueError: names the phase and the step.
    """
    expected: int | None = 0
    for phase in phases:
        if expected is None:
            raise ValueError(f"a phase starts at step {phase.start} after an open one; give the open one an end")
        if phase.start != expected:
            kind = "a gap" if phase.start > expected else "an overlap"
            raise ValueError(
                f"a phase starts at step {phase.start} where {expected} is due: {kind}; start each phase where the "
                "one before ends, and the first at 0"
            )
        if phase.end is not None and phase.end <= phase.start:
            raise ValueError(f"a phase goes from step {phase.start} to {phase.end}; end it later than it starts")
        expected = phase.end


def phase_at(phases: Sequence[StreamingPhase], step: int) -> int:
    """Return the number of the phase that holds `step`, counted from 0; past the last one, the last one goes on."""
    ended = (number for number, phase in enumerate(phases) if phase.end is None or step < phase.end)
    return next(ended, len(phases) - 1)


def rescaled(phases: Sequence[StreamingPhase], steps: int, planned: int) -> tuple[StreamingPhase, ...]:
    """Return phases whose steps are the same shares of `steps` as theirs of `planned`.

    Those left without a step go, but for the last.
    """
    ends = [None if phase.end is None else round(phase.end * steps / planned) for phase in phases]
    starts = [0, *ends[:-1]]
    spans = zip(phases, starts, ends, strict=True)
    kept = tuple(replace(phase, start=a or 0, end=b) for phase, a, b in spans if b is None or b > (a or 0))
    return kept or (replace(phases[-1], start=0, end=1),)


@dataclass(frozen=True)
class Chunk:
    """Latents that one step draws; they are counted from the end of the prompt."""

    start: int
    end: int
    overlap: int  # latents before `start` that are scored again beside them, as given

    @property
    def new(self) -> int:
        """Latents drawn."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class ChunkWalk:
    """How one sequence is cut into chunks.

    Every window that is scored has `chunk` latents: where fewer are new, as at the end, more overlap. A prompt of
    `overlap` latents or more stands in for the first overlap; a shorter one is put before a first chunk that is all
    new.

    Raises:
        ValueError: no whole blocks fit, or the overlap leaves nothing new.
    """

    horizon: int  # latents of the sequence after its prompt
    chunk: int  # latents that are scored together
    overlap: int  # of these, at least so many were drawn before
    min_new: int | None = None  # fewest new ones, where their number is random; None always draws as many as fit
    prompt: int = 0  # latents that are known at the start
    block: int = 1  # latents that the student draws at once

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.horizon < 1:
            raise ValueError(f"chunk is {self.chunk} and horizon is {self.horizon}; use 1 or more of each")
        if not 0 <= self.overlap < self.chunk:
            raise ValueError(f"overlap is {self.overlap} of a chunk of {self.chunk} latents; use 0 to {self.chunk - 1}")
        most = self.chunk - self.overlap
        if self.min_new is not None and not 1 <= self.min_new <= most:
            raise ValueError(f"min_new is {self.min_new}; a chunk of {self.chunk} draws 1 to {most} new latents")
        first = most if self.prompt >= self.overlap else self.chunk
        for name, latents in (("horizon", self.horizon), ("chunk - overlap", most), ("the first chunk", first)):
            self._check_blocks(name, latents)
        if self.min_new is not None:
            self._check_blocks("min_new", self.min_new)

    def _check_blocks(self, name: str, latents: int) -> None:
        k = self.block
        if latents % k:
            near = [n for n in (latents // k * k, -(-latents // k) * k) if n > 0]
            raise ValueError(
                f"{name} is {latents} latents and the student draws {k} at once; use {' or '.join(map(str, near))}"
            )

    def lengths(self, position: int) -> range:
        """Return how many new latents the chunk at `position` may have: one number, or several to draw from."""
        remaining = self.horizon - position
        whole = self.chunk if position == 0 and self.prompt < self.overlap else self.chunk - self.overlap
        most = min(whole, remaining)
        least = most if self.min_new is None or position == 0 else min(self.min_new, most)
        return range(least, most + 1, self.block)

    def at(self, position: int, new: int) -> Chunk:
        """Return the chunk of so many new latents that starts at `position`."""
        overlap = min(max(self.chunk - new, self.overlap), self.prompt + position)
        return Chunk(position, position + new, overlap)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks of a sequence, each as long as it may be."""
        position = 0
        while position < self.horizon:
            chunk = self.at(position, self.lengths(position)[-1])
            yield chunk
            position = chunk.end

    @property
    def is_random(self) -> bool:
        """Whether sequences differ in their chunks."""
        lengths = (self.lengths(chunk.start) for chunk in self.chunks())
        return any(len(allowed) > 1 for allowed in lengths)


def check_phase_lock(student_every: int, walk: ChunkWalk, untrained: int = 0) -> None:
    """Refuse an interval of the student that shares a factor with the chunks of a sequence.

    The student would then learn from the same few places of every sequence, and never from the others.

    Args:
        student_every: steps from one update of the student to the next.
        walk: of the sequences.
        untrained: chunks of each that no step is spent on.

    Raises:
        ValueError: names both numbers and the nearest that work.
    """
    if walk.is_random:
        return
    count = max(sum(1 for _ in walk.chunks()) - untrained, 1)
    if math.gcd(student_every, count) == 1:
        return
    more = next(n for n in range(count + 1, 2 * count + 2) if math.gcd(student_every, n) == 1)
    longer = walk.horizon + (more - count) * (walk.chunk - walk.overlap)
    raise ValueError(
        f"the student learns at one of {student_every} steps and a sequence of {walk.horizon} latents takes {count} "
        f"steps, so that it would learn from {count // math.gcd(student_every, count)} of {count} places only; use a "
        f"horizon of {longer}, another student_every, or student_turns='random'"
    )
