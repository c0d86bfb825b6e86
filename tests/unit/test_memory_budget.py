"""Stand-ins need what real tensors need, to the byte; and what is counted is what lives."""

from dataclasses import replace

import pytest
import torch

from hallucade.actions import ActionSpace, Button
from hallucade.data.clips import Clip
from hallucade.methods.base import Method, freeze
from hallucade.methods.pretrain import Pretrain
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.base import WorldModelConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.nn.lora import LoRAConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer
from hallucade.training.live_memory import LiveMemory
from hallucade.training.memory_budget import MemoryBudget, StandIns, memory_budget
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.trainer_config import TrainerConfig

CPU = torch.device("cpu")
ACTIONS = ActionSpace(buttons=(Button(name="up"), Button(name="down")))
SHAPE = (3, 8, 12)
TRANSFORMER = DiffusionTransformerConfig(width=24, depth=2, heads=2, patch=2, window=5, sink=1)
UNET = UNetConfig(context=2, widths=(8, 16), blocks=(1, 1), condition_width=16)
TRAINER = TrainerConfig(steps=3, optimizer=OptimizerConfig(muon=False), precision="32-true")


def budget(
    model: WorldModelConfig,
    config: TrainerConfig = TRAINER,
    *,
    real: bool = False,
    lora: LoRAConfig | None = None,
    distilled: bool = False,
    batch: int = 2,
    step: int = 0,
) -> MemoryBudget:
    stand_ins = StandIns(CPU)

    def network() -> torch.nn.Module:
        made = model.build(ACTIONS, SHAPE) if real else stand_ins.network(lambda: model.build(ACTIONS, SHAPE))
        if lora is not None:
            lora.adapt(made)
        return made

    method: Method = Pretrain(PixelTokenizer(), network(), DiffusionForcingConfig().build())
    if distilled:
        networks = {"model": network(), "critic": network(), "teacher": freeze(network())}
        taught = SelfForcingConfig(prompt=2, student_every=2)
        method = taught.build(PixelTokenizer(), networks, FewStepSamplerConfig(steps=2).build(), seed=0)
    count = 4 if distilled else 7
    frames, actions = torch.empty((batch, count, 0, 0, 3), dtype=torch.uint8), torch.zeros(batch, count - 1, 2)
    clip = Clip(frames, actions, 5, latents=torch.zeros(batch, count, *SHAPE))
    return memory_budget(config, method, clip if real else stand_ins.like(clip), step, CPU)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", [TRANSFORMER, replace(TRANSFORMER, checkpointing=True), UNET])
def test_stand_ins_need_what_tensors_need(model: WorldModelConfig, precision: str) -> None:
    config = replace(TRAINER, precision=precision, accumulate=2)
    assert budget(model, config) == budget(model, config, real=True)


def test_stand_ins_play_and_are_taught_as_networks_are() -> None:
    config = replace(TRAINER, optimizer=OptimizerConfig())
    found = budget(TRANSFORMER, config, distilled=True, step=1)  # the student's turn comes at step 2
    assert found == budget(TRANSFORMER, config, distilled=True, real=True, step=1)
    assert [network.name for network in found.networks] == ["model", "critic", "teacher"]
    model, critic, teacher = found.networks
    assert critic.averages == 0 < model.averages  # the critic is not averaged
    assert (teacher.trained, teacher.gradients, teacher.optimizer, teacher.averages) == (0, 0, 0, 0)


def test_the_table_is_bytes_of_what_is_kept() -> None:
    found = budget(TRANSFORMER)
    (network,) = found.networks
    count = sum(p.numel() for p in TRANSFORMER.build(ACTIONS, SHAPE).parameters())
    assert (network.trained, network.frozen, network.weights, network.gradients) == (count, 0, 4 * count, 4 * count)
    assert network.averages == 4 * count
    assert 0 <= network.optimizer - 8 * count < 1000  # two momenta, and AdamW's counters
    assert found.resting == network.weights + network.averages + network.optimizer
    assert found.peak == found.resting + found.working > found.resting + network.gradients


def test_a_microbatch_needs_less_than_the_whole_batch() -> None:
    whole, halves = (budget(TRANSFORMER, replace(TRAINER, accumulate=n), batch=8) for n in (1, 2))
    assert halves.working < 0.7 * whole.working
    assert halves.resting == whole.resting


def test_one_microbatch_tells_what_two_need() -> None:
    """The second one's forward pass meets the gradients of the first, which is where the peak may be."""
    said = budget(TRANSFORMER, replace(TRAINER, accumulate=2), batch=4)
    method = Pretrain(PixelTokenizer(), TRANSFORMER.build(ACTIONS, SHAPE), DiffusionForcingConfig().build())
    frames, latents = torch.empty((4, 7, 0, 0, 3), dtype=torch.uint8), torch.zeros(4, 7, *SHAPE)
    clip = Clip(frames, torch.zeros(4, 6, 2), 5, latents=latents)
    with LiveMemory(CPU, method.parameters()) as memory:
        before = memory.now
        for part in clip.split(2):
            for _, loss in method.losses(part, 0):
                loss.backward()
    assert memory.peak - before == pytest.approx(said.working, rel=0.02)


def test_blocks_that_are_computed_again_keep_less() -> None:
    deep = replace(TRANSFORMER, depth=8)
    plain, again = (budget(replace(deep, checkpointing=on), batch=8) for on in (False, True))
    assert again.working < 0.5 * plain.working


def test_additions_have_small_optimizers_and_checkpoints() -> None:
    lora = LoRAConfig(rank=2)
    found, plain = budget(TRANSFORMER, lora=lora), budget(TRANSFORMER)
    (network,), (whole,) = found.networks, plain.networks
    assert network.frozen == whole.trained
    assert network.gradients == 4 * network.trained < whole.gradients / 4
    assert network.optimizer < whole.optimizer / 4
    assert found.checkpoint < plain.checkpoint / 4
    assert found == budget(TRANSFORMER, lora=lora, real=True)


def test_what_lives_is_counted_and_what_is_gone_is_not() -> None:
    there = torch.zeros(5)
    with LiveMemory(CPU, [there]) as memory:
        big = torch.zeros(1000)
        view = big[10:]
        memory.reset_peak()
        del big
        assert memory.now == 4 * 1005  # the view keeps all of it
        small = view.sum()
        del view
        assert (memory.now, memory.peak) == (4 * 6, 4 * 1006)
        assert small == 0
