"""Runs that train low-rank additions: their checkpoints hold these alone, and the base lies with the run it is from."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hallucade.recipes.run_config import Origin, RunConfig
from hallucade.training.checkpoint import Checkpoint, CheckpointError

MODEL = "model"
PREFIX = f"{MODEL}."  # of a run's own network among the weights of its checkpoint


def own_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights of a run's own network under the network's own names."""
    return {name.removeprefix(PREFIX): w for name, w in checkpoint.weights.items() if name.startswith(PREFIX)}


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return sixteen hex digits that change with any weight."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def with_base(checkpoint: Checkpoint, config: RunConfig, base: Checkpoint) -> Checkpoint:
    """Return the checkpoint of a run with its additions in the weights that they belong to, and no word of them left.

    Raises:
        CheckpointError: `base` is not what the run began with.
    """
    origin, weights = config.networks[MODEL], own_weights(base)
    check_origin(origin, fingerprint(weights), "the model")
    merged = {f"{PREFIX}{name}": w for name, w in config.lora.merged(weights, own_weights(checkpoint)).items()}
    plain = replace(config, lora=replace(config.lora, rank=0))
    others = {name: w for name, w in checkpoint.weights.items() if not name.startswith(PREFIX)}
    return replace(checkpoint, weights={**others, **merged}, config=plain.to_json())


def check_origin(origin: Origin, found: str, what: str) -> None:
    """Refuse other weights than those that a run began with.

    Raises:
        CheckpointError: names both fingerprints.
    """
    if origin.weights != found:
        raise CheckpointError(
            f"{what} of {origin.run} has the weights {found} and the run began with {origin.weights}; "
            "give the same network, or begin another run"
        )
