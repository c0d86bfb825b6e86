"""What a comparison says of recipes and not only of their weights: means over runs that differ in their seed alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from hallucade.evaluation.compare.check import REAL, Comparison
from hallucade.evaluation.seed_statistics import Difference, Mean, difference, mean_of

Arms = Mapping[str, Mapping[int, str]]  # names of runs, by the seed of their training, by the name of what they share


@dataclass(frozen=True)
class OverSeeds:
    """Means over the runs of each arm, the first being the one that others are held against.

    Raises:
        ValueError: a run is in no arm or in two.
    """

    comparison: Comparison
    arms: Arms

    def __post_init__(self) -> None:
        named = sorted(run for seeds in self.arms.values() for run in seeds.values())
        if named != sorted(self.comparison.runs):
            raise ValueError(f"arms hold {', '.join(named)}; give each of {', '.join(self.comparison.runs)} once")

    @property
    def repeated(self) -> bool:
        """Whether any arm has more than one run."""
        return any(len(seeds) > 1 for seeds in self.arms.values())

    def mean(self, arm: str, metric: str) -> Mean | None:
        """Return the mean over the runs that have this metric; None where none has."""
        values = list(self._values(arm, metric).values())
        return mean_of(values) if values else None

    def difference(self, arm: str, metric: str) -> Difference | None:
        """Return an arm's figure less the first arm's, by seeds that both have; None where nothing can be tested."""
        return difference(self._values(arm, metric), self._values(next(iter(self.arms)), metric))

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text, its head first: an arm a column, then how others differ from the first.

        A difference whose interval does not hold 0 is marked with an asterisk.
        """
        (first, *_), others = self.arms, list(self.arms)[1:]
        ceilings = self.comparison.scores.get(REAL, {})
        heads = (f"{arm}, {_counted(len(seeds))}" for arm, seeds in self.arms.items())
        rows = [("metric", *((REAL,) if ceilings else ()), *heads, *(f"{arm} less {first}" for arm in others))]
        for metric in self.comparison.metrics:
            ceiling = ceilings.get(metric)
            real = ("–" if ceiling is None else f"{ceiling.value:.4g}",) if ceilings else ()
            means = (_mean(self.mean(arm, metric)) for arm in self.arms)
            rows.append((metric, *real, *means, *(_less(self.difference(arm, metric)) for arm in others)))
        return rows

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values; what is not defined is absent."""
        return {
            arm: {
                "runs": {str(seed): run for seed, run in seeds.items()},
                "scores": {
                    metric: {"value": found.value, "half": found.half, "seeds": found.seeds}
                    for metric in self.comparison.metrics
                    if (found := self.mean(arm, metric)) is not None
                },
            }
            for arm, seeds in self.arms.items()
        }

    def _values(self, arm: str, metric: str) -> dict[int, float]:
        scores = self.comparison.scores
        return {seed: scores[run][metric].value for seed, run in self.arms[arm].items() if metric in scores[run]}


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _mean(found: Mean | None) -> str:
    if found is None:
        return "–"
    return f"{found.value:.4g}" if found.half is None else f"{found.value:.4g} ± {found.half:.2g}"


def _less(found: Difference | None) -> str:
    if found is None:
        return "–"
    return f"{found.value:+.3g} ± {found.half:.2g}{' *' if abs(found.value) > found.half else ''}"
