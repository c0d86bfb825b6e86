"""What the unrolled loss of a recurrent world of codes needs in memory, by the length of clips, and what that costs.

Counted are the bytes of all tensors that live during one loss and its backward pass, beyond weights and the clip: the
recipe `token_gru_small` at its ramp's end, with activations that are recomputed chunk by chunk, and with all kept. The
cost is the time of the first over that of the second.
"""

import argparse
from dataclasses import replace

import torch

from benchmarks.measurement import Details, Measurement, paired_seconds
from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokens, AutoregressiveTokensConfig
from hallucade.recipes.token_worlds import token_gru_small
from hallucade.training.live_memory import LiveMemory

CODES, FEATURES, GRID = 1000, 3, (8, 8)
CPU = torch.device("cpu")
PAIRS = 3  # of timed steps


def random_clip(frames: int, batch: int) -> LatentClip:
    """Return a clip of any codes under any actions."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, CODES, (batch, frames, *GRID), generator=generator)
    return LatentClip(tokens, torch.rand(batch, frames - 1, FEATURES, generator=generator))


def grade(model: TokenConvGRU, objective: AutoregressiveTokens, clip: LatentClip) -> None:
    """Do what one step of training does, but for the optimizer."""
    losses = objective(model, clip, torch.Generator().manual_seed(0))
    torch.stack(list(losses.values())).sum().backward()
    if objective.config.chunk is not None:
        objective.recomputation.check()
    model.zero_grad()


def peak(model: TokenConvGRU, config: AutoregressiveTokensConfig, clip: LatentClip) -> int:
    """Return the bytes of one loss and its backward pass at their peak."""
    with LiveMemory(CPU, [*model.parameters(), clip.latents, clip.actions]) as memory:
        resting = memory.now
        grade(model, config.build(), clip)
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
            peaks.append(peak(model, config, random_clip(frames, batch)))
            details: Details = {"frames": frames, "batch": batch, "chunk": chunk or "none"}
            Measurement("streaming_peak_memory", peaks[-1] / 1e6, "MB", details).print()
        ratio = peaks[-1] / peaks[0]
        details = {"frames": lengths[-1], "over": lengths[0], "batch": batch, "chunk": chunk or "none"}
        Measurement("streaming_memory_growth", ratio, "ratio", details).print()
    clip, kept = random_clip(lengths[0], batch), replace(recipe.objective, chunk=None).build()
    saving = recipe.objective.build()
    cost = paired_seconds(lambda _: grade(model, saving, clip), lambda _: grade(model, kept, clip), PAIRS, CPU)
    Measurement("streaming_recompute_cost", cost.ratio, "ratio", {"frames": lengths[0], "batch": batch}).print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64], help="frames in a clip, the shortest first")
    parser.add_argument("--batch", type=int, default=4, help="clips")
    asked = parser.parse_args()
    measure(asked.frames, asked.batch)


if __name__ == "__main__":
    main()
