"""Opening the run of a part: its config and the weights of its network."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from hallucade.recipes.part_run import is_run_of
from hallucade.recipes.run_config import Experiment, Source
from hallucade.training.checkpoint import CheckpointError, CheckpointFolder, load_tensors
from hallucade.training.run_folder import CHECKPOINTS

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)
AnyModule = TypeVar("AnyModule", bound=nn.Module)
NETWORK = "network."  # how the names of a part's weights begin


def open_part(
    run: str | Path, kind: type[AnyExperiment], what: str, command: str
) -> tuple[AnyExperiment, Source, dict[str, Tensor]]:
    """Return the config of a run, what it was trained on, and its network's newest weights.

    Args:
        run: the folder.
        kind: of experiment that it has to be.
        what: that is, in words, with its article.
        command: that makes one.

    Raises:
        CheckpointError: the folder holds no such run, or a damaged one.
    """
    folder = Path(run)
    if not is_run_of(kind, folder):
        raise CheckpointError(f"{folder} is no run of {what}; train one with `{command}`")
    checkpoint = CheckpointFolder(folder / CHECKPOINTS).load(weights_only=True)
    try:
        config = kind.from_json(checkpoint.config)
    except ValueError as error:
        raise CheckpointError(f"the config in {folder} does not fit this version: {error}") from error
    assert config.source is not None, "training fills it in"
    weights = {name: value for name, value in checkpoint.weights.items() if name.startswith(NETWORK)}
    return config, config.source, weights


def with_weights(network: AnyModule, weights: dict[str, Tensor], folder: Path, device: torch.device | str) -> AnyModule:
    """Put a part's weights into its network, frozen.

    Raises:
        CheckpointError: they do not fit it.
    """
    load_tensors(nn.ModuleDict({NETWORK.rstrip("."): network}), weights, folder)
    return network.eval().requires_grad_(False).to(device)
