"""What may be concluded from an ablation, and what not, in words."""

from collections.abc import Sequence

from hallucade.evaluation.seed_statistics import LEVEL, least_sign_flip
from hallucade.recipes.ablation.columns import direction
from hallucade.recipes.ablation.results import Finding, Results, split_verdicts
from hallucade.recipes.ablation.table import number


def budget(results: Results) -> str:
    """Say what a run is, and how far all arms share it."""
    steps = _span([each.cost.steps for each in results.arms])
    frames = _span([each.cost.frames for each in results.arms])
    return (
        f"{len(results.arms)} arms, {results.seeds} seed(s) each. A run is {steps} steps and {frames} frames in clips; "
        "runs of one seed read the same clips in the same order. TFLOPs count all forward and backward passes of a "
        "run, seconds its training steps."
    )


def method(results: Results) -> str:
    """Say how arms are compared, and what that assumes."""
    if len(results.arms) < 2:
        return "One arm: there is nothing to compare."
    if results.seeds < 2:
        return "One seed: nothing can be concluded."
    return (
        f"Every arm is compared with **{results.baseline.label}**, on each metric by a two-sided t-test on the "
        "differences of runs that share a seed (by Welch's test where fewer than two do), with Holm's correction for "
        f"the number of arms and an error of {LEVEL:.0%} a metric. ± is half the 95 % interval, not corrected. The "
        f"test assumes that what differs between seeds is normal. {_caution(results)}"
    ).strip()


def of_metric(results: Results, metric: str) -> str:
    """Say of one metric which arms are better or worse than the baseline, and where nothing can be told."""
    verdicts = split_verdicts(results.findings(metric))
    said = [f"{verdict}: {_listed(verdicts[verdict])}" for verdict in ("better", "worse") if verdicts[verdict]]
    if verdicts["open"]:
        said.append(f"no difference can be told: {_listed(verdicts['open'])}")
    if verdicts["not tested"]:
        said.append(f"not tested, as values are too few or do not vary: {_listed(verdicts['not tested'])}")
    return f"({direction(metric)}) {'; '.join(said)}."


def remarks(results: Results) -> list[str]:
    """Name every combination that was refused and every run that did not come to its end."""
    lines = [f"refused: {' '.join(value for _, value in each.settings)}: {each.reason}" for each in results.refused]
    commits = set[str]()
    for each in results.arms:
        for seed, record in each.records.items():
            what = f"{each.arm.label}, seed {seed}"
            if record is None or record.state == "started":
                lines.append(f"not finished: {what}")
            elif record.state != "finished":
                lines.append(f"{record.state}: {what}: {record.reason}")
            if record is not None:
                commits.add((record.commit or "unknown")[:12])
    if len(commits) > 1:
        lines.append(f"runs of several versions of the code: {', '.join(sorted(commits))}")
    return lines


def _caution(results: Results) -> str:
    floor = least_sign_flip(results.seeds)
    if floor <= LEVEL:
        return ""
    return (
        f"Without that assumption {results.seeds} seeds show nothing, since flipping the signs of {results.seeds} "
        f"differences gives no p-value below {floor:g}: take what follows as a hint, and train more seeds where it "
        "matters."
    )


def _listed(findings: Sequence[Finding]) -> str:
    return ", ".join(_said(each) for each in findings)


def _said(found: Finding) -> str:
    if found.difference is None or found.p is None:
        return found.arm.label
    gain = -found.difference.value
    word = "better" if gain >= 0 else "worse"
    return f"{found.arm.label} ({word} by {number(abs(gain))} ± {number(found.difference.half)}, p = {found.p:.2g})"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
