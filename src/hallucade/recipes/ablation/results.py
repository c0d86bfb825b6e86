"""What the runs of an ablation show: the values of every arm, and how it compares with the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hallucade.evaluation.seed_statistics import LEVEL, Difference, Mean, difference, holm, mean_of
from hallucade.recipes.ablation.ablation import Ablation
from hallucade.recipes.ablation.columns import badness
from hallucade.recipes.ablation.cost import Cost
from hallucade.recipes.ablation.grid import Arm, Refusal
from hallucade.recipes.ablation.runs import RunRecord

Verdict = Literal["better", "worse", "open", "not tested"]


@dataclass(frozen=True)
class ArmResult:
    """One arm, its price, and what became of its runs."""

    arm: Arm
    cost: Cost
    records: Mapping[int, RunRecord | None]  # by seed

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric of the finished runs that have it, by seed."""
        return {seed: record.metrics[metric] for seed, record in self.finished.items() if metric in record.metrics}

    def mean(self, metric: str) -> Mean | None:
        """Return the mean over seeds, None without a value."""
        values = list(self.values(metric).values())
        return mean_of(values) if values else None

    @property
    def finished(self) -> dict[int, RunRecord]:
        """The runs that came to their end."""
        return {seed: r for seed, r in self.records.items() if r is not None and r.state == "finished"}

    @property
    def seconds(self) -> Mean | None:
        """Seconds of training."""
        spent = [record.seconds for record in self.finished.values()]
        return mean_of(spent) if spent else None


@dataclass(frozen=True)
class Finding:
    """An arm against the baseline on one metric; differences are in badness, below 0 where the arm is better."""

    arm: Arm
    difference: Difference | None
    p: float | None  # corrected for all arms of this metric
    verdict: Verdict


@dataclass(frozen=True)
class Results:
    """A whole ablation as far as it has come."""

    arms: tuple[ArmResult, ...]
    refused: tuple[Refusal, ...]
    baseline: Arm
    seeds: int

    @classmethod
    def of(cls, ablation: Ablation) -> "Results":
        """Read what the runs have written."""
        found = [
            ArmResult(
                arm,
                ablation.costs[arm.folder],
                {job.seed: job.record() for job in ablation.jobs if job.arm is arm},
            )
            for arm in ablation.grid.arms
        ]
        return cls(tuple(found), ablation.grid.refused, ablation.baseline, ablation.config.seeds)

    @property
    def paths(self) -> tuple[str, ...]:
        """What is varied."""
        return tuple(path for path, _ in self.baseline.settings)

    @property
    def measured(self) -> set[str]:
        """Names of all metrics."""
        return {name for each in self.arms for record in each.finished.values() for name in record.metrics}

    def best(self, metric: str) -> list[Arm]:
        """Return the arms with the best mean, none where all are equal."""
        means = [(each.arm, badness(metric, mean.value)) for each in self.arms if (mean := each.mean(metric))]
        least = min((value for _, value in means), default=0.0)
        leaders = [arm for arm, value in means if value == least]
        return leaders if len(leaders) < len(means) else []

    def findings(self, metric: str) -> list[Finding]:
        """Compare every other arm with the baseline, corrected for their number."""
        sides = {each.arm.folder: _badness(each, metric) for each in self.arms}
        others = [each.arm for each in self.arms if each.arm is not self.baseline]
        tested = {arm.folder: difference(sides[arm.folder], sides[self.baseline.folder]) for arm in others}
        known = {folder: each for folder, each in tested.items() if each is not None}
        corrected = dict(zip(known, holm([each.p for each in known.values()]), strict=True))
        return [_finding(arm, tested[arm.folder], corrected.get(arm.folder)) for arm in others]


def split_verdicts(findings: Sequence[Finding]) -> dict[Verdict, list[Finding]]:
    """Return findings by verdict, all four in a fixed order."""
    order: tuple[Verdict, ...] = ("better", "worse", "open", "not tested")
    return {verdict: [each for each in findings if each.verdict == verdict] for verdict in order}


def _badness(result: ArmResult, metric: str) -> dict[int, float]:
    return {seed: badness(metric, value) for seed, value in result.values(metric).items()}


def _finding(arm: Arm, found: Difference | None, p: float | None) -> Finding:
    if found is None or p is None:
        return Finding(arm, None, None, "not tested")
    if p >= LEVEL:
        return Finding(arm, found, p, "open")
    return Finding(arm, found, p, "better" if found.value < 0 else "worse")
