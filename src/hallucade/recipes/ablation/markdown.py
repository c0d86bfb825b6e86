"""An ablation as Markdown: the table, what is significant, and what did not come to its end."""

from collections.abc import Sequence

from hallucade.recipes.ablation.columns import direction
from hallucade.recipes.ablation.results import ArmResult, Finding, Results, Verdict, split_verdicts
from hallucade.recipes.ablation.statistics import LEVEL, Mean, least_sign_flip

ALL_PATHS = "all"


def markdown(results: Results, metrics: Sequence[str], title: str) -> str:
    """Return the whole page."""
    parts = [f"# {title}", budget(results), table(results, metrics), *statement(results, metrics), *remarks(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(results: Results, metrics: Sequence[str]) -> str:
    """Return the arms as rows: mean and half a 95 % interval over seeds, the best mean of a metric in bold."""
    paths = [path for path, _ in results.arms[0].arm.settings]
    heads = [
        *paths,
        *(f"{metric} ({direction(metric)})" for metric in metrics),
        "parameters",
        "TFLOPs",
        "seconds",
        "runs",
    ]
    best = {metric: results.best(metric) for metric in metrics}
    lines = [heads, ["---"] * len(heads)]
    for each in results.arms:
        values = [_cell(each.mean(metric), best[metric] is each.arm) for metric in metrics]
        seconds = "" if each.seconds is None else f"{each.seconds.value:,.0f}"
        size = [f"{each.cost.parameters:,}", f"{each.cost.flops / 1e12:,.1f}", seconds]
        runs = f"{len(each.finished)}/{results.seeds}"
        lines.append([*(value for _, value in each.arm.settings), *values, *size, runs])
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def budget(results: Results) -> str:
    """Say what all arms share, or between what bounds they differ."""
    steps = _span([each.cost.steps for each in results.arms])
    frames = _span([each.cost.frames for each in results.arms])
    return (
        f"{len(results.arms)} arms, {results.seeds} seed(s) each; a run is {steps} steps and {frames} frames in clips, the "
        "same clips in the same order where the recipes read alike. TFLOPs are those of all forward and backward passes."
    )


def statement(results: Results, metrics: Sequence[str]) -> list[str]:
    """Say of every metric what is significant."""
    if len(results.arms) < 2:
        return ["## What is significant", "One arm: there is nothing to compare."]
    method = (
        f"Each arm is compared with **{results.baseline.label}** on each metric by a two-sided t-test on the differences a "
        f"seed (Welch's test where arms share fewer than two seeds), with Holm's correction for the arms of that metric "
        f"and an error of {LEVEL:.0%}; metrics are not corrected for one another. The test assumes that differences "
        f"between seeds are normal. {_caution(results)}"
    )
    lines = [f"- {_of_metric(results, metric)}" for metric in metrics]
    return ["## What is significant", method, "\n".join(lines)]


def remarks(results: Results) -> list[str]:
    """Name every combination that was refused and every run that did not come to its end."""
    lines = [f"- refused: {' '.join(v for _, v in each.settings)}: {each.reason}" for each in results.refused]
    commits = set[str]()
    for each in results.arms:
        for seed, record in each.records.items():
            what = f"{each.arm.label}, seed {seed}"
            if record is None or record.state == "started":
                lines.append(f"- not finished: {what}")
            elif record.state != "finished":
                lines.append(f"- {record.state}: {what}: {record.reason}")
            if record is not None:
                commits.add((record.commit or "unknown")[:12])
    if len(commits) > 1:
        lines.append(f"- runs of several versions of the code: commits {', '.join(sorted(commits))}")
    return ["## Read with care", "\n".join(lines)] if lines else []


def number(value: float) -> str:
    """Return three significant digits, without an exponent where that is short."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _caution(results: Results) -> str:
    if results.seeds < 2:
        return "Of one seed nothing can be concluded."
    floor = least_sign_flip(results.seeds)
    if floor <= LEVEL:
        return ""
    return (
        f"Without that assumption {results.seeds} seeds show nothing: flipping signs cannot give a p-value below "
        f"{floor:g}. Read what follows as a hint, and train more seeds where it matters."
    )


def _of_metric(results: Results, metric: str) -> str:
    verdicts = split_verdicts(results.findings(metric))
    said = [f"{verdict}: {_list(verdicts[verdict])}" for verdict in ("better", "worse") if verdicts[verdict]]
    if verdicts["open"]:
        said.append(f"no difference can be told: {_list(verdicts['open'])}")
    if verdicts["not tested"]:
        said.append(f"not tested (too few values, or none of them differs): {_list(verdicts['not tested'])}")
    return f"**{metric}** ({direction(metric)}): {'; '.join(said)}."


def _list(findings: Sequence[Finding]) -> str:
    return ", ".join(_finding(each) for each in findings)


def _finding(found: Finding) -> str:
    if found.difference is None or found.p is None:
        return found.arm.label
    gain, half = -found.difference.value, found.difference.half
    word: Verdict = "better" if gain >= 0 else "worse"
    return f"{found.arm.label} ({word} by {number(abs(gain))} ± {number(half)}, p = {found.p:.2g})"


def _cell(mean: Mean | None, best: bool) -> str:
    if mean is None:
        return "-"
    text = number(mean.value) if mean.half is None else f"{number(mean.value)} ± {number(mean.half)}"
    return f"**{text}**" if best else text


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def describe(result: ArmResult) -> str:
    """Return an arm's settings with their paths."""
    return ", ".join(f"{path} = {value}" for path, value in result.arm.settings)
