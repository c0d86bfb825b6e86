"""An ablation from its config to its runs: planned, priced and checked before anything trains."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hallucade.config import Config
from hallucade.data.latent_cache import LatentCache
from hallucade.data.lock import lock_folder
from hallucade.recipes.ablation.cost import Cost, measure_cost
from hallucade.recipes.ablation.grid import Arm, Grid, Refusal, make_grid
from hallucade.recipes.ablation.runs import Job, JudgeConfig, RunRecord, Store, check_jobs, perform
from hallucade.recipes.latents import on_latents
from hallucade.recipes.run_config import RunConfig

RUNS, CLAIMS = "runs", "claims"
Told = Callable[[Job, RunRecord], None]


@dataclass(frozen=True, kw_only=True)
class AblationConfig(Config):
    """What is compared.

    Raises:
        ValueError: fewer seeds than one, or a recipe that other networks teach.
    """

    recipe: RunConfig  # what all arms share
    vary: tuple[str, ...]  # see `parse_axis`; several make a grid
    seeds: int = 3  # runs an arm, numbered from the recipe's seed
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}; train each arm once or more, and 3 times to compare them")
        if self.recipe.method is not None:
            name = self.recipe.recipe
            raise ValueError(f"{name} learns from another network; vary a recipe that learns from recorded play alone")


class Ablation:
    """The arms of a grid, their prices and their runs below one folder."""

    def __init__(self, config: AblationConfig, store: Store, out: Path, latents: Sequence[LatentCache] = ()) -> None:
        """Plan; nothing is written.

        Args:
            config: what is compared.
            store: recorded play that all arms learn from.
            out: where runs and table go.
            latents: one cache a store; nothing is encoded in training then, and all arms have their autoencoder.

        Raises:
            ValueError: no arm can be trained on this store, or a setting fits nowhere.
        """
        self.config = config = replace(config, recipe=on_latents(config.recipe, latents))
        self.store, self.out, self.latents = store, out, latents
        self.costs = dict[str, Cost]()  # by the arm's folder
        self.grid = self._priced(make_grid(config.recipe, config.vary))
        first = config.recipe.trainer.seed
        self.jobs = [
            Job(arm, seed, out / RUNS / arm.folder / f"seed_{seed}")
            for seed in range(first, first + config.seeds)  # a round of all arms first, so that half a table is fair
            for arm in self.grid.arms
        ]

    @property
    def baseline(self) -> Arm:
        """The arm that others are compared with: the recipe's own choice, or the first."""
        return self.grid.baseline(self.config.recipe)

    def check(self, *, other_code: bool = False) -> None:
        """Refuse a folder with runs of another config, data or code.

        Raises:
            ValueError: names the run and what differs.
        """
        check_jobs(self.jobs, self.store, self.latents, other_code=other_code)

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """Return those of `jobs` that have not come to their end."""
        return [job for job in jobs if not job.ended(self.config.judge)]

    def work(self, jobs: Sequence[Job], told: Told, *, progress: bool = False) -> bool:
        """Perform those of `jobs` that nobody else is at or has done; False if the user wants to stop.

        Any number of processes and machines may do so at once on the same folder.
        """
        for job in jobs:
            claim = self._claim(job)
            if claim is None:
                continue
            try:
                if job.ended(self.config.judge):
                    continue
                record = perform(job, self.store, self.config.judge, self.latents, progress=progress)
            finally:
                os.close(claim)
            if record is None:
                return False
            told(job, record)
        return True

    def _claim(self, job: Job) -> int | None:
        folder = self.out / CLAIMS / job.arm.folder / job.folder.name
        folder.mkdir(parents=True, exist_ok=True)
        return lock_folder(folder)

    def _priced(self, grid: Grid) -> Grid:
        """Build every arm once; those that do not fit the store join the refused."""
        arms, refused = list[Arm](), list(grid.refused)
        for arm in grid.arms:
            try:
                self._check_tokenizer(arm)
                self.costs[arm.folder] = measure_cost(arm.config, self.store, self.latents)
                arms.append(arm)
            except ValueError as error:
                refused.append(Refusal(arm.settings, str(error)))
        if not arms:
            raise ValueError(f"no arm can be trained on this store: {refused[-1].reason}")
        return Grid(tuple(arms), tuple(refused))

    def _check_tokenizer(self, arm: Arm) -> None:
        if self.latents and arm.config.tokenizer != self.config.recipe.tokenizer:
            raise ValueError("the latents that are given have one tokenizer; leave out --latents to vary it")


def share_of(jobs: Sequence[Job], only: str) -> list[Job]:
    """Return the share ``i/n`` of the runs: every n-th from the i-th on, counted from 1.

    Raises:
        ValueError: another form, or a share that does not exist.
    """
    part, _, parts = only.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"--only is {only!r}; write i/n with i from 1 to n, as in 2/4")
    return list(jobs[int(part) - 1 :: int(parts)])
