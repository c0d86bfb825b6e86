"""Public checkpoints as runs of ours: converted, checked against the public network's own outputs, played.

Each family of public models says how its sizes are read, how its weights become ours, how a parity fixture is run
again, and what run its weights came from.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from hallucade.actions import ActionSpace, Axis
from hallucade.data.store import EpisodeStore
from hallucade.games.pong import PONG_ACTIONS
from hallucade.models import nanowm, toy_wm
from hallucade.models.diffusion_transformer import DiffusionTransformer
from hallucade.models.public_weights import PublicModel, strip_prefix
from hallucade.models.weights_file import PublicWeightsError, WeightsFile, read_weights
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.pong import pong_toy_wm
from hallucade.recipes.prompts import prompt_of, save_prompts, validation_episodes
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.rollout import Prompt
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.tokenizers.base import TokenizerConfig
from hallucade.tokenizers.pixel import PixelTokenizerConfig
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.checkpoint import Checkpoint, write_checkpoint
from hallucade.training.curriculum import Stage
from hallucade.training.trainer_config import TrainerConfig

FamilyName = Literal["nanowm", "toywm"]
TOLERANCE = 1e-4  # relative error of a conversion that is right
PROMPTS = 16  # cut from a store
PROMPT_FRAMES = 8
TOY_WM_BACKGROUND = (6, 24, 24)  # which toy-wm's training data shows as black
TOY_WM_FPS = 30.0
NANOWM_FPS = 10.0  # the weights do not tell
NANOWM_PIXELS = 8  # a side, for each latent of the public autoencoder
NANOWM_HISTORY = 0.02  # noise level of what NanoWM has seen, when it dreams


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What weights may not tell of themselves.

    Raises:
        ValueError: a size without rows or columns.
    """

    prefix: str | None = None  # before the names of the network that is meant, where a file holds several
    size: tuple[int, int] | None = None  # rows and columns of a frame or latent
    injection: nanowm.Injection | None = None  # where actions enter
    tokenizer: PretrainedTokenizerConfig | None = None  # what makes and shows the latents

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size is {self.size}; give rows and columns, 1 or more of each")


