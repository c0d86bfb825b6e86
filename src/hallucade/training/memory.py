"""Peak memory of this process: of the accelerator where there is one, of the process otherwise."""

import resource
import sys

import torch


def reset_peak(device: torch.device) -> None:
    """Start a new measurement; a process's own peak cannot be reset and counts from its start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int:
    """Return the peak in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS and kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
