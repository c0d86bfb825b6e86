"""What an ablation says: the table, what is significant, and what must not be read into it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dot_game import write_store
from tiny_ablation import tiny_ablation

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.seed_statistics import mean_of
from hallucade.recipes.ablation.columns import badness, chosen_metrics, direction
from hallucade.recipes.ablation.cost import Cost, measure_cost, training_seconds
from hallucade.recipes.ablation.grid import Refusal, make_grid
from hallucade.recipes.ablation.html import html
from hallucade.recipes.ablation.interval_chart import Row, interval_chart
from hallucade.recipes.ablation.markdown import markdown, table
from hallucade.recipes.ablation.results import ArmResult, Results
from hallucade.recipes.ablation.runs import JudgeConfig, RunRecord
from hallucade.recipes.ablation.statement import method, of_metric, remarks
from hallucade.training.curriculum import Stage

RECIPE = tiny_ablation()
GRID = make_grid(RECIPE, ["model.context=2,3,5"])
JITTER = (0.0, 0.01, -0.005, 0.004, -0.008, 0.002)


def results(value: Callable[[int, int], float], metric: str = "pong/paddle_error_px@8", seeds: int = 3) -> Results:
    """Finished runs of all arms whose metric is a function of (arm, seed)."""
    record = RunRecord(state="finished", config=RECIPE, judge=JudgeConfig(), code="c", commit="a" * 40, seconds=7.0)
    arms = tuple(
        ArmResult(
            arm,
            Cost(123, 6, 36, 4e12),
            {seed: replace(record, metrics={metric: value(i, seed)}) for seed in range(seeds)},
        )
        for i, arm in enumerate(GRID.arms)
    )
    return Results(arms, (), GRID.baseline(RECIPE), seeds)


def test_a_large_difference_is_told_and_a_small_one_is_not() -> None:
    # arm 1 is worse by far; arm 2 differs by less than its spread
    found = results(lambda arm, seed: (2.0, 3.0, 2.001)[arm] + JITTER[seed] * (1 + arm))
    said = of_metric(found, "pong/paddle_error_px@8")
    assert "(lower is better) worse: 3 (worse by 1" in said
    assert "no difference can be told: 5" in said
    assert "better:" not in said
    assert "no p-value below 0.25" in method(found)
    assert "no p-value below" not in method(replace(found, seeds=6))


def test_higher_and_nearer_metrics_turn_the_verdict_round() -> None:
    def rise(arm: int, seed: int) -> float:
        return arm / 2 + JITTER[seed] * (1 + arm)

    assert "better: 3 (better by 0.5" in of_metric(results(rise, "pong/psnr@8"), "pong/psnr@8")
    gain = of_metric(results(rise, "pong/response_gain"), "pong/response_gain")  # 0, 0.5 and 1: ever nearer to 1
    assert "(best at 1) better: 3 (better by 0.5" in gain
    assert [direction(name) for name in ("clips/lpips@8", "clips/ssim@8", "pong/response_lag")] == [
        "lower is better",
        "higher is better",
        "best at 0",
    ]
    assert badness("pong/response_gain", 1.2) == pytest.approx(badness("pong/response_gain", 0.8))


def test_the_best_mean_is_bold_and_ties_of_all_are_not() -> None:
    rows = table(results(lambda arm, seed: 2.0 - arm + JITTER[seed]), ["pong/paddle_error_px@8"]).splitlines()
    assert [row.count("**") for row in rows] == [0, 0, 0, 0, 2]
    assert rows[2].split(" | ")[2:] == ["123", "4.00", "7", "3/3 |"]
    assert "**" not in table(results(lambda arm, seed: 1.0), ["pong/paddle_error_px@8"])


def test_nothing_is_concluded_from_one_seed_or_one_arm() -> None:
    single = results(lambda arm, seed: float(arm), seeds=1)
    assert method(single) == "One seed: nothing can be concluded."
    assert "not tested, as values are too few or do not vary: 3, 5" in of_metric(single, "pong/paddle_error_px@8")
    assert "±" not in table(single, ["pong/paddle_error_px@8"])
    assert "nothing to compare" in method(replace(single, arms=single.arms[:1]))


def test_what_did_not_end_well_is_named() -> None:
    found = results(lambda arm, seed: arm + JITTER[seed])
    first = found.arms[0]
    bad = {
        **first.records,
        0: replace(first.records[0], state="diverged", reason="losses are not finite", commit="b" * 40),
        1: None,
    }
    found = replace(
        found,
        arms=(replace(first, records=bad), *found.arms[1:]),
        refused=(Refusal((("model.context", "0"),), "context is 0"),),
    )
    text = markdown(found, ["pong/paddle_error_px@8"], "Ablation of tiny")
    assert remarks(found) == [
        "refused: 0: context is 0",
        "diverged: 2, seed 0: losses are not finite",
        "not finished: 2, seed 1",
        f"runs of several versions of the code: {'a' * 12}, {'b' * 12}",
    ]
    assert all(f"- {line}" in text for line in remarks(found))
    assert "| 1/3 |" in text
    assert "not tested" in text  # the baseline has a single run left
    page = html(found, ["pong/paddle_error_px@8"], "Ablation of tiny")
    assert page.count("<svg") == 1  # one horizon makes no curve
    assert "diverged: 2, seed 0" in page


def test_metrics_are_chosen_by_patterns() -> None:
    measured = ["clips/psnr@1", "clips/psnr@8", "clips/ssim@8", "pong/psnr@8"]
    assert chosen_metrics(["psnr@8"], measured) == ["clips/psnr@8", "pong/psnr@8"]
    assert chosen_metrics(["clips/*"], measured) == measured[:3]
    assert chosen_metrics([], measured) == ["clips/psnr@8"]
    with pytest.raises(ValueError, match=r"no run has 'lpips@8'; choose of clips/psnr@1"):
        chosen_metrics(["lpips@8"], measured)


def test_a_chart_shows_every_seed_its_mean_and_interval() -> None:
    rows = (Row("a<b", (1.0, 2.0, 3.0), mean_of([1.0, 2.0, 3.0])), Row("lone", (5.0,), mean_of([5.0])))
    chart = interval_chart("errors", rows, goal=0.0)
    assert chart.count("<circle") == 4
    assert chart.count('class="curve c0"') == 3  # two means and one interval
    assert "a&lt;b" in chart
    assert 'class="target"' in chart
    assert "<svg" in interval_chart("same", (Row("a", (0.0, 0.0), mean_of([0.0, 0.0])),))


def test_costs_grow_with_steps_and_clips(tmp_path: Path) -> None:
    write_store(tmp_path, [20, 20, 20, 20])
    store = EpisodeStore(tmp_path)
    cost = measure_cost(RECIPE, store)
    assert (cost.steps, cost.frames) == (6, 6 * 2 * 4)
    trainer = replace(RECIPE.trainer, steps=20)
    stages = (Stage(steps=8, frames=4, batch=2), Stage(steps=12, frames=4, batch=5))
    longer = measure_cost(replace(RECIPE, stages=stages, trainer=trainer), store)
    assert longer.flops == pytest.approx(cost.flops * (8 * 2 + 12 * 5) / (6 * 2))
    assert longer.parameters == cost.parameters


def test_seconds_come_from_the_log(tmp_path: Path) -> None:
    rows = [{"step": 2, "frames_per_s": 4.0}, {"step": 3, "loss": 1.0}, {"step": 6, "frames_per_s": 12.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_seconds(tmp_path, RECIPE) == pytest.approx(2 * 8 / 4 + 4 * 8 / 12)
