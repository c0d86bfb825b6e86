"""Which attention kernel is faster where: two matrix products or the fused one, by length, precision and direction.

``hallucade.nn.attention.attend`` chooses by these figures.
"""

import time
from collections.abc import Callable

import torch

from benchmarks.measurement import Measurement, device, wait
from hallucade.nn.attention import attend_by_matmul, attend_fused

REPEATS = 5
Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, float], torch.Tensor]
KERNELS: dict[str, Kernel] = {"matmul": attend_by_matmul, "fused": attend_fused}
# name: groups, heads, queries, keys, head size
SHAPES = {
    "space, 24x24 in patches of 4": (256, 4, 36, 36, 32),
    "time, 32 frames": (288, 4, 32, 32, 32),
    "time, one live frame": (36, 4, 1, 32, 32),
    "space and time, 8 frames of 36": (4, 4, 288, 288, 32),
    "space and time, 30 frames of 65": (1, 20, 1950, 1950, 16),
    "space and time, one live frame": (1, 20, 65, 1950, 16),
}


def measure(kernel: Kernel, shape: tuple[int, int, int, int, int], dtype: torch.dtype, backward: bool) -> float:
    """Return the best time of a call in milliseconds."""
    groups, heads, queries, keys, size = shape
    where = device()
    q, k, v = (
        torch.randn(groups, heads, n, size, device=where, dtype=dtype, requires_grad=backward)
        for n in (queries, keys, keys)
    )
    mask = torch.ones(queries, keys, dtype=torch.bool, device=where).tril() if queries == keys else None
    seconds: list[float] = []
    for _ in range(REPEATS):
        wait(where)
        start = time.perf_counter()
        out = kernel(q, k, v, mask, size**-0.5)
        if backward:
            torch.autograd.grad(out.sum(), (q, k, v))
        wait(where)
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds)


def main() -> None:
    for name, shape in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            for backward in (False, True):
                for kernel, call in KERNELS.items():
                    details = {"kernel": kernel, "shape": name, "dtype": str(dtype)[6:], "backward": backward}
                    milliseconds = measure(call, shape, dtype, backward)
                    Measurement("attention_ms", milliseconds, "ms", {**details, "device": device().type}).print()


if __name__ == "__main__":
    main()
