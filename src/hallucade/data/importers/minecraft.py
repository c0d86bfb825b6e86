"""Controls of Minecraft, as its recordings have them: keys, mouse buttons, and a camera in degrees a frame."""

import math
from collections.abc import Sequence

from hallucade.actions import ActionSpace, Button, camera_axes

STATE_NAMES = ("x", "y", "z", "yaw", "pitch")  # blocks, y is up; degrees, yaw to the right, pitch up
KEY_YAW, KEY_PITCH = 5.0, 3.0  # degrees a frame that an arrow key turns: the mouse reaches further
HOTBAR = tuple(f"hotbar.{slot}" for slot in range(1, 10))
KEYS = {
    "forward": "KeyW",
    "back": "KeyS",
    "left": "KeyA",
    "right": "KeyD",
    "jump": "Space",
    "sneak": "ShiftLeft",
    "sprint": "KeyR",  # the left control key would close the page with W
    "attack": "Mouse0",
    "use": "Mouse2",
    "pickItem": "Mouse1",
    "drop": "KeyQ",
    "inventory": "KeyE",
    "swapHands": "KeyF",
    **{name: f"Digit{slot}" for slot, name in enumerate(HOTBAR, 1)},
}


def minecraft_actions(buttons: Sequence[str], max_turn: float) -> ActionSpace:
    """Return the controls: `buttons` in this order, then yaw and pitch of at most `max_turn` degrees a frame.

    Raises:
        ValueError: `max_turn` is not positive, or a button is named twice.
    """
    if not 0 < max_turn < math.inf:
        raise ValueError(f"max_turn is {max_turn} degrees a frame; it must be positive")
    return ActionSpace(
        buttons=tuple(Button(name=name, keys=(KEYS[name],) if name in KEYS else ()) for name in buttons),
        axes=camera_axes(max_turn, max_turn, KEY_YAW, KEY_PITCH),
    )
