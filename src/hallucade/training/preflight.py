"""Full-size steps before the first: they show the peak memory and fail early, and change nothing."""

import functools
import resource
import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hallucade.data.clips import ClipSource
from hallucade.methods.base import Method, rank_states
from hallucade.training.checkpoint import tensors_below
from hallucade.training.curriculum import StagedClips
from hallucade.training.learner import Learner
from hallucade.training.memory import keep_freed_memory
from hallucade.training.sharding import own_part

PROCESS_MEMORY = ("cpu", "mps")  # devices that work in the memory of the process


def try_largest(clips: ClipSource, step: Callable[[int], object], learner: Learner, device: torch.device) -> int:
    """Run the first step of every stage that may need most memory, undo it, and return the peak in bytes.

    Raises:
        ValueError: memory does not suffice, or the step refuses its clips; names the stage.
    """
    staged = clips if isinstance(clips, StagedClips) else None
    peaks: list[int] = []
    for number in (0,) if staged is None else staged.largest_steps():
        try:
            peaks.append(preflight(functools.partial(step, number), learner, device))
        except ValueError as error:
            raise error if staged is None else staged.named(number, error) from error
    return max(peaks)


def preflight(step: Callable[[], object], learner: Learner, device: torch.device) -> int:
    """Run `step`, undo it, and return the peak memory in bytes.

    The method's tensors and the random generators come back bit by bit; momenta are forgotten.

    Raises:
        ValueError: memory does not suffice.
    """
    before = {name: own_part(value.detach()).cpu().clone() for name, value in learner.method.state_dict().items()}
    own = device.type not in PROCESS_MEMORY
    if own:
        torch.accelerator.reset_peak_memory_stats(device)
    else:
        keep_freed_memory()
    with torch.random.fork_rng(devices=[device] if own else [], device_type=device.type):
        try:
            step()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ValueError("one step does not fit into memory; raise accumulate or lower the batch size") from error
        finally:
            _restore(learner.method, before)
            for optimizer in learner.optimizers.values():
                optimizer.reset()
    return peak_memory(device)


@torch.no_grad()
def _restore(method: Method, before: Mapping[str, Tensor]) -> None:
    states = rank_states(method)
    for name, value in method.state_dict().items():
        if not name.startswith(tuple(states)):
            own_part(value).copy_(before[name])
    for prefix, state in states.items():
        state.take(tensors_below(prefix, before))


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; torch's CPU allocator says so in the text of a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def peak_memory(device: torch.device) -> int:
    """Return the peak in bytes: of the accelerator since the last reset, or of this process since its start."""
    if device.type not in PROCESS_MEMORY:
        return torch.accelerator.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS and kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
