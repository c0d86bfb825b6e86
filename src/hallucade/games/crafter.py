"""Crafter: survive and craft on a procedural island, seen from above (Hafner 2021, arXiv:2109.06780)."""

from collections import defaultdict
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Choice
from hallucade.games.environment import SIMULATED, Env, Environment, Readout
from hallucade.games.native_actions import ActionRow, Controls

KEYS = {
    "move_left": ("ArrowLeft", "KeyA"),
    "move_right": ("ArrowRight", "KeyD"),
    "move_up": ("ArrowUp", "KeyW"),
    "move_down": ("ArrowDown", "KeyS"),
    "do": ("Space",),
    "sleep": ("KeyZ",),
    "place_stone": ("KeyR",),
    "place_table": ("KeyT",),
    "place_furnace": ("KeyF",),
    "place_plant": ("KeyP",),
    "make_wood_pickaxe": ("Digit1",),
    "make_stone_pickaxe": ("Digit2",),
    "make_iron_pickaxe": ("Digit3",),
    "make_wood_sword": ("Digit4",),
    "make_stone_sword": ("Digit5",),
    "make_iron_sword": ("Digit6",),
}
ARROWS = {"move_left": "left", "move_right": "right", "move_up": "up", "move_down": "down"}


class Crafter(gymnasium.Env[UInt8[np.ndarray, "h w 3"], int]):
    """Crafter as a Gymnasium environment, `hallucade/Crafter-v0`, that repeats itself to the bit.

    The package's own class speaks the interface of old gym, and keeps creatures in sets whose order changes from one
    process to the next, and with it which of them vanishes.

    Args:
        size: pixels a side; a multiple of 9 leaves no border.
        length: steps after which the game is truncated.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as the base class

    def __init__(self, render_mode: str | None = None, size: int = 144, length: int = 10_000) -> None:
        crafter: Any = import_module("crafter")
        self.render_mode = render_mode
        self._size, self._length = (size, size), length
        self.crafter = self._new(0)
        self.action_names: tuple[str, ...] = tuple(self.crafter.action_names)
        self.items: tuple[str, ...] = tuple(crafter.constants.items)
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space: Any = gymnasium.spaces.Discrete(len(self.action_names))

    def _new(self, seed: int) -> Any:
        return import_module("crafter").Env(size=self._size, length=self._length, seed=seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, Any]]:
        """Start on a new island."""
        super().reset(seed=seed)
        self.crafter = self._new(int(self.np_random.integers(2**31 - 1)))
        _keep_order(self.crafter)
        self._frame: np.ndarray = self.crafter.reset()
        return self._frame, {}

    def step(self, action: int) -> tuple[UInt8[np.ndarray, "h w 3"], float, bool, bool, dict[str, Any]]:
        """Act once; the game is over when the player is dead."""
        self._frame, reward, over, info = self.crafter.step(int(action))
        dead = info["discount"] == 0
        return self._frame, float(reward), dead, bool(over) and not dead, info

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the last picture; to draw it again would draw new noise at night, and change the game with it."""
        return self._frame


class OrderedObjects(dict[Any, None]):
    """A set that remembers the order of what came in."""

    def add(self, item: Any) -> None:
        """Put an object in."""
        self[item] = None

    def remove(self, item: Any) -> None:
        """Take an object out."""
        del self[item]


def _keep_order(game: Any) -> None:
    """Have a game's world keep its creatures in order, from its next start on."""
    world = game._world
    start = world.reset

    def reset(seed: int | None = None) -> None:
        start(seed)
        world._chunks = defaultdict(OrderedObjects)

    world.reset = reset


class Explorer:
    """Walks straight for a while, uses what it bumps into, and now and then places or makes something."""

    def __init__(self, actions: ActionSpace) -> None:
        options = actions.choices[0].options
        self._walks = [options.index(name) for name in ARROWS.values()]
        self._do = options.index("do")
        self._crafts = [i for i, name in enumerate(options) if name.startswith(("place", "make"))]
        self._walk = self._walks[0]

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], state: Float64[np.ndarray, "s"] | None, rng: np.random.Generator
    ) -> ActionRow:
        draw = rng.random()
        if rng.random() < 0.15:
            self._walk = int(rng.choice(self._walks))
        if draw < 0.3:
            return np.array([self._do], np.float32)
        return np.array([rng.choice(self._crafts) if draw < 0.4 else self._walk], np.float32)


def crafter_controls(env: Env) -> Controls:
    """Name the 17 actions; "noop" is idle, and the four ways to walk are arrows."""
    simulator: Any = env.unwrapped
    names: tuple[str, ...] = simulator.action_names
    options = tuple(ARROWS.get(name, name) for name in names)
    keys = tuple(KEYS.get(name, ()) for name in names)
    actions = ActionSpace(choices=(Choice(name="action", options=options, keys=keys),))
    return Controls(actions, lambda row: int(row[0]))


def crafter_readout(env: Env) -> Readout:
    """Read place, view direction, daylight and what is carried; the whole map as extra `semantic`, one class a cell."""
    simulator: Any = env.unwrapped
    items: tuple[str, ...] = simulator.items

    def state(observation: Any) -> Float64[np.ndarray, "s"]:
        game = simulator.crafter
        player = game._player
        carried = [player.inventory[item] for item in items]
        values = [*player.pos, *player.facing, player.sleeping, game._world.daylight, *carried]
        return np.array(values, np.float64)

    def extras() -> dict[str, np.ndarray]:
        return {"semantic": simulator.crafter._sem_view().astype(np.uint8)}

    return Readout(("x", "y", "facing_x", "facing_y", "sleeping", "daylight", *items), state, extras)


CRAFTER = Environment(
    id="hallucade/Crafter-v0",
    requires="crafter",
    about="Crafter, a survival game seen from above",
    install="pip install crafter",
    controls=crafter_controls,
    readout=crafter_readout,
    reusable=True,
    players={"scripted": Explorer},
    licence=f"{SIMULATED}: crafter (MIT)",
)
