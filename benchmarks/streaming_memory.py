"""What the unrolled loss of a recurrent world of codes needs in memory, by the length of its clips.

Counted are the bytes of all tensors that live during one loss and its backward pass, beyond weights and the clip: the
recipe `token_gru_small` at its ramp's end, with activations that are recomputed chunk by chunk, and with all kept.
"""

import argparse
from dataclasses import replace

import torch

from benchmarks.measurement import Details, Measurement
from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.recipes.token_worlds import token_gru_small
from hallucade.training.live_memory import LiveMemory

CODES, FEATURES, GRID = 1000, 3, (8, 8)
CPU = torch.device("cpu")


def peak(model: TokenConvGRU, config: AutoregressiveTokensConfig, frames: int, batch: int) -> int:
    """Return the bytes of one loss and its backward pass at their peak."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, CODES, (batch, frames, *GRID), generator=generator)
    clip = LatentClip(tokens, torch.rand(batch, frames - 1, FEATURES, generator=generator))
    objective = config.build()
    with LiveMemory(CPU, [*model.parameters(), clip.latents, clip.actions]) as memory:
        resting = memory.now
        losses = objective(model, clip, generator)
        torch.stack(list(losses.values())).sum().backward()
    model.zero_grad()
    if config.chunk is not None:
        objective.recomputation.check()
    return memory.peak - resting


def measure(lengths: list[int], batch: int) -> None:
    """Print the peak at each length, and the last one over the first."""
    recipe = token_gru_small()
    assert isinstance(recipe.model, TokenConvGRUConfig)
    assert isinstance(recipe.objective, AutoregressiveTokensConfig)
    torch.manual_seed(0)
    model = TokenConvGRU(recipe.model, CODES, FEATURES, GRID)
    for chunk in (recipe.objective.chunk, None):
        config, peaks = replace(recipe.objective, chunk=chunk), list[int]()
        for frames in lengths:
            peaks.append(peak(model, config, frames, batch))
            details: Details = {"frames": frames, "batch": batch, "chunk": chunk or "none"}
            Measurement("streaming_peak_memory", peaks[-1] / 1e6, "MB", details).print()
        ratio = peaks[-1] / peaks[0]
        details = {"frames": lengths[-1], "over": lengths[0], "batch": batch, "chunk": chunk or "none"}
        Measurement("streaming_memory_growth", ratio, "ratio", details).print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64], help="frames in a clip, the shortest first")
    parser.add_argument("--batch", type=int, default=16, help="clips")
    asked = parser.parse_args()
    measure(asked.frames, asked.batch)


if __name__ == "__main__":
    main()
