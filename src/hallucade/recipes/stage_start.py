"""Stages that start from the weights of a run: what of them fits, and what is left over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hallucade.models.base import WorldModel
from hallucade.recipes.additions import MODEL, check_origin
from hallucade.recipes.networks import GivenNetwork, read_network
from hallucade.recipes.run_config import Origin, RunConfig
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.checkpoint import CheckpointError, listed
from hallucade.training.curriculum import named
from hallucade.training.trainer import Trainer


def role_of(number: int) -> str:
    """Return the name of a stage's start among the networks of a run."""
    return f"stages.{number}"


@dataclass(frozen=True)
class StageStart:
    """What the trainer does before the first step of a stage: begin anew, from the weights of a run."""

    origin: Origin
    model: WorldModel[Any]
    taken: dict[str, Tensor]  # by their names in the model
    left: tuple[str, ...]  # of the run, which the model has no place for
    missing: tuple[str, ...]  # of the model, which stay as they are

    @classmethod
    def read(cls, given: GivenNetwork, tokenizer: Tokenizer, model: WorldModel[Any]) -> "StageStart":
        """Hold the network of a run against the model; tables of positions are interpolated to the model's.

        Raises:
            ValueError: not one tensor fits.
        """
        network = given.build(tokenizer)
        taken = {name: value.detach().clone() for name, value in model.start_from(network).items()}
        if not taken:
            theirs, own = type(network).__name__, type(model).__name__
            raise ValueError(f"no tensor of the {theirs} of {given.origin.run} fits this {own}; name a run of its kind")
        left = tuple(sorted(network.state_dict().keys() - taken.keys()))
        return cls(given.origin, model, taken, left, tuple(sorted(model.state_dict().keys() - taken.keys())))

    def __call__(self, trainer: Trainer) -> None:
        """Put the weights in place; momenta and averages begin anew."""
        state = self.model.state_dict()
        with torch.no_grad():
            for name, value in self.taken.items():
                state[name].copy_(value)
        trainer.learner.begin_anew(MODEL)

    def describe(self) -> str:
        """Return one line: what is taken, and what is left over on either side."""
        return (
            f"from {self.origin.run}: {len(self.taken)} tensors; left over there: {listed(self.left)}; "
            f"as they are here: {listed(self.missing)}"
        )


def stage_starts(
    config: RunConfig, tokenizer: Tokenizer, model: WorldModel[Any], begun: int | None = None
) -> dict[int, StageStart]:
    """Read what the stages start from, by their numbers.

    Args:
        config: the run, its source known; of one that goes on, with the networks that it began with.
        tokenizer: of all of them.
        model: what starts.
        begun: completed steps of a run that goes on; what its stages have started from already is not read again.

    Raises:
        ValueError: a run is of another game or tokenizer, or nothing of it fits; names the stage.
        CheckpointError: a run cannot be read, or has other weights than when this one began.
    """
    found: dict[int, StageStart] = {}
    first = 0
    for number, stage in enumerate(config.stages):
        if stage.init_from is not None and (begun is None or first >= begun):
            try:
                given = read_network(Path(stage.init_from))
                _check(given, config, config.networks.get(role_of(number)) if begun is not None else None)
                found[number] = StageStart.read(given, tokenizer, model)
            except CheckpointError:
                raise
            except ValueError as error:
                raise named(number, stage, error) from error
        first += stage.steps
    return found


def _check(given: GivenNetwork, config: RunConfig, began: Origin | None) -> None:
    assert config.source is not None
    if (difference := config.source.actions.difference(given.source.actions)) is not None:
        raise ValueError(f"{given.origin.run} was trained on another game: {difference}")
    if not given.tokenizer.agrees(config.tokenizer):
        raise ValueError(
            f"{given.origin.run} has another tokenizer than {config.recipe}; latents of two tokenizers do not mix"
        )
    if began is not None:
        check_origin(began, given.origin.weights, "the model")
