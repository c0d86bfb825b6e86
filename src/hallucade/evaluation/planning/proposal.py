"""Where candidate plans come from: one distribution over raw action rows a step, for any `ActionSpace`.

A button is pressed with a probability, a choice has one an option, an axis is a Gaussian truncated to its range. All
are drawn the same way: a standard normal number becomes a share in (0, 1), and the share picks a value through the
inverse of the control's own distribution function. So noise that is correlated in time gives buttons that stay pressed
and choices that stay chosen, each exactly as often as its probability says.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64
from scipy.special import ndtr, ndtri

from hallucade.actions import ActionSpace

REOPENED = 0.5  # share of the prior in the probabilities of a warm start: as a spread that is wide again, for axes


@dataclass(frozen=True)
class Proposal:
    """Independent distributions of h steps; see `ActionSpace` for the order of the columns."""

    space: ActionSpace
    pressed: Float64[np.ndarray, "h buttons"]  # probabilities
    options: tuple[Float64[np.ndarray, "h _"], ...]  # one a choice, rows sum to 1
    mean: Float64[np.ndarray, "h axes"]  # of the Gaussians before they are truncated, in the axes' units
    spread: Float64[np.ndarray, "h axes"]  # their standard deviations

    @classmethod
    def prior(cls, space: ActionSpace, steps: int, spread: float) -> "Proposal":
        """Return what knows nothing: even probabilities, axes around where they rest.

        Args:
            space: of the actions.
            steps: h.
            spread: standard deviation of an axis, as a share of half its range.
        """
        widths = np.array([(axis.high - axis.low) / 2 for axis in space.axes], np.float64)
        rests = np.array([a.idle if a.kind == "delta" else (a.low + a.high) / 2 for a in space.axes], np.float64)
        return cls(
            space,
            np.full((steps, len(space.buttons)), 0.5),
            tuple(np.full((steps, len(c.options)), 1 / len(c.options)) for c in space.choices),
            np.tile(rests, (steps, 1)),
            np.tile(spread * widths, (steps, 1)),
        )

    @property
    def steps(self) -> int:
        """Planned rows, h."""
        return len(self.pressed)

    @property
    def mode(self) -> Float32[np.ndarray, "h c"]:
        """The rows that are held when nothing is left to chance: the likeliest options, the axes' means."""
        options = [probabilities.argmax(1)[:, None] for probabilities in self.options]
        low, high = _limits(self.space)
        return np.concatenate([self.pressed > 0.5, *options, np.clip(self.mean, low, high)], 1, dtype=np.float32)

    def draw(self, noise: Float64[np.ndarray, "n h c"]) -> Float32[np.ndarray, "n h c"]:
        """Turn standard normal noise into rows; the same noise gives the same rows."""
        share = ndtr(noise)
        b, d = len(self.space.buttons), len(self.space.buttons) + len(self.space.choices)
        held = share[..., :b] < self.pressed
        chosen = [
            (share[..., b + i, None] > np.cumsum(p, 1)[..., :-1]).sum(-1)[..., None] for i, p in enumerate(self.options)
        ]
        return np.concatenate([held, *chosen, self._truncated(share[..., d:])], 2, dtype=np.float32)

    def _truncated(self, share: Float64[np.ndarray, "n h axes"]) -> Float64[np.ndarray, "n h axes"]:
        low, high = _limits(self.space)
        below, above = ndtr((low - self.mean) / self.spread), ndtr((high - self.mean) / self.spread)
        return np.clip(self.mean + self.spread * ndtri(below + share * (above - below)), low, high)

    def fitted(self, rows: Float32[np.ndarray, "n h c"], weights: Float64[np.ndarray, "n"]) -> "Proposal":
        """Return the distributions of weighted rows; weights sum to 1."""
        b, d = len(self.space.buttons), len(self.space.buttons) + len(self.space.choices)

        def average(values: np.ndarray) -> np.ndarray:
            return np.tensordot(weights, values.astype(np.float64), 1)

        options = tuple(
            np.stack([average(rows[..., b + i] == option) for option in range(p.shape[1])], 1)
            for i, p in enumerate(self.options)
        )
        mean = average(rows[..., d:])
        spread = np.sqrt(average(np.square(rows[..., d:] - mean)))
        return replace(self, pressed=average(rows[..., :b]), options=options, mean=mean, spread=spread)

    def mixed(self, other: "Proposal", share: float) -> "Proposal":
        """Return parameters that are `share` the other's."""
        return self._joined(other, lambda own, others: (1 - share) * own + share * others)

    def open_to(self, prior: "Proposal", least: float) -> "Proposal":
        """Return the same with at least `least` of the prior's probabilities and spread."""
        opened = self.mixed(prior, least)
        return replace(opened, mean=self.mean, spread=np.maximum(self.spread, least * prior.spread))

    def shifted(self, steps: int, prior: "Proposal") -> "Proposal":
        """Return a warm start `steps` later: means move on, spread is the prior's again, and so is the open end."""
        moved = self._joined(prior, lambda own, others: np.concatenate([own[steps:], others[len(others) - steps :]]))
        return replace(moved.mixed(prior, REOPENED), mean=moved.mean, spread=prior.spread)

    def _joined(self, other: "Proposal", how: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> "Proposal":
        return Proposal(
            self.space,
            how(self.pressed, other.pressed),
            tuple(how(own, others) for own, others in zip(self.options, other.options, strict=True)),
            how(self.mean, other.mean),
            how(self.spread, other.spread),
        )


def _limits(space: ActionSpace) -> tuple[Float64[np.ndarray, "axes"], Float64[np.ndarray, "axes"]]:
    return np.array([a.low for a in space.axes], np.float64), np.array([a.high for a in space.axes], np.float64)
