"""One player's game: the dream, and the real game under the same controls. It runs on the worker thread."""

import dataclasses
import time
from collections import deque
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hallucade.games.base import Game
from hallucade.games.registry import make_game
from hallucade.play.controller import Controller, Held
from hallucade.play.envelope import Envelope, Flag, codec_for, encode_picture
from hallucade.play.steering import Steering
from hallucade.rollout import Prompt, Session, World
from hallucade.samplers.base import Sampler


class LiveGame:
    """Frames one at a time, each under what was held when its block began.

    Raises:
        ValueError: there is no such prompt, or the sampler's steps cannot be changed.
    """

    def __init__(self, world: World, prompt: int = 0, seed: int = 0, steps: int | None = None) -> None:
        self.world = world
        self.prompt: int = prompt
        self.seed: int = seed
        self._simulator = None if world.game is None else make_game(world.game, world.frame_size)
        self._codec = codec_for(*world.frame_size)
        self._dreamed: deque[UInt8[np.ndarray, "h w 3"]] = deque()  # what is left of the current block
        self._held, self._row = Held(), world.actions.idle
        self._timings = (0.0, 0.0, 0.0)  # seconds of waiting, inference and decoding, of the current block
        sampler = world.sampler if steps is None else with_steps(world.sampler, steps)
        self._session = Session(world.with_sampler(sampler), self._find(prompt), seed)
        self.start = self._begin()  # the prompt's last frame

    @property
    def steps(self) -> int | None:
        """Sampling steps; None where they cannot be changed."""
        return steps_of(self._session.sampler)

    def set_steps(self, steps: int) -> None:
        """Sample in that many steps from the next block on.

        Raises:
            ValueError: the sampler has no steps.
        """
        self._session.sampler = with_steps(self._session.sampler, steps)

    @property
    def has_real(self) -> bool:
        """Whether the real game runs along; a prompt without a simulator state has none."""
        return self._real is not None

    def reset(self, prompt: int | None = None, seed: int | None = None) -> Envelope:
        """Start again and return the prompt's last frame; None takes the next prompt or seed.

        Raises:
            ValueError: there is no such prompt.
        """
        prompt = (self.prompt + 1) % len(self.world.prompts) if prompt is None else prompt
        seed = (self.seed + 1) % 2**31 if seed is None else seed
        self._session.reset(self._find(prompt), seed)
        self.prompt, self.seed = prompt, seed
        self.start = self._begin()
        return self.start

    def advance(self, controller: Controller) -> Envelope:
        """Return the next frame; `controller` is read when a new block begins, and then at the last moment."""
        if not self._dreamed:
            self._dream(controller.read())
        began = time.monotonic()
        index = self._session.frame_index - len(self._dreamed) + 1
        real = None if self._real is None else self._real.act(self._row)[0]
        return self._envelope(self._dreamed.popleft(), real, began, index=index)

    def _dream(self, held: Held) -> None:
        self._held, self._row = held, self._steering.row(held)
        began = time.monotonic()
        latents = self._session.advance(self._row)
        inferred = time.monotonic()
        self._dreamed.extend(self._session.decode(latents)[0].cpu().numpy())
        wait = 0.0 if held.received is None else began - held.received
        self._timings = (wait, inferred - began, time.monotonic() - inferred)

    def _begin(self) -> Envelope:
        began, prompt = time.monotonic(), self._session.prompt
        self._dreamed.clear()
        self._steering = Steering(self.world.actions, self.world.frames_per_step)
        self._real: Game | None = None
        if self._simulator is not None and prompt.state is not None:
            self._real = self._simulator
            self._real.set_state(prompt.state)
        self._row, self._timings = self.world.actions.idle, (0.0, 0.0, 0.0)
        real = None if self._real is None else self._real.frame()
        return self._envelope(prompt.frames[-1], real, began, index=0, flags=Flag.PROMPT)

    def _find(self, prompt: int) -> Prompt:
        count = len(self.world.prompts)
        if prompt >= count:
            raise ValueError(f"there is no prompt {prompt}; this model has {count}, the first is 0")
        return self.world.prompts[prompt]

    def _envelope(
        self,
        dream: UInt8[np.ndarray, "h w 3"],
        real: UInt8[np.ndarray, "h w 3"] | None,
        began: float,
        index: int,
        flags: Flag = Flag.NONE,
    ) -> Envelope:
        pictures = tuple(encode_picture(image, self._codec) for image in (dream, real) if image is not None)
        wait, infer, decode, encode = (round(s * 1e6) for s in (*self._timings, time.monotonic() - began))
        height, width = self.world.frame_size
        return Envelope(
            codec=self._codec,
            width=width,
            height=height,
            pictures=pictures,
            row=tuple(self._row.tolist()),
            flags=flags | (Flag.NONE if real is None else Flag.REAL),
            index=index,
            input_seq=self._held.seq,
            input_time=self._held.time,
            wait_us=wait,
            infer_us=infer,
            decode_us=decode,
            encode_us=encode,
        )


def steps_of(sampler: Sampler[Any]) -> int | None:
    """Return a sampler's steps, None where it has no such setting."""
    return getattr(getattr(sampler, "config", None), "steps", None)


def with_steps(sampler: Sampler[Any], steps: int) -> Sampler[Any]:
    """Return the same sampler with another number of steps.

    Raises:
        ValueError: it has no such setting.
    """
    config: Any = getattr(sampler, "config", None)
    if steps_of(sampler) is None:
        raise ValueError(f"{type(sampler).__name__} has no number of steps; leave steps out")
    return dataclasses.replace(config, steps=steps).build()
