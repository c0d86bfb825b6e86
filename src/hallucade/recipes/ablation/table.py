"""The table of an ablation as plain cells, and numbers as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass

from hallucade.evaluation.seed_statistics import Mean
from hallucade.recipes.ablation.columns import direction
from hallucade.recipes.ablation.results import Results


@dataclass(frozen=True)
class Cell:
    """A text, and whether it is the best of its column."""

    text: str
    best: bool = False


def heads(results: Results, metrics: Sequence[str]) -> list[str]:
    """Return the names of the columns: what is varied, metrics, costs."""
    measured = [f"{metric} ({direction(metric)})" for metric in metrics]
    return [*results.paths, *measured, "parameters", "TFLOPs", "seconds", "runs"]


def rows(results: Results, metrics: Sequence[str]) -> list[list[Cell]]:
    """Return a row an arm; metrics are means with half a 95 % interval over seeds."""
    best = {metric: results.best(metric) for metric in metrics}
    table = list[list[Cell]]()
    for each in results.arms:
        settings = [Cell(value) for _, value in each.arm.settings]
        values = [Cell(spread(each.mean(metric)), each.arm in best[metric]) for metric in metrics]
        seconds = "" if each.seconds is None else f"{each.seconds.value:,.0f}"
        costs = [f"{each.cost.parameters:,}", f"{each.cost.flops / 1e12:,.2f}", seconds]
        table.append([*settings, *values, *map(Cell, costs), Cell(f"{len(each.finished)}/{results.seeds}")])
    return table


def spread(mean: Mean | None) -> str:
    """Return a mean and half its interval."""
    if mean is None:
        return "-"
    return number(mean.value) if mean.half is None else f"{number(mean.value)} ± {number(mean.half)}"


def number(value: float) -> str:
    """Return three significant digits, without an exponent where that is short."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
