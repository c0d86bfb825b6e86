"""A bot that walks about in a maze as a curious player would: along corridors, stopping to look, sometimes sideways."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt64

from hallucade.games.counter_random import random_bits, uniform
from hallucade.games.maze import MAP, MAZE_ACTIONS, PITCH, YAW, X, Y
from hallucade.games.maze_map import NEIGHBOURS, stack_maps
from hallucade.games.timer import Timer

WALK, LOOK, MOVE, FREE = range(4)  # moods: along corridors; turning only; buttons only; both at once
MOODS = np.cumsum([0.5, 0.17, 0.15])  # shares of the first three; the rest is FREE
FASTEST_TURN = 9.0  # degrees a frame
FASTEST_NOD = 4.0
HIGHEST_LOOK = 30.0  # degrees
STEERING = 0.25  # of the angle to the goal, a frame
EASE = 0.4  # of the way to the wanted turning speed, a frame: a hand on a mouse does not jump
ARRIVED = 0.25  # cells from the goal
AHEAD = 40.0  # degrees to the goal within which it walks
WHEELS = np.array([(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])  # buttons held


class _Held(NamedTuple):
    """What the moods without a goal do until their timer rings."""

    buttons: Int64[np.ndarray, "n 4"]
    turn: Float64[np.ndarray, "n"]  # degrees a frame
    pitch: Float64[np.ndarray, "n"]  # degrees that the view rises or falls to


class WanderBot:
    """Follows corridors and chooses among ways at crossings, in moods that change every one to three seconds."""

    def __init__(self, streams: UInt64[np.ndarray, "n"]) -> None:
        n = len(streams)
        self._streams = streams
        self._moods, self._holds = Timer(streams, 25, 90), Timer(streams, 6, 24)
        self._mood, self._goals = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._held = _Held(np.zeros((n, 4), np.int64), np.zeros(n), np.zeros(n))
        self._goal = np.full((n, 2), -1.0)  # x, y in cells
        self._speed = np.zeros((n, 2))  # of yaw and pitch, degrees a frame
        self._map, self._free = np.full(n, -1.0), np.zeros((n, 0, 0), np.bool_)  # where it can walk

    def __call__(self, state: Float64[np.ndarray, "n s"]) -> Float32[np.ndarray, "n c"]:
        self._change_mind()
        self._choose_goal(state)
        to_x, to_y = self._goal[:, 0] - state[:, X], self._goal[:, 1] - state[:, Y]
        error = _wrapped(np.degrees(np.arctan2(to_y, to_x)) - state[:, YAW])
        walks = self._mood == WALK
        turn = np.where(walks, STEERING * error, self._held.turn)
        nod = STEERING * (np.where(walks, self._held.pitch / 3, self._held.pitch) - state[:, PITCH])
        wanted = np.stack([np.clip(turn, -FASTEST_TURN, FASTEST_TURN), np.clip(nod, -FASTEST_NOD, FASTEST_NOD)], 1)
        self._speed += EASE * (wanted - self._speed)
        self._speed[self._mood == MOVE] = 0
        rows = np.zeros((len(state), MAZE_ACTIONS.size), np.float32)
        rows[:, :4] = self._held.buttons * np.isin(self._mood, (MOVE, FREE))[:, None]
        rows[walks, 0] = np.abs(error[walks]) < AHEAD
        rows[:, 4:] = self._speed
        return rows

    def _change_mind(self) -> None:
        """Draw new moods and new things to hold where it is time."""
        due = self._moods.tick()
        self._mood[due] = np.searchsorted(MOODS, self._draw(due, self._moods.rings, 0), side="right")
        due = self._holds.tick()
        buttons, turn, pitch = (self._draw(due, self._holds.rings, k) for k in (1, 2, 3))
        self._held.buttons[due] = WHEELS[(buttons * len(WHEELS)).astype(np.int64)]
        self._held.turn[due] = FASTEST_TURN * np.sign(turn - 0.5) * (2 * turn - 1) ** 2  # slow turns more than fast
        self._held.pitch[due] = HIGHEST_LOOK * (2 * pitch - 1) ** 3  # mostly near the horizon

    def _choose_goal(self, state: Float64[np.ndarray, "n s"]) -> None:
        """Head for the middle of a free cell beside the present one, rather ahead than back."""
        self._look_up_maps(state[:, MAP])
        place = state[:, [X, Y]]
        off = np.abs(self._goal - place)
        near = (off.max(1) < 1.6) & (off.min(1) < 0.6)  # still the next cell, as seen from this one
        due = ~near | (np.hypot(off[:, 0], off[:, 1]) < ARRIVED)
        column, row = np.floor(place[due]).astype(np.int64).T
        ways = np.stack([row, column], 1)[:, None] + NEIGHBOURS
        free = self._free[np.flatnonzero(due)[:, None], ways[..., 0], ways[..., 1]]
        bearing = 90 * np.arange(4)  # of east, south, west, north
        back = np.abs(_wrapped(bearing - state[due, YAW, None])) > 100
        share = uniform(random_bits(self._streams[due, None], self._goals[due, None], np.arange(4), 4))
        best = (share + 4 * free - 2 * back).argmax(1)
        self._goal[due] = ways[np.arange(len(ways)), best][:, ::-1] + 0.5
        self._goals += due

    def _look_up_maps(self, numbers: Float64[np.ndarray, "n"]) -> None:
        if not np.array_equal(numbers, self._map):
            distinct, game_map = np.unique(numbers.astype(np.int64), return_inverse=True)
            self._map, self._free = numbers.copy(), stack_maps(distinct.tolist()).walkable[game_map]

    def _draw(self, due: Bool[np.ndarray, "n"], rings: Int64[np.ndarray, "n"], what: int) -> Float64[np.ndarray, "m"]:
        return uniform(random_bits(self._streams[due], rings[due], what))


def _wrapped(degrees: np.ndarray) -> np.ndarray:
    """Return the same angles within [-180, 180)."""
    return np.mod(degrees + 180, 360) - 180
