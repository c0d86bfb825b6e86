"""What the machine can do at best: matrix products of 2048 x 2048, the unit of every "share of peak"."""

import time

import torch

from benchmarks.measurement import Measurement, device, wait

SIZE = 2048
REPEATS = 12


def matmul_peak(dtype: torch.dtype, where: torch.device) -> float:
    """Return the best rate of several products, in GFLOP/s (two operations a multiply-add)."""
    a, b = (torch.randn(SIZE, SIZE, device=where).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    seconds: list[float] = []
    for _ in range(REPEATS):
        wait(where)
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        wait(where)
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(seconds) / 1e9


def main() -> None:
    where = device()
    for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        peak = matmul_peak(dtype, where)
        Measurement("matmul_peak", peak, "GFLOP/s", {"dtype": name, "device": where.type}).print()


if __name__ == "__main__":
    main()
