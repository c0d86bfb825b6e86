"""Any game with a simulator: make the screen look like a picture that the user gives."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, UnidentifiedImageError

from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.planning.costs import GoalPictureConfig, check_goal
from hallucade.evaluation.planning.futures import Cost, Imagination
from hallucade.evaluation.planning.simulated_futures import SimulatedFutures
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.games.registry import make_game, make_vector_game
from hallucade.rollout import Prompt, World

ALIKE = 25.0  # dB between the goal and a picture that counts as it


class PictureTask:
    """Episodes start from the run's own prompts, in turn; the cost is the distance from the goal picture.

    Args:
        world: of a game with a simulator, with prompts that carry its states.
        goal: of the size that the world dreams.
        seed: of the bots.
        config: how the distance is measured.

    Raises:
        ValueError: a goal of another size, a world without a simulator, or prompts without states.
    """

    name = "picture"
    about = f"the screen comes within {ALIKE:g} dB of the goal picture"
    measure = "best likeness to the goal, dB"
    higher = True
    limit = 60
    policies: tuple[str, ...] = ("random_hold",)

    def __init__(
        self, world: World, goal: UInt8[np.ndarray, "h w 3"], seed: int, config: GoalPictureConfig | None = None
    ) -> None:
        check_goal(goal, world)
        self._starts = [(prompt, prompt.state) for prompt in world.prompts if prompt.state is not None]
        if world.game is None or not self._starts:
            raise ValueError("this run has no simulator, or no prompts with its states: there is nowhere to act")
        self._game, self._games = (
            make_game(world.game, world.frame_size),
            make_vector_game(world.game, world.frame_size),
        )
        self.wanted, self._seed, self._config = goal, seed, config or GoalPictureConfig()

    def begin(self, episode: int) -> Prompt:
        prompt, state = self._starts[episode % len(self._starts)]
        self._game.set_state(state)
        return prompt

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        frame, _ = self._game.act(row)
        likeness = float(psnr(torch.from_numpy(frame), torch.from_numpy(self.wanted)))
        return Turn(frame, self._game.get_state(), likeness >= ALIKE, False, likeness)

    def cost(self, world: World) -> Cost:
        return self._config.build(self.wanted, world)

    def simulator(self, world: World) -> Imagination:
        return SimulatedFutures(self._games, self._game.get_state(), world)

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, self._game.actions, 1, self._seed + episode)


def read_goal(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture file in RGB.

    Raises:
        ValueError: the file is no picture.
    """
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"), np.uint8)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture that can be read; give a PNG or JPEG") from error
