"""Tokenising with an autoencoder of Stable Diffusion's size: frames a second and the error of each precision.

The weights are random: speed does not depend on them, and the error only roughly. Frames are the bundled Pong's. One
core, whose seconds are counted and not the clock's, so that a busy machine tells the same; or an accelerator.
"""

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import Details, Measurement, device, wait
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.tokenizers.pretrained import Precision, PretrainedTokenizerConfig
from hallucade.tokenizers.tokenize import one_thread, precision_error, read_frames

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
LEVELS = (128, 256, 512, 512)


def save_autoencoder(path: Path) -> None:
    """Write an AutoencoderKL with the sizes of Stable Diffusion's and random weights."""
    diffusers: Any = import_module("diffusers")
    torch.manual_seed(0)
    diffusers.AutoencoderKL(
        block_out_channels=LEVELS,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * len(LEVELS),
        up_block_types=("UpDecoderBlock2D",) * len(LEVELS),
    ).save_pretrained(path)


def measure(store: EpisodeStore, config: PretrainedTokenizerConfig, rounds: int, sample: int) -> None:
    """Print speed and error of one precision."""
    where = device()
    now = time.process_time if where.type == "cpu" else time.perf_counter
    tokenizer = config.build().to(where)
    frames = torch.from_numpy(read_frames(store, 0, 0, config.chunk)).to(where)
    with one_thread():
        latents = tokenizer.encode(frames)
        tokenizer.decode(latents)
        wait(where)
        start = now()
        for _ in range(rounds):
            latents = tokenizer.encode(frames)
        wait(where)
        encoding = now() - start
        start = now()
        tokenizer.decode(latents)
        wait(where)
        decoding = now() - start
    details: Details = {
        "size": store.frame_size[0],
        "precision": config.precision,
        "chunk": config.chunk,
        "device": where.type,
    }
    Measurement("tokenize_frames_per_s", rounds * config.chunk / encoding, "frames/s", details).print()
    Measurement("decode_frames_per_s", config.chunk / decoding, "frames/s", details).print()
    error = precision_error(store, config, "float16", where, sample)
    Measurement("tokenize_relative_error", error, "of the latent", {**details, "worst_of": sample}).print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--chunk", type=int, default=2, help="frames that are encoded at once")
    parser.add_argument("--rounds", type=int, default=2, help="chunks that are encoded")
    parser.add_argument("--sample", type=int, default=4, help="frames whose error is measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, play = Path(folder), RecordingConfig(game="pong", frame_size=asked.size, frames=100, episode_length=50)
        save_autoencoder(path / "kl")
        store = record(play, path / "store")
        for precision in PRECISIONS:
            config = PretrainedTokenizerConfig(path=str(path / "kl"), precision=precision, chunk=asked.chunk)
            measure(store, config, asked.rounds, asked.sample)


if __name__ == "__main__":
    main()
