"""Self-forcing of small transformers on ranks of their own processes, spread over them or not."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tiny_training import tiny_config

from hallucade.actions import ActionSpace, Button
from hallucade.data.clips import Clip
from hallucade.methods.base import Method, freeze
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.pretrain import Pretrain
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.models.base import LatentClip, WorldModel
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.lora import LoRAConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.tokenizers.pixel import PixelTokenizer
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.sharding import own_part
from hallucade.training.trainer import Trainer

ACTIONS = ActionSpace(buttons=(Button(name="up"), Button(name="down")))
SHAPE = (3, 4, 8)
FRAMES, BATCH = 6, 4
MODEL = DiffusionTransformerConfig(width=18, depth=2, heads=3, patch=2, window=4, sink=1)


class SmallClips:
    """Latents that are a pure function of the step."""

    def batch_at(self, step: int, rank: int = 0, world: int = 1) -> Clip:
        generator = torch.Generator().manual_seed(step)
        latents = torch.randn(BATCH, FRAMES, *SHAPE, generator=generator)
        actions = torch.rand(BATCH, FRAMES - 1, ACTIONS.features, generator=generator)
        share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        frames = torch.empty((BATCH // world, FRAMES, 0, 0, 3), dtype=torch.uint8)
        return Clip(frames, actions[share], step * 7 + rank, latents=latents[share])


class Dream:
    """A callback that plays on one rank alone, and keeps what it saw."""

    every = 1

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, step: int, trainer: Trainer) -> None:
        model, clip = trainer.method.model, SmallClips().batch_at(99)
        assert clip.latents is not None
        with trainer.ema_weights(), torch.no_grad():
            state = model.prefill(LatentClip(clip.latents[:, :3], clip.actions[:, :2]))
            noisy, level = clip.latents[:, 3:4], torch.full((BATCH,), 0.7)
            self.seen.append(model.denoise(state, clip.actions[:, 2:3], noisy, level))


def small_network(lora: LoRAConfig | None = None) -> WorldModel:
    network = replace(MODEL, checkpointing=lora is None).build(ACTIONS, SHAPE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    if lora is not None:
        lora.adapt(network)
    return network


def small_method(kind: str, matching: DistributionMatchingConfig | None = None) -> Method:
    torch.manual_seed(4)
    lora = LoRAConfig(rank=2) if kind == "lora" else None
    if kind != "distilled":
        return Pretrain(PixelTokenizer(), small_network(lora), DiffusionForcingConfig().build())
    networks = {"model": small_network(), "critic": small_network(), "teacher": freeze(small_network())}
    method = SelfForcingConfig(prompt=2, student_every=2, matching=matching or DistributionMatchingConfig())
    return method.build(PixelTokenizer(), networks, FewStepSamplerConfig(steps=2).build(), seed=0)


def small_trainer(folder: Path, kind: str, steps: int, callbacks: Sequence[Dream] = (), **changes: object) -> Trainer:
    optimizer = OptimizerConfig(learning_rate=1e-3, muon=False)
    parts = 1 if kind == "distilled" else 2
    settings = {"optimizer": optimizer, "checkpoint_every": 99, "accumulate": parts, **changes}
    config = tiny_config(steps=steps, **settings)
    method = small_method(kind)
    return Trainer(config, method, SmallClips(), folder, run_config={}, callbacks=callbacks, progress=False)


def train_as_rank(rank: int, port: int, folder: str, kind: str, steps: int, sharded: int) -> None:
    """Train as one of two ranks, in the environment that torchrun makes; rank 0 writes what it dreamed and keeps."""
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in {**world, **place}.items()})
    torch.set_num_threads(1)
    dream = Dream()
    trainer = small_trainer(Path(folder), kind, steps, [dream], sharded=bool(sharded))
    trainer.train(resume=True)
    kept = sum(own_part(p).numel() for p in trainer.method.parameters())
    if rank == 0:
        torch.save({"dream": dream.seen[-1], "kept": kept}, Path(folder) / "rank_0.pt")
