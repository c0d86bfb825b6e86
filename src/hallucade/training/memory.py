"""Steps on a CPU reuse each other's memory instead of asking the system for it anew."""

import torch

LARGEST = (32 << 20) - (64 << 10)  # bytes; glibc learns from freed blocks of up to 32 MiB, its own header included


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees: fetching it back page by page costs a small model's step milliseconds.

    glibc returns freed blocks above a threshold, and free memory of twice that at the top of its heap, to the system.
    The threshold rises to the largest such block that was ever freed. The one freed here is never written, so it takes
    no memory. Other C libraries are not impressed.

    Source: mallopt(3), M_MMAP_THRESHOLD, "dynamic mmap threshold".
    """
    torch.empty(LARGEST, dtype=torch.uint8)