class Family(ABC):
    """One kind of public model."""

    anchor: str  # a tensor that tells it

    @abstractmethod
    def convert(self, public: Mapping[str, Tensor], config: Mapping[str, Any], hints: Hints) -> PublicModel:
        """Fill our network; `config` holds public sizes, and is empty where the weights have to tell."""

    @abstractmethod
    def replay(self, model: DiffusionTransformer, fixture: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield our outputs beside the fixture's."""

    @abstractmethod
    def run(self, model: PublicModel, tokenizer: PretrainedTokenizerConfig | None) -> RunConfig:
        """Return the run that such weights come from, with what is known of its data as source."""


class NanoWM(Family):
    """NanoWM."""

    anchor = nanowm.ANCHOR

    def convert(self, public: Mapping[str, Tensor], config: Mapping[str, Any], hints: Hints) -> PublicModel:
        if config:
            return nanowm.convert_nanowm(public, nanowm.NanoWMSizes.from_json(config))
        return nanowm.convert_nanowm(public, nanowm.measure_nanowm(public, hints.size, hints.injection))

    def replay(self, model: DiffusionTransformer, fixture: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        inputs = (fixture[f"input.{name}"] for name in ("latents", "timesteps", "actions"))
        yield nanowm.nanowm_output(model, *inputs), fixture["output"]

    def run(self, model: PublicModel, tokenizer: PretrainedTokenizerConfig | None) -> RunConfig:
        _, rows, columns = model.latent_shape
        axes = tuple(Axis(name=f"action_{i}", low=-1.0, high=1.0) for i in range(model.action_features))
        pixels = model.latent_shape[0] == 3
        if pixels and tokenizer is not None:
            raise PublicWeightsError("this NanoWM dreams pixels; leave the tokenizer out")
        scale = 1 if pixels else NANOWM_PIXELS
        frames = model.config.window
        return RunConfig(
            recipe="nanowm",
            tokenizer=PixelTokenizerConfig() if pixels else _autoencoder(model, tokenizer),
            model=model.config,
            objective=DiffusionForcingConfig(clean_share=0.0, context_noise=0.0),
            sampler=GuidedSamplerConfig(sampler=DDIMSamplerConfig(), history_level=NANOWM_HISTORY),
            stages=(Stage(steps=1, frames=frames, batch=8),),
            trainer=TrainerConfig(steps=1),
            prompt_frames=min(PROMPT_FRAMES, frames),
            source=_source(ActionSpace(axes=axes), (rows * scale, columns * scale), NANOWM_FPS),
        )


def _autoencoder(model: PublicModel, tokenizer: PretrainedTokenizerConfig | None) -> TokenizerConfig:
    channels, rows, columns = model.latent_shape
    if tokenizer is not None:
        made = tokenizer.latent_shape(rows * NANOWM_PIXELS, columns * NANOWM_PIXELS)
        if made != tuple(model.latent_shape):
            have, want = ("x".join(map(str, shape)) for shape in (made, model.latent_shape))
            raise PublicWeightsError(
                f"{tokenizer.path} makes latents of {have} and this NanoWM dreams {want}; give the autoencoder that "
                "it was trained with (and --size, if its latents are not square)"
            )
        return tokenizer.pinned()
    return AbsentTokenizerConfig(made_by="Stable Diffusion's autoencoder", latent_shape=(channels, rows, columns))


class ToyWM(Family):
    """toy-wm; its Pong is played with our keys."""

    anchor = toy_wm.ANCHOR

    def convert(self, public: Mapping[str, Tensor], config: Mapping[str, Any], hints: Hints) -> PublicModel:
        if config:
            return toy_wm.convert_toy_wm(public, toy_wm.ToyWMSizes.from_json(config))
        size = hints.size or (toy_wm.ToyWMSizes.height, toy_wm.ToyWMSizes.width)
        return toy_wm.convert_toy_wm(public, toy_wm.measure_toy_wm(public, size))

    def replay(self, model: DiffusionTransformer, fixture: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        inputs = (fixture[f"input.{name}"] for name in ("frames", "actions", "levels"))
        yield toy_wm.toy_wm_output(model, *inputs), fixture["output"]
        if "stream.frames" in fixture:
            streamed = toy_wm.toy_wm_stream(model, fixture["stream.frames"], fixture["stream.actions"])
            yield streamed, fixture["stream.output"]

    def run(self, model: PublicModel, tokenizer: PretrainedTokenizerConfig | None) -> RunConfig:
        if tokenizer is not None:
            raise PublicWeightsError("toy-wm dreams pixels; leave the tokenizer out")
        if model.action_features != PONG_ACTIONS.features:
            raise PublicWeightsError(
                f"this model knows {model.action_features} actions and Pong has {PONG_ACTIONS.features}; "
                "only toy-wm's Pong can be imported"
            )
        _, height, width = model.latent_shape
        return replace(
            pong_toy_wm(),
            recipe="toy_wm",
            recording=None,
            tokenizer=PixelTokenizerConfig(background=TOY_WM_BACKGROUND),
            model=model.config,
            prompt_frames=min(PROMPT_FRAMES, model.config.window),
            source=_source(PONG_ACTIONS, (height, width), TOY_WM_FPS),
        )


FAMILIES: dict[FamilyName, Family] = {"nanowm": NanoWM(), "toywm": ToyWM()}


def import_checkpoint(
    family: FamilyName, path: Path, out: Path, *, store: EpisodeStore | None = None, hints: Hints | None = None
) -> PublicModel:
    """Convert public weights into a run folder of ours.

    Args:
        family: what the weights are of.
        path: safetensors, or what ``torch.save`` wrote: bare weights, or a training's checkpoint.
        out: a new folder, as `hallucade export` writes.
        store: play of the same game: its stretches become prompts; without, dreams start from black frames.
        hints: what the weights do not tell.

    Raises:
        PublicWeightsError: the file cannot be read, or its weights are another network's.
        ValueError: the store is of another game.
        CheckpointError: the folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty; choose another folder")
    kind = FAMILIES[family]
    hints = hints or Hints()
    model = _read(kind, read_weights(path), hints)
    run = kind.run(model, hints.tokenizer)
    prompts = _black(run) if store is None else _prompts(run, store)
    metadata = {"imported": family, "file": path.name, "sha256": _sha256(path)}
    weights = {f"model.{name}": value for name, value in model.weights.items()}
    write_checkpoint(out, Checkpoint(0, weights, run.to_json(), metadata))
    run.tokenizer.keep_in(out)
    save_prompts(out, prompts)
    return model


def relative_error(family: FamilyName, path: Path) -> float:
    """Return how far our network is from the public one on a fixture: the largest norm of a difference over its norm.

    A fixture is a safetensors file with ``weights.*``, ``input.*``, ``output`` and public sizes as JSON in its
    metadata.

    Raises:
        PublicWeightsError: the file is no such fixture, or its weights are another network's.
    """
    kind, file = FAMILIES[family], read_weights(path)
    model = _read(kind, file, Hints(prefix="weights.")).build()
    try:
        errors = [_relative(ours, theirs) for ours, theirs in kind.replay(model, file.tensors)]
    except KeyError as error:
        raise PublicWeightsError(f"{path} is no parity fixture: {error} is missing") from error
    return torch.tensor(errors).max().item()  # NaN, if any is


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).square().sum() / theirs.square().sum()).sqrt().item()


def _read(kind: Family, file: WeightsFile, hints: Hints) -> PublicModel:
    public = strip_prefix(file.tensors, kind.anchor, hints.prefix)
    return kind.convert(public, file.config, hints)


def _prompts(run: RunConfig, store: EpisodeStore) -> list[Prompt]:
    source = cast("Source", run.source)
    if store.frame_size != source.frame_size:
        have, want = ("x".join(map(str, size)) for size in (store.frame_size, source.frame_size))
        raise ValueError(
            f"frames in {store.path} are {have} pixels, this model dreams {want}; import them at that size"
        )
    if (difference := source.actions.difference(store.actions)) is not None:
        raise ValueError(f"{store.path} is play of another game: {difference}")
    episodes = validation_episodes(store, PROMPTS, run.prompt_frames)
    return [prompt_of(episode, run.prompt_frames) for episode in episodes]


def _black(run: RunConfig) -> list[Prompt]:
    source = cast("Source", run.source)
    colour = run.tokenizer.background if isinstance(run.tokenizer, PixelTokenizerConfig) else None
    frames = np.full((run.prompt_frames, *source.frame_size, 3), colour or (0, 0, 0), np.uint8)
    return [Prompt(frames, np.tile(source.actions.idle, (run.prompt_frames - 1, 1)))]


def _source(actions: ActionSpace, frame_size: tuple[int, int], fps: float) -> Source:
    return Source(actions=actions, frame_size=frame_size, fps=fps, game=None, fingerprint="unknown")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
