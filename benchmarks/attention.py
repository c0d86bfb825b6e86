"""Which attention kernel is faster where, by length, precision and direction: all that the device has.

``hallucade.nn.attention.choose_kernel`` chooses by these figures.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measurement import Details, Measurement, device, wait
from hallucade.nn.attention import HAS_TRITON, Kernel, attend_by_matmul, attend_fused, choose_kernel
from hallucade.nn.frame_mask import FrameMask, attend_flex
from hallucade.nn.window import FrameWindow

REPEATS = 5
Run = Callable[[Tensor, Tensor, Tensor, FrameMask | None, float], Tensor]


@dataclass(frozen=True)
class Shape:
    """Attention within a clip of frames, or from one live frame to a memory."""

    groups: int
    heads: int
    size: int  # of a head
    tokens: int  # of a frame in one sequence
    frames: int  # in the clip, or in the memory
    window: int | None  # frames; None: everything is seen
    live: bool = False  # queries of one frame only

    def mask(self, where: torch.device) -> FrameMask | None:
        """Return who sees whom."""
        return None if self.window is None else FrameMask(FrameWindow(self.window), self.frames, self.tokens, where)


SHAPES = {
    "space, 24x24 in patches of 4": Shape(256, 4, 32, 36, 1, None),
    "time, 32 frames": Shape(288, 4, 32, 1, 32, 32),
    "time, one live frame": Shape(36, 4, 32, 1, 32, None, live=True),
    "space and time, 12 frames of 16, window of 8": Shape(8, 4, 32, 16, 12, 8),
    "space and time, 8 frames of 36": Shape(4, 4, 32, 36, 8, 8),
    "space and time, 30 frames of 65": Shape(1, 20, 16, 65, 30, 30),
    "space and time, 90 frames of 65, window of 30": Shape(1, 20, 16, 65, 90, 30),
    "space and time, one live frame": Shape(1, 20, 16, 65, 30, None, live=True),
}


def by_matmul(q: Tensor, k: Tensor, v: Tensor, mask: FrameMask | None, scale: float) -> Tensor:
    return attend_by_matmul(q, k, v, mask and mask.matrix(), scale)


def by_fused(q: Tensor, k: Tensor, v: Tensor, mask: FrameMask | None, scale: float) -> Tensor:
    return attend_fused(q, k, v, mask and mask.matrix(), scale)


def by_flex(q: Tensor, k: Tensor, v: Tensor, mask: FrameMask | None, scale: float) -> Tensor:
    assert mask is not None
    return attend_flex(q, k, v, mask, scale)


def kernels(shape: Shape, where: torch.device) -> dict[Kernel, Run]:
    """Return what `where` has for a shape."""
    found: dict[Kernel, Run] = {"matmul": by_matmul, "fused": by_fused}
    if shape.window is not None and where.type not in ("cpu", "mps") and HAS_TRITON:
        found["flex"] = by_flex
    return found


def measure(run: Run, shape: Shape, dtype: torch.dtype, backward: bool, where: torch.device) -> float:
    """Return the best time of a call in milliseconds, after one that may compile."""
    queries, keys = shape.tokens * (1 if shape.live else shape.frames), shape.tokens * shape.frames
    q, k, v = (
        torch.randn(shape.groups, shape.heads, n, shape.size, device=where, dtype=dtype, requires_grad=backward)
        for n in (queries, keys, keys)
    )
    mask = shape.mask(where)
    seconds: list[float] = []
    for _ in range(1 + REPEATS):
        wait(where)
        start = time.perf_counter()
        out = run(q, k, v, mask, shape.size**-0.5)
        if backward:
            torch.autograd.grad(out.sum(), (q, k, v))
        wait(where)
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds[1:])


def main() -> None:
    where = device()
    for name, shape in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            for backward in (False, True):
                keys, framed = shape.tokens * shape.frames, shape.window is not None
                chosen = choose_kernel(where, dtype, keys, shape.size, grad=backward, framed=framed)
                for kernel, run in kernels(shape, where).items():
                    milliseconds = measure(run, shape, dtype, backward, where)
                    details: Details = {"kernel": kernel, "chosen": kernel == chosen, "shape": name}
                    details |= {"dtype": str(dtype)[6:], "backward": backward, "device": where.type}
                    Measurement("attention_ms", milliseconds, "ms", details).print()


if __name__ == "__main__":
    main()
