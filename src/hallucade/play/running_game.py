"""A live game against the clock: running, paused or stepping, with frames that end in the player's outbox."""

import asyncio
import dataclasses

from hallucade.play.controller import Controller
from hallucade.play.envelope import Flag
from hallucade.play.live_game import LiveGame
from hallucade.play.outbox import Outbox
from hallucade.play.pacer import Pacer
from hallucade.play.protocol import Open, Playing
from hallucade.play.session_pool import SessionPool


class RunningGame:
    """Built by ``open``; ``run`` never ends by itself."""

    def __init__(self, game: LiveGame, pool: SessionPool, controller: Controller, outbox: Outbox, fps: float) -> None:
        self.dreamed = 0
        self.pacer = Pacer(fps)
        self._game, self._pool, self._controller, self._outbox = game, pool, controller, outbox
        self._left: int | None = None  # frames before it pauses; None runs on
        self._going = asyncio.Event()
        self._going.set()
        outbox.offer(game.start)

    @classmethod
    async def open(cls, wish: Open, pool: SessionPool, controller: Controller, outbox: Outbox) -> "RunningGame":
        """Start a game as the player wishes.

        Raises:
            ValueError: this model has no such prompt, or its steps are fixed.
        """
        game = await pool.compute(LiveGame, pool.world, wish.prompt, wish.seed, wish.steps)
        opened = cls(game, pool, controller, outbox, wish.fps or pool.world.fps)
        opened.pause(wish.paused)
        return opened

    async def run(self) -> None:
        """Dream frame after frame."""
        while True:
            await self._going.wait()
            late = await self.pacer.wait()
            if not self._going.is_set():  # paused while it slept
                continue
            if self._left is not None:
                self._go_on_for(self._left - 1)
            frame = await self._pool.compute(self._game.advance, self._controller)
            self.dreamed += 1
            self._outbox.offer(dataclasses.replace(frame, flags=frame.flags | Flag.LATE) if late else frame)

    def pause(self, paused: bool) -> None:
        """Stop after the frame that is being dreamed, or run on."""
        self._go_on_for(0 if paused else None)

    def step(self, count: int) -> None:
        """Advance by `count` frames, on top of those still to come, and pause."""
        self._go_on_for((self._left or 0) + count)

    async def reset(self, prompt: int | None, seed: int | None) -> None:
        """Start again, see ``LiveGame.reset``."""
        self._outbox.offer(await self._pool.compute(self._game.reset, prompt, seed))

    async def set(self, steps: int | None, fps: float | None) -> None:
        """Change what is not None.

        Raises:
            ValueError: the sampler's steps are fixed.
        """
        if steps is not None:
            await self._pool.compute(self._game.set_steps, steps)
        if fps is not None:
            self.pacer.fps = fps

    def describe(self) -> Playing:
        """Say how the game now stands."""
        return Playing(
            prompt=self._game.prompt,
            seed=self._game.seed,
            steps=self._game.steps,
            fps=self.pacer.fps,
            paused=self._left is not None,
            real=self._game.has_real,
        )

    def _go_on_for(self, left: int | None) -> None:
        if left == 0:
            self._going.clear()
        elif not self._going.is_set():
            self.pacer.restart()
            self._going.set()
        self._left = left
