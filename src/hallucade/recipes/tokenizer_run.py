"""The training of a tokenizer on recorded play, and the folder that world models then take it from."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.tokenizer_training import ReconstructionConfig, TokenizerTraining
from hallucade.objectives.base import PictureDistance
from hallucade.recipes.part_run import is_run_of, train_part
from hallucade.recipes.picture_distance import lpips_distance
from hallucade.recipes.prompts import validation_episodes
from hallucade.recipes.run_config import Experiment
from hallucade.recipes.samples import SAMPLES
from hallucade.tokenizers.learned import LearnedTokenizer, LearnedTokenizerConfig
from hallucade.tokenizers.learned_folder import ABOUT, write_tokenizer
from hallucade.tokenizers.pretrained import KEPT
from hallucade.training.trainer import Callback, Trainer, TrainingResult

SHOWN = 8  # pictures of a sample


@dataclass(frozen=True, kw_only=True)
class TokenizerRunConfig(Experiment):
    """The training of a tokenizer.

    Raises:
        ValueError: averages are asked for: a codebook follows the weights as they are.
    """

    tokenizer: LearnedTokenizerConfig = field(default_factory=LearnedTokenizerConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trainer.ema is not None:
            raise ValueError("a tokenizer's codebook follows its weights and not their averages; use trainer.ema none")


def is_tokenizer_run(folder: Path) -> bool:
    """Return whether a folder is a tokenizer's: its run, or what a run keeps of it."""
    if (folder / ABOUT).is_file():
        return True
    return is_run_of(TokenizerRunConfig, folder)


def train_tokenizer(
    config: TokenizerRunConfig,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train a tokenizer on the frames of `store`, into ``run_folder/tokenizer`` and its checkpoints.

    Args:
        config: the recipe, with the user's changes.
        store: recorded play, of one store or of several.
        run_folder: new or empty, unless `resume`.
        resume: go on from the newest whole checkpoint.
        progress: show a bar, or lines where there is no terminal.

    Raises:
        ValueError: the folder is not empty, the resumed run was another, frames do not suit the tokenizer, or weights
            of a loss are missing.
        CheckpointError: a checkpoint cannot be written or read.
        TrainingDivergedError: losses stayed non-finite.
    """

    def prepare(config: TokenizerRunConfig) -> tuple[TokenizerTraining, list[Callback]]:
        tokenizer = config.tokenizer.build()
        tokenizer.latent_shape(*store.frame_size)
        method = TokenizerTraining(tokenizer, config.reconstruction, _lpips(config.reconstruction, store.frame_size))
        pictures = _held_out_pictures(store, SHOWN)
        return method, [
            SamplePictures(tokenizer, pictures, run_folder / SAMPLES, config.sample_every),
            KeepTrained(config, tokenizer, pictures[0], run_folder),
        ]

    return train_part(config, store, run_folder, prepare, resume=resume, progress=progress)


class SamplePictures:
    """A trainer callback: write held-out pictures above what the tokenizer makes of them, ``samples/step_N.png``."""

    def __init__(
        self, tokenizer: LearnedTokenizer, pictures: UInt8[Tensor, "n h w 3"], folder: Path, every: int
    ) -> None:
        self.every = every
        self._tokenizer, self._pictures, self._folder = tokenizer, pictures, folder

    def __call__(self, step: int, trainer: Trainer) -> None:
        with trainer.ema_weights():  # evaluation mode
            shown = reconstructed(self._tokenizer, self._pictures)
        self._folder.mkdir(exist_ok=True)
        rows = [np.concatenate(list(each.numpy()), 1) for each in (self._pictures, shown)]
        Image.fromarray(np.concatenate(rows)).save(self._folder / f"step_{step:08d}.png")


class KeepTrained:
    """A trainer callback: write the tokenizer as it is now into ``RUN/tokenizer``."""

    def __init__(
        self,
        config: TokenizerRunConfig,
        tokenizer: LearnedTokenizer,
        picture: UInt8[Tensor, "h w 3"],
        run_folder: Path,
    ) -> None:
        self.every = config.trainer.checkpoint_every
        self._config, self._tokenizer, self._picture = config, tokenizer, picture
        self._folder = run_folder / KEPT

    def __call__(self, step: int, trainer: Trainer) -> None:
        source = self._config.source
        assert source is not None
        with trainer.ema_weights():  # evaluation mode
            write_tokenizer(
                self._folder,
                self._tokenizer,
                self._picture,
                step=step,
                recipe=self._config.recipe,
                data=source.fingerprint,
            )


@torch.no_grad()
def reconstructed(tokenizer: LearnedTokenizer, pictures: UInt8[Tensor, "n h w 3"]) -> UInt8[Tensor, "n h w 3"]:
    """Return what a tokenizer makes of pictures, on the CPU."""
    device = next(tokenizer.parameters()).device
    return tokenizer.decode(tokenizer.encode(pictures[:, None].to(device)))[:, 0].cpu()


def _lpips(config: ReconstructionConfig, frame_size: tuple[int, int]) -> PictureDistance | None:
    return lpips_distance(config.lpips_backbone, config.lpips_weights, frame_size) if config.lpips else None


def _held_out_pictures(store: EpisodeStore | Mixture, count: int) -> UInt8[Tensor, "n h w 3"]:
    """Return the first frames of stretches of validation episodes."""
    part = store if isinstance(store, EpisodeStore) else store.stores[0]
    return torch.from_numpy(np.stack([np.asarray(e.frames)[0] for e in validation_episodes(part, count, 2)]))
