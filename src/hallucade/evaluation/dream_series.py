"""A long dream frame by frame: what each picture is like with nothing beside it, and whether it is a dream still."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from torch import Tensor

from hallucade.evaluation.long_run.true_play import RecordedPlay
from hallucade.evaluation.metrics.code_statistics import unique_codes
from hallucade.evaluation.metrics.picture_statistics import brightness, contrast, sharpness
from hallucade.models.base import TokenModel
from hallucade.rollout import Prompt, World, rollout
from hallucade.samplers.base import seeded
from hallucade.shapes import Frames

UNIQUE = "unique_codes"
LIKE_REAL = 2.0  # times real play's, or a part of it, that contrast and sharpness may be in a dream that is alive
STILL, RESTLESS = 0.1, 4.0  # of real play's mean change from frame to frame: what changes less stands, or more flickers
WINDOW = 25  # frames over which it is asked
Series = dict[str, Float64[np.ndarray, "g n"]]
Told = Callable[[float], None]  # the share that is done


@dataclass(frozen=True)
class DreamSeries:
    """Statistics of every frame of g dreams or games, and the frames at some moments.

    The statistics: brightness, contrast; energy, the mean squared step from pixel to pixel; change, the mean difference
    from the frame before, all in grey levels; and unique_codes, where the world has codes.
    """

    series: Series
    shown: dict[int, UInt8[np.ndarray, "g h w 3"]]  # by number of the frame after the prompt, from 1

    def around(self, name: str, horizon: int) -> Float64[np.ndarray, "g"]:
        """Return each game's mean of a statistic over the last tenth of the frames up to a horizon."""
        return self.series[name][:, ceil(0.9 * horizon) - 1 : horizon].mean(1)

    def alive(self, real: "DreamSeries") -> Bool[np.ndarray, "g n"]:
        """Say of each frame whether its dream has been alive up to it.

        In every window of 25 frames the mean contrast and sharpness are within twice and half of those of all real
        play, and the mean change is between a tenth of it and four times as much.
        """
        fine = np.ones(self.series["change"].shape, bool)
        for name, least, most in (
            ("contrast", 1 / LIKE_REAL, LIKE_REAL),
            ("energy", LIKE_REAL**-2, LIKE_REAL**2),
            ("change", STILL, RESTLESS),
        ):
            ratio = _windowed(self.series[name]) / max(float(real.series[name].mean()), 1e-9)
            fine &= (ratio >= least) & (ratio <= most)
        return np.logical_and.accumulate(fine, 1)


@torch.no_grad()
def dream_series(
    world: World,
    prompts: Sequence[Prompt],
    actions: np.ndarray,
    seed: int,
    moments: Collection[int] = (),
    told: Told | None = None,
) -> DreamSeries:
    """Dream from each prompt under given actions, raw rows `g n c`, and keep numbers instead of frames.

    Row i draws its noise from (`seed`, i) only.
    """
    decode, m = world.tokenizer.stream(), world.frames_per_step
    count, generators = actions.shape[1] // m * m, seeded(seed, len(prompts))
    features = world.encode_actions(actions)
    steps = (features[:, i : i + m] for i in range(0, count, m))
    reader = SeriesReader(np.stack([prompt.frames[-1] for prompt in prompts]), moments)
    state, done = world.prefill(prompts, generators), 0
    for latent in rollout(world.model, world.sampler, state, steps, generators):
        reader.add(decode(latent).cpu(), latent.cpu() if isinstance(world.model, TokenModel) else None)
        done += m
        if told is not None:
            told(done / count)
    return reader.result()


@torch.no_grad()
def real_series(
    world: World, play: RecordedPlay, frames: int, moments: Collection[int] = (), chunk: int = 50
) -> DreamSeries:
    """Read the same off real play that follows the prompts; frames after an episode's end repeat its last one."""
    reader = SeriesReader(np.stack([prompt.frames[-1] for prompt in play.prompts]), moments)
    for first in range(0, frames, chunk):
        real = torch.from_numpy(np.ascontiguousarray(play.frames(first, min(first + chunk, frames))))
        codes = world.tokenizer.encode(real.to(world.device)).cpu() if isinstance(world.model, TokenModel) else None
        reader.add(real, codes)
    return reader.result()


def recorded_actions(play: RecordedPlay, frames: int) -> np.ndarray:
    """Return `frames` raw action rows a game: those of its episode, again from its beginning where that ends."""
    parts = [rows[:length] for rows, length in zip(play.actions, play.lengths.tolist(), strict=True)]
    return np.stack([np.take(part, np.arange(frames) % len(part), 0) for part in parts])


class SeriesReader:
    """Reads frames as they come and keeps what `DreamSeries` holds.

    Args:
        before: the last frame of each prompt.
        moments: numbers of frames to keep, from 1.
    """

    def __init__(self, before: UInt8[np.ndarray, "g h w 3"], moments: Collection[int] = ()) -> None:
        self._before = torch.from_numpy(before)[:, None]
        self._moments, self._seen = sorted(set(moments)), 0
        self._parts = list[dict[str, Tensor]]()
        self._shown = dict[int, np.ndarray]()

    def add(self, frames: Frames, codes: Int64[Tensor, "g k rows columns"] | None = None) -> None:
        """Read the next frames, and their codes if there are any."""
        known = torch.cat([self._before, frames], 1)
        found = {
            "brightness": brightness(frames),
            "contrast": contrast(frames),
            "energy": sharpness(frames).square(),
            "change": known.float().diff(dim=1).abs().mean((2, 3, 4)),
        }
        if codes is not None:
            found[UNIQUE] = unique_codes(codes).repeat_interleave(frames.shape[1] // codes.shape[1], 1)
        self._parts.append(found)
        for moment in self._moments:
            if 0 <= moment - 1 - self._seen < frames.shape[1]:
                self._shown[moment] = frames[:, moment - 1 - self._seen].numpy().copy()
        self._before, self._seen = frames[:, -1:], self._seen + frames.shape[1]

    def result(self) -> DreamSeries:
        """Return all that was read."""
        return DreamSeries(dict(self._joined()), self._shown)

    def _joined(self) -> Iterator[tuple[str, Float64[np.ndarray, "g n"]]]:
        for name in self._parts[0]:
            yield name, torch.cat([part[name] for part in self._parts], 1).double().numpy()


def _windowed(values: Float64[np.ndarray, "g n"]) -> Float64[np.ndarray, "g n"]:
    """Return the mean over the window of frames up to each one; the first ones share the first window."""
    n = int(values.shape[1])
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, 1)], 1)
    last = np.arange(1, n + 1, dtype=np.int64).clip(min(WINDOW, n))
    first = (last - WINDOW).clip(0)
    return (sums[:, last] - sums[:, first]) / (last - first)
