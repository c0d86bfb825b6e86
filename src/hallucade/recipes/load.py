"""From a run folder to a world that can be dreamed, and back to a folder that can be shared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hallucade.config import TYPE_KEY
from hallucade.models.base import WorldModel
from hallucade.recipes.additions import MODEL, with_base
from hallucade.recipes.prompts import PROMPTS, load_prompts
from hallucade.recipes.registry import RECIPES as RECIPES  # imports every config class that a run can name
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.sampling import resampled
from hallucade.rollout import World
from hallucade.samplers.choice import SamplingChoice
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointFolder,
    load_tensors,
    read_checkpoint,
    write_checkpoint,
)
from hallucade.training.run_folder import CHECKPOINTS, RUNS

BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_RUN = "pong"  # what is played where no run is named
NO_WORLDS = {  # what runs trained that are no world model's, by their configs, and what is done with it
    "TokenizerRunConfig": "a tokenizer, and no world that could be played; train one on its codes: "
    "hallucade train token_small --tokenizer {run}",
    "PretrainingRunConfig": "a video encoder, and no world that could be played; ask what it knows: "
    "hallucade probe-encoder {run} --store STORE",
    "InverseDynamicsRunConfig": "an inverse dynamics model, and no world that could be played; judge one by it: "
    "hallucade evaluate WORLD_RUN --store STORE --inverse-dynamics {run}",
    "LatentActionsRunConfig": "latent actions, and no world that could be played; train one on what they label: "
    "hallucade label-actions STORE OUT --model {run}",
}
PLAYED = ("tokenizer.", "model.")  # how the names of weights begin


def load(
    run: str | Path | None = None,
    device: torch.device | str | None = None,
    sampling: SamplingChoice | None = None,
) -> World:
    """Rebuild tokenizer, model and sampler from a run folder alone.

    Args:
        run: a run folder, one of its checkpoints, a folder that `export` wrote, or the name of a bundled world; None
            is the bundled Pong.
        device: where to put the weights; by default an accelerator where there is one.
        sampling: how to sample instead of as the run says.

    Raises:
        CheckpointError: the folder is missing, damaged, foreign, of a newer format, or does not fit its own config.
        ValueError: this run cannot be sampled so.
    """
    folder, checkpoint = find_checkpoint(run)
    config = resampled(read_config(folder, checkpoint), sampling or SamplingChoice())
    return build_world(config, checkpoint.weights, folder, device)


def bundled() -> tuple[str, ...]:
    """Name the worlds that come with the package."""
    return tuple(sorted(path.name for path in BUNDLED.iterdir() if path.is_dir()))


def folder_of(run: str | Path | None) -> Path:
    """Return the folder of a run, or of a bundled world: by its name where no such folder is, or Pong's for None."""
    name = BUNDLED_RUN if run is None else str(run)
    return Path(name) if run is not None and (Path(name).exists() or name not in bundled()) else BUNDLED / name


def results_folder(run: str | Path | None) -> Path:
    """Return where what is found out about a run goes: into its folder, or runs/bundled/NAME of a bundled world."""
    folder = folder_of(run)
    return RUNS / BUNDLED.name / folder.name if folder.parent == BUNDLED else folder


def find_checkpoint(run: str | Path | None) -> tuple[Path, Checkpoint]:
    """Return the folder that holds the prompts, and the newest whole checkpoint, weights only.

    Low-rank additions are already in the weights, and the config says nothing of them.

    Raises:
        CheckpointError: it cannot be read, its weights are no numbers, or the base of its additions is gone or another
            one.
    """
    folder, checkpoint = _newest(run)
    _refuse_diverged(folder, checkpoint)
    if not _has_additions(checkpoint):
        return folder, checkpoint
    config = read_config(folder, checkpoint)
    try:
        _, base = find_checkpoint(config.networks[MODEL].run)
        return folder, with_base(checkpoint, config, base)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} holds additions to the weights of another run ({error}); bring that back, and share such runs "
            "by `hallucade export`, which adds them up"
        ) from error


def _refuse_diverged(folder: Path, checkpoint: Checkpoint) -> None:
    for name, weight in played(checkpoint.weights).items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise CheckpointError(
                f"{folder} holds weights that are no finite numbers ({name}, step {checkpoint.step}): its training "
                f"diverged; give an earlier one of its {CHECKPOINTS}, or train again with a lower learning rate"
            )


