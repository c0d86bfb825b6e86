"""Actions that were read off frames beside those that were held: F1 of buttons and options, bin errors of axes.

Every button is a class, and so is every option of a choice but its first. A figure that is undefined is absent: no
recall or F1 of a button that was never held, no precision of one that was never read. Macro figures are means over the
classes for which they are defined, micro figures those of all classes' counts together.

Source of the measures: Guo et al. 2025, arXiv:2504.08388, section 5.1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from hallucade.actions import ActionSpace
from hallucade.evaluation.intervals import percentile_interval, resampled_sums
from hallucade.models.inverse_dynamics import InverseDynamics

Figures = dict[str, Float64[np.ndarray, "r"]]  # one value a resample; NaN where undefined
Rows = Float32[np.ndarray, "n m c"]  # raw action rows of n clips


@dataclass(frozen=True)
class ActionCounts:
    """What was read beside what was held, summed over each clip."""

    classes: tuple[str, ...]
    axes: tuple[str, ...]
    hits: Float64[np.ndarray, "n classes"]  # held and read
    false: Float64[np.ndarray, "n classes"]  # read and not held
    missed: Float64[np.ndarray, "n classes"]  # held and not read
    frames: Float64[np.ndarray, "n 1"]
    bin_errors: Float64[np.ndarray, "n axes"]  # bins between what was read and what was held

    def joined(self, other: "ActionCounts") -> "ActionCounts":
        """Return the clips of both."""
        names = ("hits", "false", "missed", "frames", "bin_errors")
        parts = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        return ActionCounts(self.classes, self.axes, **parts)

    def resampled(self, resamples: int, seed: int) -> "ActionCounts":
        """Return the sums of resampled clips, as so many clips; with one seed the same clips are drawn every time."""
        columns = [self.hits, self.false, self.missed, self.frames, self.bin_errors]
        sums = resampled_sums(np.concatenate(columns, 1), resamples, np.random.default_rng(seed))
        parts = np.split(sums, np.cumsum([part.shape[1] for part in columns])[:-1], 1)
        return ActionCounts(self.classes, self.axes, *parts)

    def total(self) -> "ActionCounts":
        """Return the sums of all clips, as one clip."""
        columns = (self.hits, self.false, self.missed, self.frames, self.bin_errors)
        return ActionCounts(self.classes, self.axes, *(part.sum(0, keepdims=True) for part in columns))

    def figures(self) -> Figures:
        """Return the figures of each clip."""
        return dict(self._figures())

    def _figures(self) -> Iterator[tuple[str, Float64[np.ndarray, "r"]]]:
        hits, false, missed = self.hits, self.false, self.missed
        ratios = {
            "precision": (hits, hits + false),
            "recall": (hits, hits + missed),
            "f1": (2 * hits, 2 * hits + false + missed),
        }
        for name, (part, whole) in ratios.items() if self.classes else ():
            shares = np.where(hits + missed > 0, _share(part, whole), np.nan) if name == "f1" else _share(part, whole)
            yield from ((f"{name}/{each}", shares[:, i]) for i, each in enumerate(self.classes))
            yield f"{name}_macro", _known_mean(shares)
            yield f"{name}_micro", _share(part.sum(1), whole.sum(1))
        if self.classes:
            accuracy = 1 - (false + missed) / self.frames
            yield from ((f"accuracy/{each}", accuracy[:, i]) for i, each in enumerate(self.classes))
            yield "accuracy", accuracy.mean(1)
        if self.axes:
            errors = self.bin_errors / self.frames
            yield from ((f"bin_error/{each}", errors[:, i]) for i, each in enumerate(self.axes))
            yield "bin_error", errors.mean(1)


def count_actions(network: InverseDynamics, held: Rows, read: Rows) -> ActionCounts:
    """Compare what a network read with what was held."""
    actions = network.actions
    ours, theirs = (_classes(actions, rows) for rows in (held, read))
    bins = [_bins(network, rows) for rows in (held, read)]
    return ActionCounts(
        class_names(actions),
        tuple(axis.name for axis in actions.axes),
        hits=(ours & theirs).sum(1).astype(np.float64),
        false=(~ours & theirs).sum(1).astype(np.float64),
        missed=(ours & ~theirs).sum(1).astype(np.float64),
        frames=np.full((len(held), 1), float(held.shape[1])),
        bin_errors=np.abs(bins[0] - bins[1]).sum(1).astype(np.float64),
    )


def _bins(network: InverseDynamics, rows: Rows) -> Int64[np.ndarray, "b t axes"]:
    """Return the bin of every axis in every row."""
    flat = torch.from_numpy(rows.reshape(-1, network.actions.size))
    return network.targets(flat).bins.numpy().reshape(*rows.shape[:2], -1)


def class_names(actions: ActionSpace) -> tuple[str, ...]:
    """Return the names of the classes: ``fire``, ``move=up``."""
    options = [f"{choice.name}={option}" for choice in actions.choices for option in choice.options[1:]]
    return (*(button.name for button in actions.buttons), *options)


def scored(
    counts: ActionCounts, prefix: str, suffix: str = "", resamples: int = 0, seed: int = 0
) -> Mapping[str, float]:
    """Return the figures of all clips as ``{prefix}f1_macro{suffix}``, with ``_low`` and ``_high`` over resamples."""
    values = {name: float(value[0]) for name, value in counts.total().figures().items()}
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    metrics = {f"{prefix}{name}{suffix}": value for name, value in known.items()}
    if resamples and len(counts.frames) > 1:
        drawn = counts.resampled(resamples, seed).figures()
        metrics |= _intervals({f"{prefix}{name}{suffix}": drawn[name] for name in known})
    return metrics


def shares_of_ceiling(
    dreamed: ActionCounts, real: ActionCounts, prefix: str, resamples: int, seed: int
) -> Mapping[str, float]:
    """Return F1 of a dream over that of real frames of the same clips as ``{prefix}f1_macro_share``, and so on."""
    ours, theirs = dreamed.total().figures(), real.total().figures()
    drawn, ceilings = (counts.resampled(resamples, seed).figures() for counts in (dreamed, real))
    metrics = dict[str, float]()
    for name in ("f1_macro", "f1_micro") if dreamed.classes else ():
        share, key = float(_share(ours[name], theirs[name])[0]), f"{prefix}{name}_share"
        if np.isfinite(share):
            metrics |= {key: share} | _intervals({key: _share(drawn[name], ceilings[name])})
    return metrics


def _intervals(drawn: Mapping[str, Float64[np.ndarray, "r"]]) -> dict[str, float]:
    found = {name: percentile_interval(values) for name, values in drawn.items()}
    known = {name: ends for name, ends in found.items() if ends is not None}
    return {f"{name}_{end}": ends[i] for name, ends in known.items() for i, end in enumerate(("low", "high"))}


def _classes(actions: ActionSpace, rows: Rows) -> Bool[np.ndarray, "n m classes"]:
    """Say for each class whether it is held."""
    held = [rows[..., : len(actions.buttons)] >= 0.5]
    for column, choice in enumerate(actions.choices, len(actions.buttons)):
        held.append(rows[..., column, None] == np.arange(1, len(choice.options)))
    return np.concatenate(held, -1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part of whole, NaN of nothing."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _known_mean(values: Float64[np.ndarray, "r k"]) -> Float64[np.ndarray, "r"]:
    known = np.isfinite(values)
    return _share(np.where(known, values, 0).sum(1), known.sum(1))
