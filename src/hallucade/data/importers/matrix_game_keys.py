"""What the columns of Matrix-Game's keyboard and mouse arrays mean.

A keyboard is told by its width: 2 (GTA driving), 4 (universal), 6 (Matrix-Game 1 and 3), 7 (Temple Run, one of seven),
or 23 and more (Solaris, of whose keys only W, S, A, D are known). A mouse row is [pitch, yaw], + is up and right, in
units of which the models see 0.1 a frame; how many degrees that is depends on the game and is nowhere said.

Source: Matrix-Game 2.0, arXiv:2508.13009; its inference code and FastVideo's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped

from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.data.importers.minecraft import KEYS, minecraft_actions
from hallucade.shapes import ActionRows

MOVES = ("forward", "back", "left", "right")
RUNS = ("stay", "jump", "slide", "turn left", "turn right", "side left", "side right")
RUN_KEYS = ((), ("KeyW",), ("KeyS",), ("KeyQ",), ("KeyE",), ("KeyA",), ("KeyD",))
SOLARIS, SOLARIS_MOVES = 23, 11  # the smallest such keyboard, and its column of W


@dataclass(frozen=True)
class Controls:
    """Turns rows of both arrays into raw action rows.

    Args:
        keyboard: columns of the keyboard array, 0 for none.
        mouse: whether there is a mouse.
        names: of the keyboard's columns; empty to tell them by their number.
        degrees: that a unit of mouse turns the view.
        reach: units that the mouse moves in a frame, at most.
    """

    keyboard: int
    mouse: bool
    names: tuple[str, ...]
    degrees: float
    reach: float

    @property
    def actions(self) -> ActionSpace:
        """Buttons, or one choice, and yaw and pitch."""
        runs = self.keyboard == len(RUNS) and not self.names
        buttons = () if runs else tuple(_button(name) for name in self.names or _names(self.keyboard))
        choices = (Choice(name="run", options=RUNS, keys=RUN_KEYS),) if runs else ()
        return ActionSpace(buttons=buttons, choices=choices, axes=self._axes if self.mouse else ())

    @property
    def _axes(self) -> tuple[Axis, Axis]:
        far = self.degrees * self.reach
        yaw, pitch = minecraft_actions((), far).axes
        return yaw, pitch

    def rows(self, keyboard: Shaped[np.ndarray, "t k"] | None, mouse: Shaped[np.ndarray, "t 2"] | None) -> ActionRows:
        """Return raw rows; a key is held above 0.5, and of several runs the strongest counts."""
        parts: list[Float32[np.ndarray, "t _"]] = []
        if keyboard is not None and self.actions.choices:
            parts.append(keyboard.argmax(1)[:, None].astype(np.float32))  # none pressed is column 0: stay
        elif keyboard is not None:
            parts.append((keyboard > 0.5).astype(np.float32))
        if mouse is not None:
            parts.append((mouse[:, ::-1] * self.degrees).astype(np.float32))
        return np.concatenate(parts, 1)


def _names(keyboard: int) -> tuple[str, ...]:
    known = {0: (), 2: MOVES[:2], 4: MOVES, 6: (*MOVES, "jump", "attack")}
    if keyboard in known:
        return known[keyboard]
    names = [f"key {i}" for i in range(keyboard)]
    if keyboard >= SOLARIS:
        names[SOLARIS_MOVES : SOLARIS_MOVES + len(MOVES)] = MOVES
    return tuple(names)


def _button(name: str) -> Button:
    return Button(name=name, keys=(KEYS[name],) if name in KEYS else ())