def _has_additions(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.config.get("lora", {}).get("rank"))


def _newest(run: str | Path | None) -> tuple[Path, Checkpoint]:
    folder = folder_of(run)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} does not exist; give a run folder, as `hallucade train` makes, or the name of a bundled world: "
            f"{', '.join(bundled())}"
        )
    if (folder / CHECKPOINTS).is_dir():
        return folder, CheckpointFolder(folder / CHECKPOINTS).load(weights_only=True)
    checkpoint = read_checkpoint(folder, weights_only=True)
    return (folder.parent.parent if folder.parent.name == CHECKPOINTS else folder), checkpoint


def read_config(folder: Path, checkpoint: Checkpoint) -> RunConfig:
    """Return the run's config out of its checkpoint."""
    other = NO_WORLDS.get(str(checkpoint.config.get(TYPE_KEY)))
    if other is not None:
        raise CheckpointError(f"{folder} trained {other.format(run=folder)}")
    try:
        config = RunConfig.from_json(checkpoint.config)
    except ValueError as error:
        raise CheckpointError(f"the config in {folder} does not fit this version: {error}") from error
    if config.source is None:
        raise CheckpointError(f"the config in {folder} does not say what it was trained on; train it again")
    return config


def build_world(
    config: RunConfig, weights: dict[str, Any], folder: Path, device: torch.device | str | None = None
) -> World:
    """Build a world from a config and the weights of a checkpoint."""
    source = config.source
    assert source is not None
    tokenizer = config.tokenizer.kept_in(folder).build()
    model = config.model.build_on(tokenizer, source.actions, source.frame_size)
    both = nn.ModuleDict({"tokenizer": tokenizer, "model": model})
    load_tensors(both, played(weights), folder)
    both.eval().requires_grad_(False).to(device or default_device())
    return replace(make_world(config, tokenizer, model), prompts=load_prompts(folder))


def played(weights: dict[str, Any]) -> dict[str, Any]:
    """Return those of a checkpoint's weights that playing needs: not what a method trains beside the model."""
    return {name: value for name, value in weights.items() if name.startswith(PLAYED)}


def make_world(config: RunConfig, tokenizer: Tokenizer, model: WorldModel[Any]) -> World:
    """Wrap a tokenizer and a model of a run as a world without prompts."""
    source = config.source
    assert source is not None
    return World(
        tokenizer=tokenizer,
        model=config.sampler.view(model),
        sampler=config.sampler.build(),
        actions=source.actions,
        frame_size=source.frame_size,
        fps=source.fps,
        game=source.game,
    )


def export(run: str | Path, target: Path) -> Path:
    """Write what playing needs of a run into a new folder: newest weights, config, prompts, pretrained tokenizer.

    Raises:
        CheckpointError: the run cannot be read, the target is not empty, or the disk is full.
    """
    folder, checkpoint = find_checkpoint(run)
    if target.exists() and any(target.iterdir()):
        raise CheckpointError(f"{target} is not empty; choose another folder")
    tokenizer = read_config(folder, checkpoint).tokenizer.kept_in(folder)
    shared = Checkpoint(checkpoint.step, played(checkpoint.weights), checkpoint.config, checkpoint.metadata, {}, {})
    write_checkpoint(target, shared)
    tokenizer.keep_in(target)
    if (folder / PROMPTS).is_file():
        shutil.copyfile(folder / PROMPTS, target / PROMPTS)
    return target


def run_facts(run: str | Path | None, sampling: SamplingChoice | None = None) -> dict[str, Any]:
    """Return what a report says of a run, sampled as it says or as chosen: step, recipe, commit, versions, data."""
    folder, checkpoint = find_checkpoint(run)
    config = checkpoint.config
    if sampling is not None:
        config = resampled(read_config(folder, checkpoint), sampling).to_json()
    return {
        "run": str(folder),
        "recipe": config.get("recipe", ""),
        "step": checkpoint.step,
        "parameters": sum(w.numel() for name, w in checkpoint.weights.items() if name.startswith("model.")),
        "model": json.dumps(config.get("model", {})),
        "sampler": json.dumps(config.get("sampler", {})),
        **checkpoint.metadata,
    }


def default_device() -> torch.device:
    """Return this machine's accelerator, or its CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
