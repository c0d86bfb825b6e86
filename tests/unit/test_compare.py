"""Runs beside each other: intervals over clips, differences over the same resamples, and what cannot be compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_text import without_data
from torch import nn

from hallucade.cli.compare import run_names
from hallucade.data.recorder import RecordingConfig, record
from hallucade.evaluation.compare.check import CompareConfig, compare_worlds
from hallucade.evaluation.compare.figures import Figure, Resampling
from hallucade.evaluation.compare.over_seeds import OverSeeds
from hallucade.evaluation.compare.report import table_rows, write_comparison
from hallucade.games.maze import MAZE_ACTIONS
from hallucade.models.base import WorldModel
from hallucade.rollout import World
from hallucade.tokenizers.pixel import PixelTokenizerConfig

SIZE = 14  # pixels
CONFIG = CompareConfig(clips=5, horizons=(1, 4), batch=2, games=2, long=30, shown=2, resamples=200)


class Shift(WorldModel):
    """Remembers the last frame; what is drawn is that frame, a little brighter, and noise."""

    def __init__(self, brighter):
        super().__init__()
        self.brighter = nn.Parameter(torch.tensor(brighter))

    def initial(self, latent):
        return latent

    def observe(self, state, action, latent):
        return latent

    def fork(self, state):
        return state.clone()


def draw(model, state, action, generators):
    noise = torch.stack([torch.randn(state.shape[1:], generator=generator) for generator in generators])
    return (state + model.brighter + 0.01 * noise).clamp(-1, 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "store"
    return record(RecordingConfig(frame_size=SIZE, frames=300, episode_length=50, validation_share=0.5), path)


def world(store, brighter, **changes):
    given = World(PixelTokenizerConfig().build(), Shift(brighter).eval(), draw, store.actions, (SIZE, SIZE), store.fps)
    return replace(given, **changes)


@pytest.fixture(scope="module")
def comparison(store):
    return compare_worlds({"kept": world(store, 0.0), "brighter": world(store, 0.2)}, store, CONFIG)


def test_intervals_are_those_of_the_mean_and_of_the_ratio():
    values = np.random.default_rng(0).normal(3, 1, 400)
    mean = Resampling(4000, 1).mean(values)
    assert mean is not None
    assert mean.value == pytest.approx(values.mean())
    low, high = mean.interval
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    doubled = Resampling(4000, 1).ratio(2 * values, values)
    assert doubled is not None
    assert doubled.value == pytest.approx(2)
    assert doubled.interval == pytest.approx((2, 2))


def test_differences_are_over_the_same_clips():
    """What is hard for both runs falls out: the difference is surer than either."""
    rng = np.random.default_rng(0)
    hard = rng.normal(20, 5, 50)
    one, other = (Resampling(2000, 3).mean(hard + gain + rng.normal(0, 0.1, 50)) for gain in (0.0, 1.0))
    assert one is not None
    assert other is not None
    low, high = other.less(one).interval
    assert 0.8 < low < 1 < high < 1.2
    assert one.interval[1] - one.interval[0] > 1


def test_r18_what_is_not_defined_is_absent():
    resampling = Resampling(100, 0)
    assert resampling.mean(np.array([np.nan, np.nan])) is None
    assert resampling.ratio(np.ones(3), np.zeros(3)) is None
    partly = resampling.mean(np.array([np.nan, 2.0, 4.0, 6.0]))
    assert partly is not None
    assert partly.value == pytest.approx(4)


def test_the_better_run_is_told_with_its_difference(comparison):
    assert comparison.runs == ("kept", "brighter")
    assert {"psnr@1", "psnr@4", "ssim@4", "sharpness_ratio@10", "survival@30"} <= set(comparison.metrics)
    assert "unique_codes_ratio@10" not in comparison.metrics
    difference = comparison.difference("brighter", "psnr@4")
    assert difference is not None
    assert difference.value < 0
    assert difference.interval[1] < 0
    head, *rows = table_rows(comparison)
    assert head == ("metric", "kept", "brighter", "brighter less kept")
    assert next(row for row in rows if row[0] == "psnr@4")[3].endswith("*")


def test_a_run_beside_itself_does_not_differ_by_a_bit(store):
    twins = compare_worlds({"one": world(store, 0.1), "other": world(store, 0.1)}, store, CONFIG)
    for metric in twins.metrics:
        difference = twins.difference("other", metric)
        assert difference is not None
        assert (difference.value, difference.interval) == (0, (0, 0))


def test_it_is_written_down_whole(comparison, tmp_path):
    page = write_comparison(tmp_path / "out", comparison, {"kept": {"recipe": "a"}, "brighter": {"recipe": "b"}})
    text = page.read_text()
    assert "brighter less kept" in text
    assert "data:video/mp4" in text
    assert text.count("data:image/png") == 3  # long dreams, and a storyboard a run
    assert "http" not in without_data(text).replace("http://www.w3.org", "")
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["reference"] == "kept"
    assert set(found["scores"]["kept"]["psnr@1"]) == {"value", "low", "high"}
    assert found["differences"]["brighter"]["psnr@4"]["high"] < 0
    assert found["runs"]["brighter"] == {"recipe": "b"}


def of_seeds(comparison, scores):
    kept = {run: {"psnr@1": Figure(value, np.array([value]))} for run, value in scores.items()}
    return replace(comparison, scores={"real": {}} | kept)


def test_runs_of_one_config_are_a_mean_over_their_seeds(comparison, tmp_path):
    figures = of_seeds(comparison, {"a0": 20.0, "a1": 24.0, "a2": 28.0, "b0": 21.0, "b1": 25.1, "b2": 28.9})
    arms = {"a": {0: "a0", 1: "a1", 2: "a2"}, "b": {0: "b0", 1: "b1", 2: "b2"}}
    found = OverSeeds(figures, arms)
    assert found.repeated
    mean = found.mean("a", "psnr@1")
    assert mean is not None
    assert (mean.value, mean.half) == (24, pytest.approx(4.3027 * 4 / 3**0.5, rel=1e-4))  # Student's t, 2 degrees
    assert found.rows() == [
        ("metric", "a, 3 seeds", "b, 3 seeds", "b less a"),
        ("psnr@1", "24 ± 9.9", "25 ± 9.8", "+1 ± 0.25 *"),  # what a seed does to both falls out
    ]
    page = write_comparison(tmp_path, figures, {}, found)
    assert "b, 3 seeds" in page.read_text()
    said = json.loads((tmp_path / "compare.json").read_text())["over_seeds"]["b"]
    assert said["runs"] == {"0": "b0", "1": "b1", "2": "b2"}
    assert said["scores"]["psnr@1"]["seeds"] == 3


def test_what_a_seed_lacks_is_no_0_in_a_mean(comparison):
    figures = of_seeds(comparison, {"a0": 20.0, "a1": 24.0, "b0": 21.0})
    del figures.scores["a1"]["psnr@1"]
    found = OverSeeds(figures, {"a": {0: "a0", 1: "a1"}, "b": {0: "b0"}})
    assert found.rows()[1] == ("psnr@1", "20", "21", "–")
    with pytest.raises(ValueError, match="arms hold a0, a0, b0; give each of a0, a1, b0 once"):
        OverSeeds(figures, {"a": {0: "a0", 1: "a0"}, "b": {0: "b0"}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_size": (20, 24)}, "one dreams 14x14 pixels and other 20x24"),
        ({"actions": MAZE_ACTIONS}, "one and other have different actions: expected actions"),
    ],
)
def test_runs_of_other_games_are_refused_naming_both(store, changes, message):
    with pytest.raises(ValueError, match=message):
        compare_worlds({"one": world(store, 0.0), "other": world(store, 0.0, **changes)}, store, CONFIG)


def test_bad_choices_are_refused(store):
    with pytest.raises(ValueError, match=r"1 run\(s\) to compare"):
        compare_worlds({"one": world(store, 0.0)}, store, CONFIG)
    with pytest.raises(ValueError, match="clips is 1; use 2 or more"):
        CompareConfig(clips=1)
    with pytest.raises(ValueError, match="is given twice"):
        run_names((Path("runs/a"), Path("runs/a")))
    assert run_names((Path("runs/a"), Path("runs/b"), Path("old/b"))) == ("a", "runs/b", "old/b")
