"""Maze: walk to where a picture was taken."""

import numpy as np
from jaxtyping import Float32

from hallucade.evaluation.planning.costs import GoalPictureConfig
from hallucade.evaluation.planning.futures import Cost, Imagination
from hallucade.evaluation.planning.simulated_futures import SimulatedFutures
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.games.maze import MAZE_ACTIONS, YAW, X, Y
from hallucade.games.registry import known_games, make_game, make_vector_game
from hallucade.rollout import Prompt, World

HELD_OUT = 10**9  # recordings count their seeds up from 0 and stay far below
WALK = 24  # frames of a curious player between the start and the goal
NEAR, TURNED = 0.5, 20.0  # cells and degrees from the goal that still count as there


class MazeTask:
    """Episodes begin in held-out walks; the goal is what the walker saw `WALK` frames later.

    Args:
        world: dreams the maze; its pictures' size is the game's.
        episodes: not limited.
        seed: of the walks.
        goal: how near a picture is to the goal picture.
    """

    name = "maze"
    about = f"within {NEAR} cells and {TURNED:g} degrees of where the goal picture was taken"
    measure = "distance from the goal, cells"
    higher = False
    limit = 2 * WALK
    policies: tuple[str, ...] = ("random_hold", "wander")

    def __init__(self, world: World, episodes: int, seed: int, goal: GoalPictureConfig | None = None) -> None:
        if (difference := MAZE_ACTIONS.difference(world.actions)) is not None:
            raise ValueError(f"this run does not dream the maze: {difference}")
        game = world.game if world.game in known_games() else self.name
        self._games, self._game = make_vector_game(game, world.frame_size), make_game(game, world.frame_size)
        self._seed, self._prompt_frames = seed, max(world.model.context, world.frames_per_step)
        self._goal_config = goal or GoalPictureConfig()

    def begin(self, episode: int) -> Prompt:
        seed = HELD_OUT + self._seed * 1_000_003 + episode
        walker = make_bot("wander", MAZE_ACTIONS, 1, seed)
        self._games.reset(np.array([seed]))
        states, frames, rows = [self._games.get_state()], [self._games.frames()], list[np.ndarray]()
        for _ in range(self._prompt_frames - 1 + WALK):
            rows.append(walker(states[-1]))
            self._games.act(rows[-1])
            states.append(self._games.get_state())
            frames.append(self._games.frames())
        last = self._prompt_frames - 1
        self._goal_state = states[-1][0]
        self.wanted = frames[-1][0]
        self._game.set_state(states[last][0])
        shown = np.concatenate(frames[: last + 1])
        held = np.concatenate([np.empty((0, MAZE_ACTIONS.size), np.float32), *rows[:last]])
        return Prompt(shown, held, states[last][0])

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        frame, _ = self._game.act(row)
        state = self._game.get_state()
        distance = float(np.hypot(*(state - self._goal_state)[[X, Y]]))
        turned = abs((state[YAW] - self._goal_state[YAW] + 180) % 360 - 180)
        there = distance <= NEAR and turned <= TURNED
        return Turn(frame, state, bool(there), False, distance)

    def cost(self, world: World) -> Cost:
        return self._goal_config.build(self.wanted, world)

    def simulator(self, world: World) -> Imagination:
        return SimulatedFutures(self._games, self._game.get_state(), world)

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, MAZE_ACTIONS, 1, self._seed + episode)
