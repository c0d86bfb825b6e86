"""What the offline Fréchet distance and the kernel distance say of pictures whose order is known.

Real play is compared with other real play (the floor), with itself blurred or noisy, and with the dreams of the bundled
Pong under the same prompts and actions. Needs ``pip install 'hallucade[perceptual]'``.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.measurement import Measurement
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.metrics.frechet import frechet_distance
from hallucade.evaluation.metrics.kernel_distance import paired_distance, unpaired_distance
from hallucade.evaluation.metrics.lite0 import Lite0
from hallucade.evaluation.metrics.moments import Moments
from hallucade.games.bots import make_bot
from hallucade.games.registry import make_vector_game
from hallucade.recipes.load import load
from hallucade.rollout import Prompt

CLIPS, FRAMES, PROMPT = 128, 16, 8
LATE = 48  # frames dreamed before the late ones
BLURS = (0.5, 1.0, 2.0)  # pixels of standard deviation
NOISE = 2.0  # grey levels of standard deviation
SIZES = {"pong": 24, "maze": 64}


@dataclass(frozen=True)
class Play:
    """Clips `b t h w 3`, each of its own game, and the actions between their frames."""

    frames: np.ndarray
    rows: np.ndarray


def play(name: str, seed: int, length: int) -> Play:
    """Play `CLIPS` games for a while, and cut a clip out of each."""
    game = make_vector_game(name, SIZES[name])
    game.reset(np.arange(seed * CLIPS, (seed + 1) * CLIPS) + 10**9)  # recordings stay far below
    bot = make_bot("mixture", game.actions, CLIPS, seed)
    frames, rows = list[np.ndarray](), list[np.ndarray]()
    for _ in range(100 + length):
        frames.append(game.frames().copy())
        rows.append(bot(game.get_state()))
        game.act(rows[-1])
    return Play(np.stack(frames[100:], 1), np.stack(rows[100:-1], 1))


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    soft = frames.copy()
    for picture in soft.reshape(-1, *frames.shape[2:]):
        cv2.GaussianBlur(picture, (0, 0), sigma, dst=picture)
    return soft


def report(game: str, what: str, real: Tensor, other: Tensor, paired: bool) -> None:
    """Print both distances of two sets of features `b t d`."""
    samples = real.shape[0] * real.shape[1]
    details: dict[str, float | int | str | bool] = {"game": game, "real against": what, "clips": len(real)}
    details |= {"samples": samples, "features": real.shape[2], "full rank": samples > real.shape[2]}
    distance = frechet_distance(Moments.of(real.flatten(0, 1)), Moments.of(other.flatten(0, 1)))
    Measurement("frechet_lite0", distance, "", details).print()
    kernel = (paired_distance if paired else unpaired_distance)(real, other)
    Measurement("mmd_lite0", kernel.value, "", {**details, "standard error": kernel.error}).print()


def main() -> None:
    for game, size in SIZES.items():
        lite0 = Lite0.load(size, size)
        first, second = play(game, 0, PROMPT + LATE + FRAMES), play(game, 1, PROMPT + FRAMES)
        early = slice(PROMPT, PROMPT + FRAMES)
        real = lite0.features(torch.from_numpy(first.frames[:, early]))
        report(game, "other games", real, lite0.features(torch.from_numpy(second.frames[:, early])), paired=False)
        for sigma in BLURS:
            seen = lite0.features(torch.from_numpy(blurred(first.frames[:, early], sigma)))
            report(game, f"itself, blurred by {sigma} pixels", real, seen, paired=True)
        noise = np.random.default_rng(0).normal(0, NOISE, first.frames[:, early].shape)
        noisy = np.clip(np.rint(first.frames[:, early] + noise), 0, 255).astype(np.uint8)
        report(
            game, f"itself, noise of {NOISE:g} grey levels", real, lite0.features(torch.from_numpy(noisy)), paired=True
        )
        if game == "pong":
            report_dreams(lite0, first, real)


def report_dreams(lite0: Lite0, truth: Play, real: Tensor) -> None:
    world = load()
    prompts = [Prompt(f[:PROMPT], r[: PROMPT - 1]) for f, r in zip(truth.frames, truth.rows, strict=True)]
    dreams = np.concatenate([d for _, d in dream_batches(world, prompts, truth.rows[:, PROMPT - 1 :], CLIPS, seed=0)])
    report("pong", f"dreams, frames 1 to {FRAMES}", real, lite0.features(torch.from_numpy(dreams[:, :FRAMES])), True)
    late = lite0.features(torch.from_numpy(truth.frames[:, -FRAMES:]))
    seen = lite0.features(torch.from_numpy(dreams[:, -FRAMES:]))
    report("pong", f"dreams, frames {LATE + 1} to {LATE + FRAMES}", late, seen, True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
