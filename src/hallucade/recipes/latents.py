"""Training on latents that are there already, and the autoencoder that a run is then played with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hallucade.data.latent_cache import LatentCache
from hallucade.recipes.run_config import RunConfig
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.tokenizers.base import TokenizerConfig, TokenizerError
from hallucade.tokenizers.pixel import PixelTokenizerConfig
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.trainer import Trainer


def open_caches(text: str | None) -> tuple[LatentCache, ...]:
    """Open latent caches, as in ``a_latents,b_latents``; none if there is no text.

    Raises:
        StoreError: a cache cannot be read.
        ValueError: a cache has no name.
    """
    if text is None:
        return ()
    names = [text] if Path(text).is_dir() else [name.strip() for name in text.split(",")]
    if not text or not all(names):  # a shell's variable that is not set would train on frames, unseen
        raise ValueError(
            f"--latents is {text!r}; name a cache for each store, as in a_latents,b_latents, or leave it out"
        )
    return tuple(map(LatentCache, names))


def tokenizer_of(cache: LatentCache) -> PretrainedTokenizerConfig:
    """Return the tokenizer that made a cache, read from the copy in it."""
    made_by = PretrainedTokenizerConfig.from_json(cache.manifest.tokenizer)
    return made_by.kept_in(cache.path)


def on_latents(config: RunConfig, caches: Sequence[LatentCache]) -> RunConfig:
    """Return the run with the tokenizer of its caches, whose copy of the autoencoder it then reads.

    A run that would work on pixels, or whose autoencoder is not at hand, takes it over; one that names an autoencoder
    has to name this one.

    Raises:
        StoreError: the run has another autoencoder, or a cache codes that its tokenizer has not.
        ValueError: the run's tokenizer is of another kind.
    """
    if not caches:
        return config
    wanted, made_by = config.tokenizer, tokenizer_of(caches[0])
    for cache in caches:
        cache.check_codes(made_by.codes)
    if isinstance(wanted, PixelTokenizerConfig | AbsentTokenizerConfig):
        return replace(config, tokenizer=made_by)
    if not isinstance(wanted, PretrainedTokenizerConfig):
        kind = type(wanted).__name__.removesuffix("Config")
        raise ValueError(f"{caches[0].path} holds latents of an autoencoder and recipe {config.recipe!r} has a {kind}")
    if wanted.fingerprint is not None or wanted.path != caches[0].manifest.tokenizer["path"]:
        caches[0].check(str(wanted.pinned().fingerprint))
    return replace(config, tokenizer=replace(made_by, precision=wanted.precision, chunk=wanted.chunk))


def with_given_weights(config: RunConfig, run_folder: Path) -> RunConfig:
    """Return the run whose tokenizer accepts nothing but the weights that it has now.

    A run that goes on takes its own copy where the original is gone.

    Raises:
        TokenizerError: there are no such weights.
    """
    try:
        return replace(config, tokenizer=config.tokenizer.pinned())
    except TokenizerError:
        kept = config.tokenizer.kept_in(run_folder)
        if kept is config.tokenizer:
            raise
        return replace(config, tokenizer=kept.pinned())


class KeepTokenizer:
    """A trainer callback: copy a given tokenizer into the run folder, once, after the trainer has claimed it."""

    every = 1
    reads_weights = False

    def __init__(self, run_folder: Path, tokenizer: TokenizerConfig) -> None:
        self._run_folder, self._tokenizer = run_folder, tokenizer

    def __call__(self, step: int, trainer: Trainer) -> None:
        self._tokenizer.keep_in(self._run_folder)
