"""What is read off every frame of a long dream, beside the truth and alone."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from hallucade.evaluation.metrics.picture_statistics import brightness, contrast, flicker, sharpness
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.metrics.ssim import WINDOW, ssim

Chunk = UInt8[np.ndarray, "g m h w 3"]
Values = Mapping[str, np.ndarray]  # `g m` each
STATISTICS = {"brightness": brightness, "contrast": contrast, "sharpness": sharpness, "flicker": flicker}
AGAINST = {"": "dream", "copy_": "last real frame, kept", "other_": "another true game"}


@runtime_checkable
class Reader(Protocol):
    """Reads a chunk of frames, called in the order of time."""

    names: tuple[str, ...]

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        """Return values by name; `first` is the number of the first frame, counted from 0 after the prompt."""
        ...


class LikenessReader:
    """PSNR and SSIM of dream, last real frame and another true game, each beside the truth.

    The other game is the next one: what two games of the same kind have in common without anybody dreaming. With one
    game alone there is none. Pictures too small for SSIM go without.
    """

    def __init__(self, last: UInt8[np.ndarray, "g h w 3"], lengths: Int64[np.ndarray, "g"]) -> None:
        self._last, self._lengths = torch.from_numpy(last), lengths
        self._measures = {"psnr": psnr, "ssim": ssim} if min(last.shape[1:3]) >= WINDOW else {"psnr": psnr}
        self.names = tuple(f"{who}{measure}" for measure in self._measures for who in self._whom())

    def __call__(self, dream: Chunk, real: Chunk, first: int) -> Values:
        truth = torch.from_numpy(real)
        seen = {"": torch.from_numpy(dream), "copy_": self._last[:, None].expand_as(truth), "other_": truth.roll(1, 0)}
        found = {f"{w}{name}": m(seen[w], truth).numpy() for name, m in self._measures.items() for w in self._whom()}
        both = np.minimum(self._lengths, np.roll(self._lengths, 1))  # the other game goes as far as the shorter does
        ended = np.greater_equal(np.arange(first, first + real.shape[1], dtype=np.int64), both[:, None])
        return {n: np.where(ended, np.nan, v) if n.startswith("other_") else v for n, v in found.items()}

    def _whom(self) -> list[str]:
        return [who for who in AGAINST if who != "other_" or len(self._last) > 1]


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
