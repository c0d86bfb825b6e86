"""What a training would need, said before it is begun: nothing is written, and no network takes memory."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hallucade.data.clips import Clip
from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import freeze
from hallucade.models.base import WorldModel, WorldModelConfig
from hallucade.recipes.latents import on_latents
from hallucade.recipes.load import default_device
from hallucade.recipes.networks import CRITIC, MODEL, TEACHER, given_networks, read_network
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.train import method_of
from hallucade.shapes import Latents
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.curriculum import Stage
from hallucade.training.memory_budget import MemoryBudget, StandIns, memory_budget


@dataclass(frozen=True)
class DryRun:
    """What is known of a training before it is begun."""

    recipe: str
    device: torch.device
    stage: Stage  # the one with most frames in a batch
    shape: tuple[int, ...]  # of the latents of one rank's batch
    assumed: tuple[str, ...]  # networks that are not given, taken to be as large as the model
    spread: int  # ranks over which networks are spread
    budget: MemoryBudget

    def lines(self) -> list[str]:
        """Return the table as text."""
        heads = ("network", "parameters", "weights", "gradients", "momenta", "averages", "at rest")
        rows = [heads, *(self._row(i) for i in range(len(self.budget.networks)))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        rest, peak, work = map(_size, (self.budget.resting, self.budget.peak, self.budget.working))
        saved, held = map(_size, (self.budget.checkpoint, self.budget.largest_tensor))
        return [
            f"{self.recipe} on {self.device.type}, a step of {'x'.join(map(str, self.shape))} latents",
            *table,
            f"at rest {rest}; at the peak of a step {peak}, of which gradients, activations and copies are {work}",
            *self._spread_lines(),
            f"a checkpoint takes {saved} on disk, and {held} of the host's memory while it is written",
            *(f"the {name} is not given: taken to be as large as the model" for name in self.assumed),
        ]

    def _spread_lines(self) -> list[str]:
        if self.spread == 1:
            return []
        rest = self.budget.resting / self.spread
        part, most = _size(rest), _size(rest + self.budget.working)
        return [f"spread over {self.spread} ranks: each keeps {part} at rest, and needs less than {most} in a step"]

    def _row(self, number: int) -> tuple[str, ...]:
        network = self.budget.networks[number]
        sizes = (network.weights, network.gradients, network.optimizer, network.averages, network.resting)
        name = network.name if network.trained else f"{network.name} (frozen)"
        if network.waiting:
            name = f"{network.name} (frozen, {_size(network.waiting)} on the host)"
        return (name, f"{network.trained or network.frozen:,}", *map(_size, sizes))


def dry_run(
    config: RunConfig,
    store: EpisodeStore | Mixture | None,
    *,
    latents: Sequence[LatentCache] = (),
    networks: Mapping[str, Path] | None = None,
    device: torch.device | None = None,
) -> DryRun:
    """Count what training `config` would need, on stand-ins for its networks and its largest batch.

    Encoding frames is left out: a step is counted from the latents on.

    Args:
        config: the recipe, with the user's changes.
        store: recorded play; None for recipes that say of what kind theirs is.
        latents: one cache a store.
        networks: runs by role, as for training; a teacher that is missing is taken to be as large as the model.
        device: where training would be; by default this machine's accelerator, or its CPU.

    As under torchrun, ``WORLD_SIZE`` says how many ranks share a batch, and the networks if they are sharded.

    Raises:
        ValueError: the recipe does not say what play it is for, or what training itself would refuse.
    """
    config = replace(on_latents(config, latents), source=config.source if store is None else Source.of(store))
    if config.source is None:
        raise ValueError(f"{config.recipe} does not say what its play looks like before there is some; give --store")
    device = device or default_device()
    models, assumed = _models(config, networks or {})
    tokenizer = _latents_only(config)
    stand_ins, source = StandIns(device), config.source
    shape = tokenizer.latent_shape(*source.frame_size)
    built: dict[str, WorldModel[Any]] = {
        role: stand_ins.network(lambda model=model: model.build(source.actions, shape))
        for role, model in models.items()
    }
    for role, network in built.items():
        if role == TEACHER:
            freeze(network)
        elif config.lora.rank:
            config.lora.adapt(network)
    stage, first = _largest(config.stages)
    clip = stand_ins.like(_clip(config, stage, tokenizer.stride, shape))
    assert clip.latents is not None
    method = method_of(config, tokenizer, built)
    budget = memory_budget(config.trainer, method, clip, first, device)
    spread = _ranks() if config.trainer.sharded else 1
    return DryRun(config.recipe, device, stage, tuple(clip.latents.shape), assumed, spread, budget)


def _models(config: RunConfig, runs: Mapping[str, Path]) -> tuple[dict[str, WorldModelConfig], tuple[str, ...]]:
    """Return the config of every network, and which of them are guessed."""
    asked = () if config.method is None else config.method.networks
    needed = [*([TEACHER] if TEACHER in asked else []), *([MODEL] if config.lora.rank else [])]
    if all(role in runs for role in needed):
        given = given_networks(config, runs, None)
    else:
        given = {role: read_network(run) for role, run in runs.items()}
    models = {MODEL: config.model}
    for role in (TEACHER, CRITIC):
        if role in asked:
            models[role] = given[role].origin.model if role in given else models.get(TEACHER, config.model)
    return models, tuple(sorted(set(asked) - {CRITIC} - set(runs)))


def _largest(stages: Sequence[Stage]) -> tuple[Stage, int]:
    """Return the stage with most frames in a batch, and its first step."""
    number = max(range(len(stages)), key=lambda i: stages[i].frames * stages[i].batch)
    return stages[number], sum(stage.steps for stage in stages[:number])


def _clip(config: RunConfig, stage: Stage, stride: int, shape: tuple[int, ...]) -> Clip:
    """Return a batch of this rank, on torch's meta device."""
    assert config.source is not None
    ranks = _ranks()
    if stage.batch % ranks:
        raise ValueError(f"a batch of {stage.batch} windows cannot be shared by {ranks} ranks; choose a multiple")
    batch, features = stage.batch // ranks, config.source.actions.features
    with torch.device("meta"):
        return Clip(
            torch.empty((batch, stage.frames, 0, 0, 3), dtype=torch.uint8),
            torch.empty(batch, stage.frames - 1, features),
            latents=torch.empty(batch, stage.frames // stride, *shape),
        )


def _ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _latents_only(config: RunConfig) -> Tokenizer:
    if isinstance(config.tokenizer, AbsentTokenizerConfig):
        return _Latents(config.tokenizer.latent_shape)
    tokenizer, source = config.tokenizer.build(), config.source
    assert source is not None
    return _Latents(tokenizer.latent_shape(*source.frame_size), tokenizer.stride)


class _Latents(Tokenizer):
    """Stands where methods ask for a tokenizer and are given latents."""

    lossless = True  # nothing is decoded to be encoded again

    def __init__(self, shape: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        self._shape, self.stride = shape, stride

    def encode(self, frames: torch.Tensor) -> Latents:
        raise AssertionError("a dry run gives latents")

    def decode(self, latents: Latents) -> torch.Tensor:
        raise AssertionError("a dry run shows nothing")

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self._shape


def _size(size: float) -> str:
    if size == 0:
        return "-"
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"
