import base64
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import torch
from dot_game import ACTIONS, write_store
from page_text import without_data
from torch import Tensor, nn

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.comparison_video import comparison_video
from hallucade.evaluation.evaluate import evaluate
from hallucade.evaluation.game_check.pong import evaluate_pong
from hallucade.evaluation.line_chart import line_chart
from hallucade.evaluation.perceptual import PerceptualConfig
from hallucade.evaluation.recorded_clips import ClipCheckConfig, evaluate_clips
from hallucade.evaluation.report import write_report
from hallucade.evaluation.report_tables import headline_table
from hallucade.evaluation.result import Curve, Evaluation, Plot, Video
from hallucade.games.pong import PONG_ACTIONS
from hallucade.models.base import WorldModel
from hallucade.rollout import World
from hallucade.samplers.base import Generators
from hallucade.tokenizers.pixel import PixelTokenizer


class Frozen(WorldModel[Any]):
    """Remembers the last latent and shows it for ever."""

    def __init__(self, block: int = 1) -> None:
        super().__init__()
        self.block = block
        self.anchor = nn.Parameter(torch.zeros(1))

    def initial(self, latent: Tensor) -> Tensor:
        return latent[:, -1:]

    def observe(self, state: Tensor, action: Tensor, latent: Tensor) -> Tensor:
        return latent[:, -1:]

    def fork(self, state: Tensor) -> Tensor:
        return state.clone()


def show(model: Frozen, state: Tensor, action: Tensor, generators: Generators) -> Tensor:
    return state.expand(-1, model.block, -1, -1, -1)


def frozen_world(block: int = 1) -> World:
    return World(PixelTokenizer(), Frozen(block), show, ACTIONS, (6, 10), 15.0)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    write_store(tmp_path / "store", [3, 17, 4, 2, 5, 13, 2])  # episodes 1 and 5 are for validation
    return EpisodeStore(tmp_path / "store")


CLIPS = ClipCheckConfig(
    clips=7, prompt_frames=4, horizons=(1, 3, 7), batch=3, shown=2, perceptual=PerceptualConfig(lite0="off")
)


def small_evaluation() -> Evaluation:
    plot = Plot("Ball <1>", "frames", "px", (Curve("dream", (1.0, 2.0, 3.0), (0.5, 2.0, 8.0)),), "words", 2.0, log=True)
    video = Video("Games", np.zeros((5, 12, 18, 3), np.uint8), 15.0)
    metrics = {
        "pong/ball_error_px@8": 1.25,
        "pong/paddle_error_px@8": 0.1,
        "pong/response_lag": 2.0,
        "pong/one_ball_share@256": 0.5,
        "pong/psnr@8": math.inf,
        "pong/ssim@8": math.nan,
    }
    return Evaluation(metrics, (plot,), (video,), {"Starts": "12 games & seed 3"})


