"""The grid of an ablation: every combination of what is varied, as configs, before anything trains."""

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hallucade.recipes.ablation.vary import Axis, parse_axis, put
from hallucade.recipes.run_config import RunConfig

LONGEST_NAME = 100  # characters of a folder's name
NO_CHOICES = ("recipe", "recording", "importing", "source", "networks")  # names, and what --store settles


@dataclass(frozen=True)
class Arm:
    """One combination: what it is called, and the run that it stands for, with the recipe's seed."""

    settings: tuple[tuple[str, str], ...]  # (path, value) as they were typed
    config: RunConfig

    @property
    def label(self) -> str:
        """The values alone."""
        return " ".join(value for _, value in self.settings)

    @property
    def folder(self) -> str:
        """A name for a folder, different for different settings."""
        return folder_name(self.settings)

    def seeded(self, seed: int) -> RunConfig:
        """Return the run of one seed: of fresh weights, order of the data and noise."""
        return replace(self.config, trainer=replace(self.config.trainer, seed=seed))


@dataclass(frozen=True)
class Refusal:
    """A combination that cannot be trained, and why."""

    settings: tuple[tuple[str, str], ...]
    reason: str


@dataclass(frozen=True)
class Grid:
    """All combinations, in the order of the command line."""

    arms: tuple[Arm, ...]
    refused: tuple[Refusal, ...]

    def baseline(self, recipe: RunConfig) -> Arm:
        """Return the arm that changes nothing, or the first."""
        return next((arm for arm in self.arms if arm.config == recipe), self.arms[0])


def make_grid(recipe: RunConfig, vary: Sequence[str]) -> Grid:
    """Combine every setting of every axis.

    A combination that a config refuses is noted. A setting that none of its combinations can take is a mistake.

    Raises:
        ValueError: there is nothing to vary, a path changes no run, a setting fits nowhere, or two arms are the same.
    """
    axes = [parse_axis(text) for text in vary]
    paths = [path for axis in axes for path in axis.paths]
    if not axes:
        raise ValueError("nothing is varied; give --vary PATH=VALUE,VALUE")
    for path in paths:
        if path == "trainer.seed":
            raise ValueError("--vary trainer.seed: every arm is trained with each seed; say how many with --seeds")
        if path.partition(".")[0] in NO_CHOICES:
            raise ValueError(f"--vary {path}: it changes no run on a given store; vary another field")
    if len(set(paths)) < len(paths):
        raise ValueError(f"--vary names a path twice: {', '.join(paths)}; give all its values at once")
    tried = [_arm(recipe, settings) for settings in combinations(axes)]
    arms = tuple(arm for arm in tried if isinstance(arm, Arm))
    refused = tuple(arm for arm in tried if isinstance(arm, Refusal))
    check_used(axes, arms, refused)
    for first, second in itertools.combinations(arms, 2):
        if first.config == second.config:
            raise ValueError(f"{first.label!r} and {second.label!r} are the same run; leave one out")
    return Grid(arms, refused)


def combinations(axes: Iterable[Axis]) -> list[tuple[tuple[str, str], ...]]:
    """Return (path, value) pairs of every combination, the last axis changing fastest."""
    settings = [[tuple(zip(axis.paths, values, strict=True)) for values in axis.settings] for axis in axes]
    return [tuple(itertools.chain.from_iterable(parts)) for parts in itertools.product(*settings)]


def check_used(axes: Iterable[Axis], arms: Sequence[Arm], refused: Sequence[Refusal]) -> None:
    """Refuse a setting that appears in no arm.

    Raises:
        ValueError: with the reason of the first combination that holds it.
    """
    for axis in axes:
        for values in axis.settings:
            setting = set(zip(axis.paths, values, strict=True))
            if not any(setting <= set(arm.settings) for arm in arms):
                reason = next(each.reason for each in refused if setting <= set(each.settings))
                raise ValueError(f"{_said(tuple(zip(axis.paths, values, strict=True)))} cannot be trained: {reason}")


def folder_name(settings: Sequence[tuple[str, str]]) -> str:
    """Return settings as a file name, with a hash where letters had to go."""
    name = _said(settings)
    safe = re.sub(r"[^\w.=,+-]", "_", name)[:LONGEST_NAME]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _said(settings: Sequence[tuple[str, str]]) -> str:
    return ",".join(f"{path}={value}" for path, value in settings)


def _arm(recipe: RunConfig, settings: tuple[tuple[str, str], ...]) -> Arm | Refusal:
    data = recipe.to_json()
    try:
        for path, value in settings:
            put(data, path, value)
        return Arm(settings, RunConfig.from_json(data))
    except ValueError as error:
        return Refusal(settings, str(error))
