"""Streaming long tuning: self-forcing on sequences far longer than any clip that a teacher could grade at once.

A sequence goes on from step to step. Each step draws its next chunk after the student's own memory; teacher and critic
grade a window of the last latents before it and the chunk, and only the chunk is moved. Memory and time of a step do
not depend on how long the sequence is, and the student learns in states that only a long game reaches.

The weights change under a sequence, and what is remembered of earlier chunks is not read again: it is as old as the
updates since.

Source: Yang et al. 2025, LongLive, arXiv:2509.22622, section 3.2; Huang et al. 2025, self-forcing, arXiv:2506.08009.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from hallucade.data.clips import Clip
from hallucade.methods.base import diffusion_roles
from hallucade.methods.distribution_matching import Scored
from hallucade.methods.self_forcing import SelfForcing, SelfForcingConfig
from hallucade.methods.streaming_schedule import (
    ChunkWalk,
    StreamingPhase,
    check_phase_lock,
    check_phases,
    parse_schedule,
    phase_at,
    rescaled,
)
from hallucade.methods.streaming_state import StreamedSequence, StreamingState
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Sampler
from hallucade.samplers.few_step import FewStepSampler, few_steps
from hallucade.shapes import Actions, Latents
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class StreamingLongTuningConfig(SelfForcingConfig):
    """How long sequences are, how they are cut into chunks, and which chunks the student learns from.

    Without phases there is one, whose sequences are as long as the stages' clips allow. With `recache_every` a student
    reads its last latents again, as many as it looks back over, as if its game had begun there: with its present
    weights, and with the first of them for an image condition and for sinks.
    """

    schedule: str = ""  # phases as text, "700:21,3000:240": to step 700 at once, then to 3000 streaming
    phases: tuple[StreamingPhase, ...] = ()  # or one by one
    chunk: int = 16  # latents that are scored together, of phases that do not say; the overlap is among them
    overlap: int = 8  # latents of a chunk that were drawn before, or more where fewer are left to draw
    min_new: int | None = None  # fewest new latents of a chunk, if their number is to be random
    anchor: int = 1  # first latents of an overlap decoded and encoded again; no lossless tokenizer needs it
    recache_every: int | None = None  # latents after which the memory is begun anew, from the last of them
    train_first_chunk: bool = True  # False draws a sequence's first chunk without a loss, and goes on to the next
    student_turns: Literal["regular", "random"] = "regular"  # of every `student_every` steps the first, or any one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule and self.phases:
            raise ValueError(f"schedule is {self.schedule!r}, and phases are given too; leave one of them out")
        if self.first_graded:
            raise ValueError(
                f"first_graded is {self.first_graded}; all blocks of a chunk are graded: leave it at 0, and turn "
                "train_first_chunk off to start further from the prompt"
            )
        if self.anchor < 0:
            raise ValueError(f"anchor is {self.anchor}; use 0 to score overlaps as they were drawn, or more")
        if self.recache_every is not None and self.recache_every < 1:
            raise ValueError(f"recache_every is {self.recache_every} latents; use 1 or more, or None for never")
        for number in range(len(self.all_phases())):
            self.walk(number, self.all_phases()[number].horizon or self.chunk, block=1)

    def all_phases(self) -> tuple[StreamingPhase, ...]:
        """Return the phases, however they are given.

        Raises:
            ValueError: they cannot be read, or do not follow each other.
        """
        check_phases(self.phases)
        return self.phases or parse_schedule(self.schedule)

    def lasting(self, steps: int, planned: int) -> "StreamingLongTuningConfig":
        return replace(self, schedule="", phases=rescaled(self.all_phases(), steps, planned))

    def walk(self, number: int, horizon: int, block: int) -> ChunkWalk:
        """Return how sequences of a phase, of so many latents, are cut into chunks of whole blocks.

        Raises:
            ValueError: they cannot be cut so.
        """
        phase = self.all_phases()[number]
        if not phase.streaming:
            whole = self.prompt + horizon
            return ChunkWalk(horizon=horizon, chunk=whole, overlap=self.prompt, prompt=self.prompt, block=block)
        return ChunkWalk(
            horizon=horizon,
            chunk=self.chunk if phase.chunk is None else phase.chunk,
            overlap=self.overlap if phase.overlap is None else phase.overlap,
            min_new=self.min_new if phase.min_new is None else phase.min_new,
            prompt=self.prompt,
            block=block,
        )

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> "StreamingLongTuning":
        """Build the method.

        Raises:
            ValueError: as for self-forcing; or a chunk is no whole number of the student's blocks, an overlap is
                shorter than what teacher or critic look back over, or the student would learn from some places only.
        """
        return StreamingLongTuning(self, tokenizer, diffusion_roles(networks), few_steps(sampler), seed)


class StreamingLongTuning(SelfForcing):
    """Roles "model", the student, and "critic"; the teacher is frozen. Sequences in progress are part of its state."""

    chunks_drawn: Int64[Tensor, ""]  # since the training began

    def __init__(
        self,
        config: StreamingLongTuningConfig,
        tokenizer: Tokenizer,
        networks: Mapping[str, DiffusionModel[Any]],
        sampler: FewStepSampler,
        seed: int = 0,
    ) -> None:
        super().__init__(config, tokenizer, networks, sampler, seed)
        self.streaming, self.phases = config, config.all_phases()
        self.state = StreamingState(self._blank)
        self._scored_latents = 0  # in the window of the last step
        self.register_buffer("chunks_drawn", torch.tensor(0))  # counted in place, which the trainer sees
        for number in range(len(self.phases)):
            self._check_phase(number)

    def _check_phase(self, number: int) -> None:
        horizon = self.phases[number].horizon
        walk = self._walk(number, horizon or self.model.block)
        looked_back = max(max(network.lead, network.given) for network in (self.teacher, self.critic))
        if walk.overlap < looked_back:
            raise ValueError(
                f"overlap is {walk.overlap} latents and teacher or critic look back over {looked_back}: the first new "
                f"ones of each chunk could not be graded; use an overlap of {looked_back} or more"
            )
        if self.streaming.anchor > max(walk.overlap, 1):
            raise ValueError(
                f"anchor is {self.streaming.anchor} of an overlap of {walk.overlap}; use at most the overlap"
            )
        if horizon is not None:
            self._check_lock(walk)

    def frames_of(self, batch: Clip) -> int:
        return batch.frames.shape[0] * self._scored_latents * self.tokenizer.stride

    def check_clips(self, stages: Sequence[tuple[int, int]]) -> None:
        """Refuse clips shorter than the prompt and the horizon of a phase that meets them."""
        first = 0
        for count, frames in stages:
            latents = 1 + (frames - 1) // self.tokenizer.stride
            numbers = range(phase_at(self.phases, first), phase_at(self.phases, first + count - 1) + 1)
            for number in numbers:
                walk = self._walk(number, self._horizon(number, latents))
                self._check_lock(walk)
            first += count

    def _check_lock(self, walk: ChunkWalk) -> None:
        if self.streaming.student_turns == "regular":
            check_phase_lock(self.config.student_every, walk, untrained=0 if self.streaming.train_first_chunk else 1)

    def _walk(self, number: int, horizon: int) -> ChunkWalk:
        return self.streaming.walk(number, horizon, self.model.block)

    def _horizon(self, number: int, latents: int) -> int:
        """Return the horizon of sequences that begin with clips of so many latents.

        Raises:
            ValueError: the clips are too short.
        """
        wanted, block = self.phases[number].horizon, self.model.block
        held, least = latents - self.config.prompt, wanted or block
        if held < least:
            raise ValueError(
                f"clips of {latents} latents for a prompt of {self.config.prompt} and a horizon of {least}; use stages "
                f"with clips of {self.config.prompt + least} latents or more, or a shorter horizon"
            )
        return wanted or held // block * block

    def _student_learns(self, step: int) -> bool:
        every = self.config.student_every
        if self.streaming.student_turns == "regular":
            return super()._student_learns(step)
        turn = torch.randint(every, (), generator=self._alike(step // every, 1))
        return step % every == int(turn)

    def _alike(self, number: int, purpose: int) -> torch.Generator:
        """Return the generator of a draw that all ranks and microbatches make alike."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) * 4 + purpose)

    def _draws(self, batch: Clip, step: int, generator: torch.Generator) -> Iterator[Scored]:
        """Yield the next chunk of a sequence in its window, and then, if it is asked for, the same chunk drawn anew."""
        self.chunks_drawn += 1  # first of all: memories are consumed, and a step that fails must not be saved
        sequence = self._sequence(batch, step)
        walk = self._walk(sequence.phase, sequence.horizon)
        if sequence.position == 0 and not self.streaming.train_first_chunk and walk.lengths(0)[-1] < walk.horizon:
            with torch.no_grad():
                sequence, _ = self._advanced(sequence, walk, step, generator)
        sequence = self._recached(sequence)
        again = self.model.fork(sequence.memory) if self.config.critic_fresh_rollout else None
        ahead, scored = self._advanced(sequence, walk, step, generator)
        self.state.put(batch.part, ahead)
        self._scored_latents = scored.latents.shape[1]
        yield scored
        if again is not None:
            yield self._advanced(replace(sequence, memory=again), walk, step, generator)[1]

    def _sequence(self, batch: Clip, step: int) -> StreamedSequence:
        """Return the sequence in progress, or one that begins with the batch where none goes on."""
        latents = 1 + batch.actions.shape[1] // self.tokenizer.stride
        number = phase_at(self.phases, step)
        horizon = self._horizon(number, latents)
        going = self.state.of(batch.part)
        if going is not None and going.goes_on(len(batch.actions), number, horizon):
            return going
        return self._begun(batch, latents, number, horizon)

    @torch.no_grad()
    def _begun(self, batch: Clip, latents: int, number: int, horizon: int) -> StreamedSequence:
        """Start a sequence: of the batch it takes the first latents, and all actions that it will need."""
        prompt, stride = self.config.prompt, self.tokenizer.stride
        if batch.latents is None:
            first = self.tokenizer.encode(batch.frames[:, : batch.frames.shape[1] - (latents - prompt) * stride])
        else:
            first = batch.latents[:, :prompt]
        within = batch.actions.shape[1] - (latents - 1) * stride  # those of the first latent's own frames
        actions = batch.actions[:, within:][:, : (prompt + horizon - 1) * stride].clone()
        memory = self.model.prefill(LatentClip(first, actions[:, : (prompt - 1) * stride]))
        return StreamedSequence(actions, first, memory, number, horizon)

    @torch.no_grad()
    def _blank(self, actions: Actions) -> StreamedSequence:
        """Return a sequence of these actions with nothing in it."""
        prompt, weight = self.config.prompt, next(self.model.parameters())
        latents, actions = weight.new_zeros(len(actions), prompt, *self.model.latent_shape), actions.to(weight.device)
        memory = self.model.prefill(LatentClip(latents, actions[:, : (prompt - 1) * self.tokenizer.stride]))
        return StreamedSequence(actions, latents, memory, phase=0, horizon=0)

    def _advanced(
        self, sequence: StreamedSequence, walk: ChunkWalk, step: int, generator: torch.Generator
    ) -> tuple[StreamedSequence, Scored]:
        """Draw the next chunk of a sequence, whose memory is consumed; return the sequence after it, and its window."""
        position, prompt, block = sequence.position, self.config.prompt, self.model.block
        allowed = walk.lengths(position)
        new = allowed[int(torch.randint(len(allowed), (), generator=self._alike(step, 2)))]
        chunk = walk.at(position, new)
        first = prompt + chunk.start
        actions = [self._leading_to(sequence, i, i + block) for i in range(first, prompt + chunk.end, block)]
        drawn, memory = self._roll(sequence.memory, actions, step, generator)
        between = self._leading_to(sequence, first - chunk.overlap + 1, prompt + chunk.end)
        scored = self._scored(self._as_begun(sequence, sequence.recent.shape[1] - chunk.overlap), drawn, between)
        looked_back = 0 if self.streaming.recache_every is None else self.model.context
        return sequence.after(torch.cat(drawn, 1), memory, kept=max(walk.chunk, prompt, looked_back)), scored

    @torch.no_grad()
    def _recached(self, sequence: StreamedSequence) -> StreamedSequence:
        """Begin the memory anew where it is due; the sequence goes on."""
        every, end = self.streaming.recache_every, self.config.prompt + sequence.position
        if every is None or sequence.position - sequence.read < every:
            return sequence
        count = min(max(self.model.context, self.config.prompt), sequence.recent.shape[1])
        count -= count % self.model.grain
        latents = self._as_begun(sequence, sequence.recent.shape[1] - count)
        memory = self.model.prefill(LatentClip(latents, self._leading_to(sequence, end - count + 1, end)))
        return replace(sequence, memory=memory, read=sequence.position)

    def _leading_to(self, sequence: StreamedSequence, first: int, last: int) -> Actions:
        """Return the actions that lead to latents from number `first` on, before `last`; the prompt's first is 0."""
        stride = self.tokenizer.stride
        return sequence.actions[:, (first - 1) * stride : (last - 1) * stride]

    @torch.no_grad()
    def _as_begun(self, sequence: StreamedSequence, first: int) -> Latents:
        """Return the recent latents from number `first` on, as a game that began there would have them.

        The first ones, `anchor` of them, are decoded and encoded again: a tokenizer may see a picture on its own
        otherwise than as the continuation of a film.
        """
        recent, stride = sequence.recent, self.tokenizer.stride
        count = min(self.streaming.anchor, recent.shape[1] - first)
        is_real = sequence.position < recent.shape[1] - first  # it starts in the prompt
        if self.tokenizer.lossless or is_real or not count:
            return recent[:, first:]
        frames = self.tokenizer.decode(recent[:, : first + count])[:, -count * stride :]
        return torch.cat([self.tokenizer.encode(frames).to(recent.dtype), recent[:, first + count :]], 1)
