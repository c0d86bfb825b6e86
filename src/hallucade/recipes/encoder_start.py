"""World models that start from a pre-trained encoder: what of it they have a place for, and what is left over."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from hallucade.models.base import WorldModel
from hallucade.models.encoder_folder import ABOUT, KEPT, EncoderFolder
from hallucade.models.frame_transformer import FrameTransformer
from hallucade.nn.transformer_block import TransformerBlock
from hallucade.recipes.additions import MODEL
from hallucade.recipes.run_config import RunConfig
from hallucade.training.checkpoint import listed


@dataclass(frozen=True)
class EncoderStart:
    """What a model took over."""

    fingerprint: str  # of the encoder
    taken: tuple[str, ...]  # tensors of the model that are now the encoder's
    left: tuple[str, ...]  # tensors of the encoder that the model has no place for
    fresh: tuple[str, ...]  # tensors of the model that stay as they were

    def describe(self) -> str:
        """Return one line for whoever waits."""
        return (
            f"{len(self.taken)} tensors from the encoder {self.fingerprint}; left over there: {listed(self.left)}; "
            f"fresh here: {listed(self.fresh)}"
        )


def given_encoder(config: RunConfig, networks: Mapping[str, Path], began: RunConfig | None) -> EncoderFolder | None:
    """Return the encoder that a model is to start from, if that is what the run of the model holds.

    Args:
        config: what is trained.
        networks: runs by role.
        began: the run as it began, if it goes on.

    Raises:
        ValueError: the recipe is taught by other networks, or trains additions to a whole model's weights, or the run
            began with another encoder.
        EncoderError: the encoder cannot be read.
    """
    run = networks.get(MODEL)
    if run is None or not any((place / ABOUT).is_file() for place in (run, run / KEPT)):
        return None
    folder = EncoderFolder.open(run)
    if config.method is not None or config.lora.rank:
        raise ValueError(
            f"{run} is an encoder, and {config.recipe} goes on from a whole world model; train one that starts from "
            "the encoder, and name that"
        )
    if began is not None and began.encoder != folder.facts.fingerprint:
        raise ValueError(
            f"{run} is the encoder {folder.facts.fingerprint} and the run began with {began.encoder or 'none'}; leave "
            "out --start to go on"
        )
    return folder


def encoder_named(encoder: EncoderFolder | None, began: RunConfig | None) -> str | None:
    """Return what the config of a run says of its encoder."""
    if began is not None:
        return began.encoder
    return None if encoder is None else encoder.facts.fingerprint


def start_from_encoder(model: WorldModel[Any], folder: EncoderFolder) -> EncoderStart:
    """Give a transformer the encoder's attention and feed-forward layers, and its patches where these are alike.

    A layer is taken over where its counterpart attends over the same sequence. What tells a world model of actions and
    noise, and what it draws with, stays as it is.

    Raises:
        ValueError: the model is no such transformer, or not one tensor fits.
        EncoderError: the encoder is damaged.
    """
    weights, facts = folder.weights(), folder.facts
    if not isinstance(model, FrameTransformer):
        raise ValueError(
            f"{folder.path} holds a transformer, and a {type(model).__name__} has no place for its layers; start a "
            "recipe from it that trains a transformer"
        )
    state, axes = model.state_dict(), _axes(model)
    encoder = facts.encoder.build(facts.frame_size)
    alike = [ours == block.attention.axis for ours, block in zip(axes, encoder.grid.layers, strict=False)]

    def counterpart(name: str) -> Tensor | None:
        own = state.get(name)
        number = int(name.split(".")[1]) if name.startswith("blocks.") else None
        return None if own is None or (number is not None and not alike[number]) else own

    taken, left = list[str](), list[str]()
    with torch.no_grad():
        for theirs, value in weights.items():
            name = theirs.removeprefix("grid.")
            own = counterpart(name)
            if own is not None and own.shape == value.shape:
                own.copy_(value)
                taken.append(name)
            else:
                left.append(theirs)
    if not any(name.startswith("blocks.") for name in taken):
        config = facts.encoder
        raise ValueError(
            f"no layer of the encoder in {folder.path} fits this {type(model).__name__}: it has width {config.width}, "
            f"{config.heads} heads, layout {config.layout!r}, mlp {config.mlp!r} of ratio {config.mlp_ratio:g}; "
            "set the model's to these, as in --model.width"
        )
    return EncoderStart(facts.fingerprint, tuple(taken), tuple(left), tuple(sorted(state.keys() - set(taken))))


def _axes(model: FrameTransformer) -> list[str]:
    return [block.axis for block in cast("Iterable[TransformerBlock]", model.blocks)]
