"""The networks of a method: each taken out of the run that trained it, and checked against what it is to teach."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hallucade.methods.base import freeze
from hallucade.models.base import WorldModel
from hallucade.recipes.additions import MODEL, check_origin, fingerprint, own_weights
from hallucade.recipes.load import find_checkpoint, read_config
from hallucade.recipes.run_config import Origin, RunConfig, Source
from hallucade.tokenizers.base import Tokenizer, TokenizerConfig
from hallucade.training.checkpoint import CheckpointError, load_tensors

TEACHER, CRITIC = "teacher", "critic"


@dataclass(frozen=True)
class GivenNetwork:
    """The newest weights of a run's network."""

    origin: Origin
    source: Source
    tokenizer: TokenizerConfig
    weights: dict[str, Tensor]

    def build(self, tokenizer: Tokenizer) -> WorldModel[Any]:
        """Build the network with these weights."""
        source = self.source
        model = self.origin.model.build_on(tokenizer, source.actions, source.frame_size)
        load_tensors(model, self.weights, self.origin.run)
        return model


def read_network(run: Path) -> GivenNetwork:
    """Read the network of a run.

    Raises:
        CheckpointError: the folder is missing, damaged or foreign.
    """
    folder, checkpoint = find_checkpoint(run)
    config = read_config(folder, checkpoint)
    assert config.source is not None
    weights = own_weights(checkpoint)
    origin = Origin(run=str(run), model=config.model, weights=fingerprint(weights))
    return GivenNetwork(origin, config.source, config.tokenizer, weights)


def given_networks(config: RunConfig, runs: Mapping[str, Path], old: RunConfig | None) -> dict[str, GivenNetwork]:
    """Read the networks that teach a run, and the one that it starts from.

    Args:
        config: the run, its source known.
        runs: folders by role.
        old: the run as it began, if it goes on: it needs its teacher, and the bases of low-rank additions, and finds
            them where they were.

    Raises:
        ValueError: a network is missing, is not asked for, belongs to another game or tokenizer, or is not the one that
            the run began with.
        CheckpointError: a folder cannot be read.
    """
    asked = () if config.method is None else config.method.networks
    if unknown := sorted(set(runs) - {MODEL, *asked}):
        raise ValueError(f"a {unknown[0]} is given, and {config.recipe} has no use for one; leave it out")
    needed = [TEACHER, *([MODEL, CRITIC] if config.lora.rank else [])]
    began = {} if old is None else old.networks
    places = {role: Path(began[role].run) for role in needed if role in began} | dict(runs)
    if TEACHER in asked and TEACHER not in places:
        raise ValueError(f"{config.recipe} learns from a teacher; name its run with --teacher")
    if config.lora.rank and MODEL not in places:
        raise ValueError(
            f"lora.rank is {config.lora.rank}, and additions need weights that they are added to; name their run with "
            "--start, or train all weights with --lora.rank 0"
        )
    found: dict[str, GivenNetwork] = {}
    for role, place in places.items():
        try:
            found[role] = read_network(place)
        except CheckpointError as error:
            raise CheckpointError(f"the {role}: {error}; name its place with --{_option(role)}") from error
        _check(role, found[role], config, old)
    return found


def build_networks(
    config: RunConfig, given: Mapping[str, GivenNetwork], tokenizer: Tokenizer
) -> dict[str, WorldModel[Any]]:
    """Build every network of a run: its own from its config, a critic as the teacher's copy unless one was given.

    Raises:
        CheckpointError: the weights to start from do not fit the run's model.
        ValueError: low-rank additions name layers that a network lacks.
    """
    source = config.source
    assert source is not None
    model = config.model.build_on(tokenizer, source.actions, source.frame_size)
    if MODEL in given:
        load_tensors(model, given[MODEL].weights, given[MODEL].origin.run)
    networks = {role: network.build(tokenizer) for role, network in given.items() if role != MODEL}
    asked = () if config.method is None else config.method.networks
    if CRITIC in asked and CRITIC not in networks:
        other = config.networks.get(CRITIC)  # of a run that goes on; its weights are in the checkpoint
        fresh = other and other.model.build_on(tokenizer, source.actions, source.frame_size)
        networks[CRITIC] = fresh or copy.deepcopy(networks[TEACHER])
    if TEACHER in networks:
        freeze(networks[TEACHER])
    networks = {MODEL: model, **networks}
    if config.lora.rank:
        for role in networks.keys() - {TEACHER}:
            config.lora.adapt(networks[role])
    return networks


def _check(role: str, given: GivenNetwork, config: RunConfig, old: RunConfig | None) -> None:
    source = config.source
    assert source is not None
    where = f"the {role} of {given.origin.run}"
    if given.source.actions != source.actions:
        raise ValueError(f"{where} knows other actions than the store; distil on play of the same game")
    if given.source.frame_size != source.frame_size:
        have, want = ("x".join(map(str, size)) for size in (given.source.frame_size, source.frame_size))
        raise ValueError(f"{where} dreams frames of {have} pixels and the store holds {want}; use one size")
    if not given.tokenizer.agrees(config.tokenizer):
        raise ValueError(f"{where} has another tokenizer than {config.recipe}; latents of two tokenizers do not mix")
    began = old.networks.get(role) if old else None
    if began is not None:
        check_origin(replace(began, run=given.origin.run), given.origin.weights, f"the {role}")


def _option(role: str) -> str:
    return "start" if role == MODEL else role