class Addresses(HTMLParser):
    """Collects everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "data", "poster") and value]


def test_metrics_are_one_flat_object_without_holes(tmp_path: Path):
    write_report(tmp_path / "new" / "folder", small_evaluation(), {})
    written = json.loads((tmp_path / "new" / "folder" / "metrics.json").read_text())
    assert written["pong/ball_error_px@8"] == 1.25
    assert set(written) == {
        "pong/ball_error_px@8",
        "pong/paddle_error_px@8",
        "pong/response_lag",
        "pong/one_ball_share@256",
    }


def test_the_report_is_one_file_that_fetches_nothing(tmp_path: Path):
    page = write_report(tmp_path, small_evaluation(), {"Run": "runs/<b>&"}).read_text()
    addresses = Addresses()
    addresses.feed(page)
    assert addresses.found
    assert all(address.startswith("data:video/mp4;base64,") for address in addresses.found)
    assert "script" not in addresses.tags
    assert "url(" not in page
    assert "http" not in without_data(page).replace("http-equiv", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "report.html"]
    assert "runs/&lt;b&gt;&amp;" in page
    assert "12 games &amp; seed 3" in page
    assert "prefers-color-scheme: dark" in page


def test_targets_are_judged(tmp_path: Path):
    page = write_report(tmp_path, small_evaluation(), {}).read_text()
    verdicts = re.findall(r"<tr><td>([^<]*)<small>.*?(met|missed)</b>", page)
    assert verdicts == [
        ("Ball, median error at frame 8", "met"),
        ("Exactly one ball, frames to 256", "missed"),
        ("Paddle lag", "missed"),
    ]


@pytest.mark.parametrize(("frames", "share", "verdict"), [(40, 0.3, "met"), (20, 0.85, "met"), (20, 0.5, "missed")])
def test_a_short_horizon_is_forgiven_where_the_observer_sees_no_further(frames: int, share: float, verdict: str):
    table = headline_table({"pong/valid_horizon": frames, "pong/valid_horizon_share": share})
    assert re.findall(r"(met|missed)</b>", table) == [verdict]


def test_the_videos_play(tmp_path: Path):
    page = write_report(tmp_path, small_evaluation(), {}).read_text()

    (encoded,) = re.findall(r"base64,([^\"]+)", page)
    (tmp_path / "video.mp4").write_bytes(base64.b64decode(encoded))
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert len(list(container.decode(video=0))) == 5


def points(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg[: svg.index("</svg>") + 6])
    lines = [line.get("points", "") for line in root.iter("polyline")]
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in lines]


def test_a_chart_maps_values_to_their_places():
    plot = Plot("", "x", "y", (Curve("a", (0.0, 5.0, 10.0), (0.0, 1.0, 2.0)),))
    (line,) = points(line_chart(plot))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y2 < y0  # up is more


def test_a_logarithmic_chart_spaces_powers_of_ten_evenly_and_shows_zero():
    plot = Plot("", "x", "y", (Curve("a", (1.0, 2.0, 3.0, 4.0), (0.1, 1.0, 10.0, 0.0)),), log=True)
    (line,) = points(line_chart(plot))
    heights = [y for _, y in line]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert heights[3] > heights[0]


@pytest.mark.parametrize("y", [(3.0, 3.0), (0.0, 0.0), (-2.0, 5.0), (1e-9, 1e-9)])
@pytest.mark.parametrize("log", [False, True])
def test_charts_survive_flat_and_single_curves(y: tuple[float, float], log: bool):
    for curve in (Curve("a", (1.0, 2.0), y), Curve("a", (1.0,), y[:1])):
        for line in points(line_chart(Plot("", "x", "y", (curve,), log=log))):
            assert np.isfinite(line).all()


def test_a_chart_of_nothing_says_so():
    assert "Nothing was measured" in line_chart(Plot("", "x", "y", (Curve("a", (), ()),)))


def test_a_comparison_has_a_column_a_game_and_a_row_a_source():
    games = np.zeros((3, 5, 6, 10, 3), np.uint8)
    games[1] = 200
    held = np.zeros((3, 4, 2), np.float32)
    one = comparison_video({"real": games}, ACTIONS, held)
    two = comparison_video({"real": games, "dream": games}, ACTIONS, held)
    assert len(one) == len(two) == 5
    assert one.shape[2] == two.shape[2] > 3 * 100
    assert two.shape[1] > 1.8 * (one.shape[1] - 20)
    third = one.shape[2] // 3
    assert one[:, :, third : 2 * third].mean() > 2 * one[:, :, :third].mean()  # the bright game is in the middle


def test_recorded_clips_are_dreamed_from_their_own_frames(store: EpisodeStore):
    found = evaluate_clips(frozen_world(), store, CLIPS)
    assert set(found.metrics) == {f"clips/{name}@{h}" for name in ("psnr", "psnr_moving") for h in (1, 3, 7)}
    assert 5 < found.metrics["clips/psnr@1"] < 12  # noise against other noise
    assert "7 windows of 11 frames" in found.protocol["Clips"]
    assert len(found.videos) == len(found.plots) == 1


def test_a_world_that_dreams_several_frames_a_step_is_cut_to_the_horizon(store: EpisodeStore):
    one, two = (evaluate_clips(frozen_world(block), store, CLIPS) for block in (1, 2))
    assert one.metrics == two.metrics


def test_clips_of_another_game_are_refused(store: EpisodeStore):
    with pytest.raises(ValueError, match="the store holds 6x10 pixels, the model dreams 8x8"):
        evaluate_clips(replace(frozen_world(), frame_size=(8, 8)), store, CLIPS)
    with pytest.raises(ValueError, match="the store's actions are not the model's"):
        evaluate_clips(replace(frozen_world(), actions=PONG_ACTIONS), store, CLIPS)
    with pytest.raises(ValueError, match="holds a window of 104 frames"):
        evaluate_clips(frozen_world(), store, replace(CLIPS, horizons=(100,)))


def test_evaluate_chooses_the_checks_that_fit(store: EpisodeStore):
    told: list[float] = []
    found = evaluate(frozen_world(), store, clips=CLIPS, progress=lambda _, share: told.append(share))
    assert "clips/psnr@7" in found.metrics
    assert told[-1] == 1
    with pytest.raises(ValueError, match="no simulator knows the game None; pass a store"):
        evaluate(frozen_world())


def test_the_pong_check_refuses_other_games():
    with pytest.raises(ValueError, match="6x10 pixels; Pong's court is square"):
        evaluate_pong(frozen_world())
    with pytest.raises(ValueError, match="does not play Pong"):
        evaluate_pong(replace(frozen_world(), frame_size=(24, 24)))
    with pytest.raises(ValueError, match="reads 3 frames at a time"):
        evaluate_pong(replace(frozen_world(3), frame_size=(24, 24), actions=PONG_ACTIONS))


def test_two_evaluations_join_and_never_overwrite():
    joined = small_evaluation().joined(Evaluation({"clips/psnr@1": 20.0}, protocol={"Clips": "7"}))
    assert joined.metrics["clips/psnr@1"] == 20
    assert set(joined.protocol) == {"Starts", "Clips"}
    with pytest.raises(AssertionError, match="measured twice"):
        joined.joined(Evaluation({"clips/psnr@1": 21.0}))
