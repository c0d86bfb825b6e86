"""Tokenising with an autoencoder of Stable Diffusion's size: frames a second and the error of each precision.

The weights are random: speed does not depend on them, and the error only roughly. Frames are the bundled Pong's, drawn
at 256 x 256. One core, unless there is an accelerator.
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

SIZE = 256  # pixels
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


def measure(store: EpisodeStore, config: PretrainedTokenizerConfig, rounds: int) -> None:
    """Print speed and error of one precision."""
    where = device()
    tokenizer = config.build().to(where)
    frames = torch.from_numpy(read_frames(store, 0, 0, config.chunk)).to(where)
    with one_thread():
        tokenizer.encode(frames[:, :1])
        wait(where)
        start = time.perf_counter()
        for _ in range(rounds):
            latents = tokenizer.encode(frames)
        wait(where)
        encoding = time.perf_counter() - start
        start = time.perf_counter()
        tokenizer.decode(latents)
        wait(where)
        decoding = time.perf_counter() - start
    details: Details = {"size": SIZE, "precision": config.precision, "chunk": config.chunk, "device": where.type}
    Measurement("tokenize_frames_per_s", rounds * config.chunk / encoding, "frames/s", details).print()
    Measurement("decode_frames_per_s", config.chunk / decoding, "frames/s", details).print()
    error = precision_error(store, config, "float16", where)
    Measurement("tokenize_relative_error", error, "of the latent, worst of 16 frames", details).print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk", type=int, default=2, help="frames that are encoded at once")
    parser.add_argument("--rounds", type=int, default=2, help="chunks that are encoded")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_autoencoder(root / "kl")
        store = record(RecordingConfig(game="pong", frame_size=SIZE, frames=200, episode_length=100), root / "store")
        for precision in PRECISIONS:
            path = str(root / "kl")
            measure(store, PretrainedTokenizerConfig(path=path, precision=precision, chunk=chosen.chunk), chosen.rounds)


if __name__ == "__main__":
    main()
