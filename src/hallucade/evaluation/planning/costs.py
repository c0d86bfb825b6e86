"""What a planner minimises: the distance from a goal picture, a cost of what is seen, or a learned reward's lack."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from hallucade.config import Config
from hallucade.evaluation.planning.dreamed_futures import encoded
from hallucade.evaluation.planning.futures import Cost, Futures
from hallucade.rollout import World

Over = Literal["last", "mean"]  # which frames count: the last one of the plan, or all alike
Reader = Callable[[np.ndarray], np.ndarray]  # pictures `n f h w 3` to one cost a frame, `n f`
Reward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # pictures `n f h w 3`, rows `n f c`: one reward a frame, `n f`


@dataclass(frozen=True, kw_only=True)
class GoalPictureConfig(Config):
    """How the distance from a picture is measured."""

    space: Literal["pixels", "latents"] = "pixels"  # the tokenizer's latents, as DINO-WM does with its own
    over: Over = "last"

    def build(self, goal: UInt8[np.ndarray, "h w 3"], world: World) -> Cost:
        """Build the cost of not looking like `goal`.

        Raises:
            ValueError: a picture of another size than the world dreams, or latents of more than one frame.
        """
        check_goal(goal, world)
        if self.space == "latents" and world.tokenizer.stride > 1:
            stride = world.tokenizer.stride
            raise ValueError(f"a latent of this world covers {stride} frames and a goal is one; measure in pixels")
        return GoalPicture(self, goal, world)


class GoalPicture:
    """Mean squared error: of grey levels scaled to 0 to 1, or of latents."""

    def __init__(self, config: GoalPictureConfig, goal: UInt8[np.ndarray, "h w 3"], world: World) -> None:
        self.config = config
        self._goal = goal.astype(np.float32) / 255
        self._latent = encoded(world, goal[None, None])[:, 0].float() if config.space == "latents" else None

    def __call__(self, futures: Futures) -> Float64[np.ndarray, "n"]:
        seen = futures.last() if self.config.over == "last" else futures
        if self._latent is not None:
            error = (seen.latents.float() - self._latent[:, None]).square().flatten(2).mean((1, 2))
            return error.double().cpu().numpy()
        # One future at a time: its frames as floats are four times their size.
        errors = [np.square(f.astype(np.float32) / 255 - self._goal).mean() for f in seen.frames]
        return np.array(errors, np.float64)


class ReaderCost:
    """A cost of the state, as a reader of pictures sees it: the same for dreams and simulators.

    Args:
        reader: gives each frame a cost.
        over: which frames count.
    """

    def __init__(self, reader: Reader, over: Over = "mean") -> None:
        self._reader, self._over = reader, over

    def __call__(self, futures: Futures) -> Float64[np.ndarray, "n"]:
        seen = futures.last() if self._over == "last" else futures
        return np.asarray(self._reader(seen.frames), np.float64).mean(1)


class LearnedReward:
    """The lack of a reward that a model predicts, discounted.

    Args:
        reward: gives each frame, and the action that led to it, a reward.
        discount: of the next frame against this one.

    Raises:
        ValueError: a discount that is no share.
    """

    def __init__(self, reward: Reward, discount: float = 1.0) -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"discount is {discount}; choose one in (0, 1]")
        self._reward, self._discount = reward, discount

    def __call__(self, futures: Futures) -> Float64[np.ndarray, "n"]:
        with torch.no_grad():
            rewards = np.asarray(self._reward(futures.frames, futures.rows), np.float64)
        weights = self._discount ** np.arange(rewards.shape[1], dtype=np.float64)
        return -(rewards * weights).sum(1)


def check_goal(goal: UInt8[np.ndarray, "h w 3"], world: World) -> None:
    """Refuse a goal that no dreamed frame can look like.

    Raises:
        ValueError: names both sizes.
    """
    if goal.shape[:2] != world.frame_size:
        have, want = ("x".join(map(str, size)) for size in (goal.shape[:2], world.frame_size))
        raise ValueError(f"the goal picture is {have} pixels (height x width), the model dreams {want}; resize it")
