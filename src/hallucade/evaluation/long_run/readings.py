"""What is read off every frame of a long dream, beside the truth and alone."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hallucade.evaluation.long_run.true_play import TruePlay
from hallucade.evaluation.metrics.picture_statistics import brightness, contrast, flicker, sharpness
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.metrics.ssim import WINDOW, ssim

Chunk = UInt8[np.ndarray, "g m h w 3"]
Values = Mapping[str, np.ndarray]  # `g m` each
STATISTICS = {"brightness": brightness, "contrast": contrast, "sharpness": sharpness, "flicker": flicker}
AGAINST = {
    "": "dream",
    "luck_": "true game, other serves",
    "copy_": "last real frame, kept",
    "other_": "another true game",
}


@runtime_checkable
class Reader(Protocol):
    """Reads a chunk of frames, called in the order of time."""

    names: tuple[str, ...]

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        """Return values by name; `first` is the number of the first frame, counted from 0 after the prompt."""
        ...


class LikenessReader:
    """PSNR and SSIM of the dream and of three yardsticks beside the truth.

    The same game under the same keys with other luck is what a perfect dream reaches, where a simulator can say so. The
    last real frame knows nothing of what came after it. Another true game, the next one, has in common what all games
    have. Pictures too small for SSIM go without.
    """

    def __init__(self, truth: TruePlay) -> None:
        self._truth = truth
        last = np.stack([prompt.frames[-1] for prompt in truth.prompts])
        self._last, self._lengths = torch.from_numpy(last), truth.lengths
        self._measures = {"psnr": psnr, "ssim": ssim} if min(last.shape[1:3]) >= WINDOW else {"psnr": psnr}
        self._whom = self._known()
        self.names = tuple(f"{who}{measure}" for measure in self._measures for who in self._whom)

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        truth = torch.from_numpy(real)
        seen = {"": torch.from_numpy(dream), "copy_": self._last[:, None].expand_as(truth), "other_": truth.roll(1, 0)}
        luck = self._truth.frames_of_other_luck(first, first + real.shape[1])
        if luck is not None:
            seen["luck_"] = torch.from_numpy(luck)
        found = {f"{w}{name}": m(seen[w], truth).numpy() for name, m in self._measures.items() for w in self._whom}
        both = np.minimum(self._lengths, np.roll(self._lengths, 1))  # the other game goes as far as the shorter does
        ended = np.greater_equal(np.arange(first, first + real.shape[1], dtype=np.int64), both[:, None])
        return {n: np.where(ended, np.nan, v) if n.startswith("other_") else v for n, v in found.items()}

    def _known(self) -> list[str]:
        """Return the yardsticks that there are."""
        lacking = {"other_"} if len(self._last) < 2 else set[str]()
        if self._truth.frames_of_other_luck(0, 1) is None:
            lacking.add("luck_")
        return [who for who in AGAINST if who not in lacking]


class StatisticsReader:
    """Brightness, contrast, sharpness and flicker of dream and of truth, each alone.

    Flicker needs the frames on either side: its value stands at the later one, from the third frame on, which counts
    the prompt's last two.
    """

    def __init__(self, before: UInt8[np.ndarray, "g two h w 3"]) -> None:
        self.names = tuple(f"{who}{name}" for who in ("", "real_") for name in STATISTICS)
        self._before = {who: torch.from_numpy(before) for who in ("", "real_")}

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        found = dict[str, np.ndarray]()
        for who, frames in (("", dream), ("real_", real)):
            found |= {f"{who}{name}": values.numpy() for name, values in self._read(who, torch.from_numpy(frames))}
        return found

    def _read(self, who: str, frames: UInt8[Tensor, "g m h w 3"]) -> Iterator[tuple[str, Float[Tensor, "g m"]]]:
        known = torch.cat([self._before[who], frames], 1)
        self._before[who] = known[:, -2:]
        for name, statistic in STATISTICS.items():
            yield name, statistic(known if name == "flicker" else frames)
