"""An evaluation that several ranks share finds what one process finds, however unevenly the games are divided."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from test_metrics_perceptual import Colours, clips
from torch import distributed

from hallucade.evaluation.long_run.game_curves import GameCurves, Span
from hallucade.evaluation.metrics.lpips import Lpips
from hallucade.evaluation.perceptual import ComparedSets, PerceptualScores
from hallucade.evaluation.picture_scores import PictureScores

GAMES, HORIZONS = 11, (1, 4)
SIZES = {1: (11,), 2: (8, 3), 3: (1, 4, 6)}  # games of each rank
KERNEL = "kid@4", "kid_error@4"  # sums of float64 products, in the order of the clips


def found(games: np.ndarray, *, batch: int) -> dict[str, float]:
    """Measure some of the games, `batch` at a time, and return what all ranks found together."""
    dreams, truths, others = clips(GAMES, 0), clips(GAMES, 1), clips(GAMES, 2)
    torch.manual_seed(0)
    pictures = PictureScores(HORIZONS)
    looks = PerceptualScores(Distance("alex"), HORIZONS, [ComparedSets(Colours(), 4)], [])
    for start in range(0, len(games), batch):
        part = games[start : start + batch]
        pictures.add(dreams[part], np.concatenate([truths[part, :1], truths[part]], 1))
        looks.add(dreams[part], truths[part])
        looks.add_other(others[part])
    series = np.random.default_rng(4).random((GAMES, 9)).astype(np.float32)
    curves = GameCurves(games, {"ssim": series[games]}).across_ranks()
    average = curves.average("ssim", Span(2, 8))
    assert average is not None
    long = {"long": average.value, "long_low": average.low, "long_high": average.high}
    return pictures.across_ranks().metrics("") | looks.across_ranks().metrics("") | long


class Distance(Lpips):
    """A distance of each pair alone, so that a batch rounds nothing."""

    def forward(self, frames: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return (frames.double() - truth.double()).square().mean((1, 2, 3)).float()


def _rank(rank: int, world: int, meeting: str, results: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    first = sum(SIZES[world][:rank])
    games = np.arange(first, first + SIZES[world][rank])[::-1]  # backwards: no order matters
    torch.save(found(games, batch=3), f"{results}.{rank}")
    distributed.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_find_what_one_process_finds_to_the_last_bit(world: int, tmp_path: Path):
    here = multiprocessing.get_context("fork")
    arguments = (world, str(tmp_path / "meeting"), str(tmp_path / "found"))
    ranks = [here.Process(target=_rank, args=(rank, *arguments)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0] * world
    alone = found(np.arange(GAMES), batch=GAMES)
    assert {"psnr@4", "psnr_moving@4", "lpips@1", "fid@4", "fid_floor@4", "long", *KERNEL} <= alone.keys()
    for rank in range(world):
        together = torch.load(f"{tmp_path / 'found'}.{rank}", weights_only=True)
        assert together.keys() == alone.keys()
        assert {n: v for n, v in together.items() if n not in KERNEL} == {
            n: v for n, v in alone.items() if n not in KERNEL
        }
        assert [together[n] for n in KERNEL] == pytest.approx([alone[n] for n in KERNEL], rel=1e-12)
