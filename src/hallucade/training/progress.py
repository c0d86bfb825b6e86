"""How far a training is: the counters that a checkpoint carries."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingState:
    """Counters of a run; plain numbers, so that they travel as JSON exactly.

    The batch of a step is `batch_index`: after a rollback the offset lets the run read on instead of meeting the
    same batches again.
    """

    step: int = 0  # completed steps, skipped ones included
    offset: int = 0  # batches by which data is ahead of steps
    skipped: int = 0  # steps skipped since the start of the run
    skipped_windows: int = 0  # damaged windows of this rank that others stood in for, since the start of the run
    bad_in_a_row: int = 0
    stage: int = -1  # number of the last one that began
    rollbacks: int = 0  # since the last checkpoint that was newly written
    sums: dict[str, float] = field(default_factory=dict[str, float])  # of values since the last row
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def batch_index(self) -> int:
        """Return the index of the next batch."""
        return self.step + self.offset

    def stages_until(self, number: int) -> range:
        """Count the stages up to this one as begun; return those that were not.

        After a rollback that brought back weights from before a stage, it begins once more.
        """
        fresh = range(self.stage + 1, number + 1)
        self.stage = max(self.stage, number)
        return fresh

    def add(self, values: Mapping[str, float]) -> None:
        """Count values of one step towards the means of the next row."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take_means(self) -> dict[str, float]:
        """Return the mean of each value over the steps that had it, and start again."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def to_json(self) -> dict[str, Any]:
        """Return the counters as JSON."""
        return dataclasses.asdict(self)
