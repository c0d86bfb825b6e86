"""Memory of the unrolled loss by the length of its clips; and on tensors that have none, as a dry run counts it."""

import torch

from hallucade.data.clips import Clip
from hallucade.methods.pretrain import Pretrain
from hallucade.models.base import LatentClip
from hallucade.models.conv_gru import TokenConvGRU, TokenConvGRUConfig
from hallucade.objectives.adaptive_brake import AdaptiveBrakeConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.unroll_curriculum import UnrollRamp
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer
from hallucade.training.live_memory import LiveMemory
from hallucade.training.memory_budget import StandIns, memory_budget
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.trainer_config import TrainerConfig

CPU = torch.device("cpu")
CODES, ACTIONS, GRID, B = 100, 3, (8, 6), 4
TRAINER = TrainerConfig(steps=9, optimizer=OptimizerConfig(muon=False), precision="32-true")


def network():
    torch.manual_seed(0)
    return TokenConvGRU(TokenConvGRUConfig(width=16, layers=2, code_width=8), CODES, ACTIONS, GRID)


def unrolled(frames, **choices):
    ramp, own = UnrollRamp(steps=1, most=frames - 2), MaskGITSamplerConfig(steps=2)
    return AutoregressiveTokensConfig(unroll=ramp, own=own, **choices).build()


def working(frames, chunk):
    """Bytes that a loss and its backward pass need at their peak, beyond weights and the clip."""
    model, objective = network(), unrolled(frames, chunk=chunk)
    clip = LatentClip(torch.randint(0, CODES, (B, frames, *GRID)), torch.rand(B, frames - 1, ACTIONS))
    with LiveMemory(CPU, [*model.parameters(), clip.latents, clip.actions]) as memory:
        resting = memory.now
        objective(model, clip, torch.Generator())["cross_entropy"].backward()
    return memory.peak - resting


def test_a_chunk_that_is_recomputed_bounds_memory_and_a_clip_that_is_kept_does_not():
    chunked, kept = ([working(frames, chunk) for frames in (5, 17)] for chunk in (2, None))
    assert chunked[1] < 1.3 * chunked[0]
    assert kept[1] > 2.5 * kept[0]
    assert chunked[0] < kept[0]


def test_a_dry_run_counts_it_without_an_answer():
    stand_ins, frames = StandIns(CPU), 5
    objective = unrolled(frames, chunk=2, brake=AdaptiveBrakeConfig(most_ratio=1.4))
    pictures, actions = torch.empty((B, frames, 0, 0, 3), dtype=torch.uint8), torch.zeros(B, frames - 1, ACTIONS)
    clip = Clip(pictures, actions, 5, latents=torch.zeros((B, frames, *GRID), dtype=torch.int64))
    method = Pretrain(PixelTokenizer(), stand_ins.network(network), objective)
    budget = memory_budget(TRAINER, method, stand_ins.like(clip), 0, CPU)
    assert budget.working > working(frames, 2)  # which has no optimizer
