"""Command: tokenize."""

import shlex
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from hallucade.cli.data import command_line
from hallucade.data.executors import executor_of
from hallucade.data.latent_cache import LatentType
from hallucade.data.store import EpisodeStore
from hallucade.recipes.console import counting, say
from hallucade.recipes.load import default_device
from hallucade.tokenizers.pretrained import Precision, PretrainedTokenizerConfig
from hallucade.tokenizers.tokenize import TOLERANCE
from hallucade.tokenizers.tokenize import tokenize as tokenize_store


def tokenize(
    store: Positional[Path],
    out: Positional[Path],
    /,
    tokenizer: str,
    precision: Precision = "fp32",
    dtype: LatentType | None = None,
    chunk: int = 4,
    device: str | None = None,
    workers: int | None = None,
    tolerance: float = TOLERANCE,
    resume: bool = False,
) -> None:
    """Encode the frames of a store once, so that training never has to.

    Args:
        store: a store's folder.
        out: the cache's folder.
        tokenizer: a run that trained one; or a pretrained autoencoder: a folder with config.json and safetensors, or
            owner/name of the hub.
        precision: that the autoencoder computes in; checked against fp32 on some frames.
        dtype: of the latents on disk; by default uint16 for codes, and float16.
        chunk: frames that are encoded at once; more need more memory.
        device: that encodes; by default an accelerator where there is one.
        workers: processes that encode; by default one a core, and one where there is an accelerator.
        tolerance: largest relative error against fp32 of a frame's latent.
        resume: continue a cache that was interrupted.
    """
    opened, where = EpisodeStore(store), device or str(default_device())
    if workers is None and where != "cpu":
        workers = 1
    with counting("encoding frames") as progress:
        cache = tokenize_store(
            opened,
            out,
            PretrainedTokenizerConfig(path=tokenizer, precision=precision, chunk=chunk),
            dtype=dtype,
            device=where,
            executor=executor_of(workers, len(opened)),
            tolerance=tolerance,
            resume=resume,
            command=command_line(),
            progress=progress,
        )
    shape = "x".join(map(str, cache.latent_shape))
    say(f"{cache.total_frames:,} latents of {shape} in {np.dtype(cache.column.dtype).name}, {_size(cache.path)}: {out}")
    what = "relative error against float32" if cache.manifest.codes is None else "share of codes other than float32's"
    say(f"{what}: {cache.manifest.relative_error:.1e}, of the worst frame of a sample")
    say(f"next: hallucade train RECIPE --store {shlex.quote(str(store))} --latents {shlex.quote(str(out))}")


def _size(cache: Path) -> str:
    return f"{sum(file.stat().st_size for file in cache.glob('shards/*/*')) / 1e6:,.1f} MB"
