"""Long sequences that a training goes on with from step to step, and how they travel with its checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from hallucade.methods.base import RankState
from hallucade.shapes import Actions, Latents


@dataclass(frozen=True)
class StreamedSequence:
    """A batch of long games in progress: all that their next chunk depends on, but for the weights."""

    actions: Actions  # of prompt and horizon, known from the start; the first lead from latent 0 to latent 1
    recent: Latents  # the last latents, as they were drawn: a chunk of them, or the prompt
    memory: Any  # the student's, after the last of them
    phase: int  # number of the phase that it was begun in
    horizon: int  # latents after the prompt
    position: int = 0  # how many of these are drawn
    read: int = 0  # how many were when the memory was last read from latents

    def goes_on(self, batch: int, phase: int, horizon: int) -> bool:
        """Return whether the next chunk is of this sequence, for a batch of so many games in such a phase."""
        return (len(self.actions), self.phase, self.horizon) == (batch, phase, horizon) and self.position < horizon

    def after(self, drawn: Latents, memory: Any, kept: int) -> "StreamedSequence":
        """Return the sequence with more latents drawn; the last `kept` stay known."""
        recent = torch.cat([self.recent, drawn.detach().to(self.recent.dtype)], 1)[:, -kept:].contiguous()
        return replace(self, recent=recent, memory=memory, position=self.position + drawn.shape[1])


class StreamingState(RankState):
    """The sequence of each microbatch.

    Args:
        blank: returns a sequence of these actions that has the right structure, on the device where it belongs; its
            values do not matter.
    """

    def __init__(self, blank: Callable[[Actions], StreamedSequence]) -> None:
        super().__init__()
        self._blank = blank
        self._sequences: dict[int, StreamedSequence] = {}

    def of(self, part: int) -> StreamedSequence | None:
        """Return the sequence of a microbatch, if one was begun."""
        return self._sequences.get(part)

    def put(self, part: int, sequence: StreamedSequence) -> None:
        """Go on with this sequence."""
        self._sequences[part] = sequence

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": value for part, sequence in self._sequences.items() for name, value in leaves(sequence)
        }

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        parts: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, leaf = name.partition(".")
            parts.setdefault(int(part), {})[leaf] = value
        self._sequences = {part: filled(self._blank(found["actions"]), found) for part, found in parts.items()}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors and whole numbers inside dataclasses and sequences, each with its path.

    Dataclasses without any tensor inside describe, and are left out.
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, int):
        yield name, torch.tensor(value)
    elif _holds_tensors(value):
        for key, item in _items(value):
            yield from leaves(item, f"{name}.{key}" if name else key)


def filled(like: Any, tensors: Mapping[str, Tensor], name: str = "") -> Any:
    """Return `like` with what ``leaves`` found in its twin; tensors have any shape, and the device of `like`'s."""
    if isinstance(like, Tensor):
        return tensors[name].detach().to(like.device, copy=True)
    if isinstance(like, int):
        return int(tensors[name])
    if not _holds_tensors(like):
        return like
    parts = {key: filled(item, tensors, f"{name}.{key}" if name else key) for key, item in _items(like)}
    if is_dataclass(like):
        return replace(cast(Any, like), **parts)
    values = list(parts.values())
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def _items(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if not isinstance(value, list | tuple):
        return []
    return [(str(i), item) for i, item in enumerate(cast("Sequence[Any]", value))]


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or any(_holds_tensors(item) for _, item in _items(value))
