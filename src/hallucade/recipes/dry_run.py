"""What a training would need, said before it is begun: nothing is written, and no network takes memory."""

import os
from collections.abc import Callable, Mapping, Sequence
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
from hallucade.recipes.stages import counted, framings, on_play
from hallucade.recipes.train import method_of
from hallucade.shapes import Latents
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.tokenizers.base import Tokenizer
from hallucade.tokenizers.learned import LearnedTokenizer
from hallucade.training.curriculum import Stage, first_steps
from hallucade.training.memory_budget import MemoryBudget, StandIns, memory_budget


@dataclass(frozen=True)
class DryRun:
    """What is known of a training before it is begun."""

    recipe: str
    device: torch.device
    stage: Stage  # the one that needs most
    shape: tuple[int, ...]  # of the latents of one rank's batch in it
    peaks: tuple[tuple[Stage, int], ...]  # every stage and the peak of its steps, in bytes
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
            *self._stage_lines(),
            *self._spread_lines(),
            f"a checkpoint takes {saved} on disk, and {held} of the host's memory while it is written",
            *(f"the {name} is not given: taken to be as large as the model" for name in self.assumed),
        ]

    def _stage_lines(self) -> list[str]:
        if len(self.peaks) == 1:
            return []
        return [
            f"stages.{i} ({stage.describe()}): {_size(peak)} at its peak" for i, (stage, peak) in enumerate(self.peaks)
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
    config = on_latents(config, latents)
    recorded = config.source if store is None else Source.of(store)
    if recorded is None:
        raise ValueError(f"{config.recipe} does not say what its play looks like before there is some; give --store")
    config, device = on_play(config, recorded), device or default_device()
    models, assumed = _models(config, networks or {})
    tokenizer = _tokenizer(config)
    config = counted(config, tokenizer, recorded)
    tried = [_tried(config, models, tokenizer, recorded, number, device) for number in range(len(config.stages))]
    most = max(range(len(tried)), key=lambda number: tried[number][1].peak)
    shape, budget = tried[most]
    spread = _ranks() if config.trainer.sharded else 1
    peaks = tuple((stage, found.peak) for stage, (_, found) in zip(config.stages, tried, strict=True))
    return DryRun(config.recipe, device, config.stages[most], shape, peaks, assumed, spread, budget)


def _tried(
    config: RunConfig,
    models: Mapping[str, WorldModelConfig],
    tokenizer: Tokenizer,
    recorded: Source,
    number: int,
    device: torch.device,
) -> tuple[tuple[int, ...], MemoryBudget]:
    """Return the shape of a stage's batch, and what its steps need, on networks of its own."""
    assert config.source is not None
    stand_ins, actions, size = StandIns(device), config.source.actions, config.source.frame_size
    built: dict[str, WorldModel[Any]] = {
        role: stand_ins.network(lambda model=model: model.build_on(tokenizer, actions, size))
        for role, model in models.items()
    }
    for role, network in built.items():
        if role == TEACHER:
            freeze(network)
        elif config.lora.rank:
            config.lora.adapt(network)
    shown = framings(config.stages, recorded)
    shape = tokenizer.latent_shape(*(shown[number].size or recorded.frame_size))
    clip = replace(_clip(config, number, tokenizer, shape), pace=shown[number].stride / shown[-1].stride)
    clip = stand_ins.like(clip)
    assert clip.latents is not None
    method = stand_ins.replaced(method_of(config, tokenizer, built))  # the tokenizer's weights and those of losses too
    budget = memory_budget(config.trainer, method, clip, first_steps(config.stages)[number], device)
    return tuple(clip.latents.shape), budget


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


def _clip(config: RunConfig, number: int, tokenizer: Tokenizer, shape: tuple[int, ...]) -> Clip:
    """Return a batch of this rank in a stage, on torch's meta device."""
    assert config.source is not None
    ranks, stage = _ranks(), config.stages[number]
    if stage.batch % ranks:
        raise ValueError(f"a batch of {stage.batch} windows cannot be shared by {ranks} ranks; choose a multiple")
    batch, features = stage.batch // ranks, config.source.actions.features
    kind = torch.float32 if tokenizer.codes is None else torch.int64
    with torch.device("meta"):
        return Clip(
            torch.empty((batch, stage.frames, 0, 0, 3), dtype=torch.uint8),
            torch.empty(batch, stage.frames - 1, features),
            latents=torch.empty((batch, stage.frames // tokenizer.stride, *shape), dtype=kind),
        )


def _ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _tokenizer(config: RunConfig) -> Tokenizer:
    """Return what is asked for shapes of latents; where losses may ask for vectors of codes, the tokenizer itself."""
    if isinstance(config.tokenizer, AbsentTokenizerConfig):
        shape = config.tokenizer.latent_shape
        return _Latents(lambda *_: shape)
    tokenizer = config.tokenizer.build()
    if isinstance(tokenizer, LearnedTokenizer) and tokenizer.codes is not None:
        return tokenizer
    return _Latents(tokenizer.latent_shape, tokenizer.stride, tokenizer.codes)


class _Latents(Tokenizer):
    """Stands where methods ask for a tokenizer and are given latents."""

    lossless = True  # nothing is decoded to be encoded again

    def __init__(self, shape: Callable[..., tuple[int, ...]], stride: int = 1, codes: int | None = None) -> None:
        super().__init__()
        self._shape, self.stride, self.codes = shape, stride, codes

    def encode(self, frames: torch.Tensor) -> Latents:
        raise AssertionError("a dry run gives latents")

    def decode(self, latents: Latents) -> torch.Tensor:
        raise AssertionError("a dry run shows nothing")

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self._shape(height, width)


def _size(size: float) -> str:
    if size == 0:
        return "-"
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"
