"""Who may play at the same time, and the one thread on which all dreams are computed.

The thread takes jobs in the order in which they came and a game never has two waiting: that is round-robin, so that a
game at a high frame rate cannot starve another.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from hallucade.play.controller import Controller
from hallucade.play.live_game import LiveGame
from hallucade.play.protocol import Phase
from hallucade.rollout import World

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

WARM_UP_FRAMES = 8  # kernels are chosen, caches filled and, with torch.compile, graphs built in the first few


class PoolFull(Exception):
    """All places are taken."""


class SessionPool:
    """At most `places` games of one world, which `load` returns on the worker thread."""

    def __init__(self, load: Callable[[], World], places: int) -> None:
        self.phase: Phase = "loading"
        self.taken = 0
        self._load, self._places = load, places
        self._world: World | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="hallucade-play")
        self._changed = asyncio.Condition()

    @property
    def world(self) -> World:
        """What is dreamed here, once it is loaded."""
        assert self._world is not None, "the pool is still loading"
        return self._world

    async def prepare(self) -> None:
        """Load and warm up; then the phase is "ready".

        Raises:
            ValueError: there is nothing to start a dream from, or what `load` raises.
        """
        self._world = await self.compute(self._load)
        if not self._world.prompts:
            raise ValueError("this model comes without prompts, so that no game can start; train it again")
        await self._enter("warming up")
        await self.compute(_warm_up, self._world)
        await self._enter("ready")

    async def phases(self) -> AsyncIterator[Phase]:
        """Yield the phase now and after every change, up to "ready"."""
        seen: Phase | None = None
        while seen != "ready":
            async with self._changed:
                while self.phase == seen:
                    await self._changed.wait()
                seen = self.phase
            yield seen

    @contextlib.contextmanager
    def place(self) -> Generator[None]:
        """Hold one of the places.

        Raises:
            PoolFull: there is none.
        """
        if self.taken >= self._places:
            raise PoolFull(f"all {self._places} places are taken")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def compute(
        self, job: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Run `job` on the worker thread; whatever it raises is the caller's, the thread goes on."""
        return await asyncio.wrap_future(self._worker.submit(job, *args, **kwargs))

    def close(self) -> None:
        """Finish the job at hand and stop the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    async def _enter(self, phase: Phase) -> None:
        async with self._changed:
            self.phase = phase
            self._changed.notify_all()


def _warm_up(world: World) -> None:
    game, nobody = LiveGame(world), Controller()
    for _ in range(WARM_UP_FRAMES * world.frames_per_step):
        game.advance(nobody)
