"""The true game as a model of itself: what the same planner would do with a perfect dream."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Float64

from hallucade.evaluation.planning.dreamed_futures import encoded
from hallucade.evaluation.planning.futures import Futures
from hallucade.games.base import VectorGame
from hallucade.rollout import World


class SimulatedFutures:
    """Plays on from a known state, with pictures of the same size and, if a cost asks, the same tokenizer's latents.

    Args:
        games: set to each future in turn; what they were set to before is lost.
        state: where every candidate starts.
        world: lends its tokenizer.
    """

    def __init__(self, games: VectorGame, state: Float64[np.ndarray, "s"], world: World) -> None:
        self._games, self._state, self._world = games, state, world

    def __call__(self, rows: Float32[np.ndarray, "n f c"]) -> Futures:
        n, frames, _ = rows.shape
        self._games.set_state(np.tile(self._state, (n, 1)))
        states = np.empty((n, frames, len(self._state)))
        for frame in range(frames):
            self._games.act(rows[:, frame])
            states[:, frame] = self._games.get_state()

        def draw() -> np.ndarray:
            self._games.set_state(states.reshape(n * frames, -1))
            pictures = self._games.frames()
            return pictures.reshape(n, frames, *pictures.shape[1:])

        return simulated(rows, draw, self._world, states)


def simulated(
    rows: Float32[np.ndarray, "n f c"],
    draw: Callable[[], np.ndarray],
    world: World,
    states: Float64[np.ndarray, "n f s"],
    ending: Callable[[], Futures] | None = None,
) -> Futures:
    """Return futures whose latents are those of their own pictures."""
    futures = Futures(rows, draw, lambda: encoded(world, futures.frames), states, ending)
    return futures
