"""Doom by ViZDoom, through the marine's eyes or over his shoulder, on the free Freedoom maps.

The third-person view is ZDoom's chase camera. Doom's own world runs at 35 tics a second.
"""

import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float64, UInt8

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.games.doom_map import deathmatch_starts
from hallucade.games.environment import STALE

TICS = 35  # a second
SETTLING = 10  # tics before the first frame: the camera swings to its place, the marine falls to the floor
YAW, PITCH = 6.0, 3.0  # degrees a tic at most

BUTTONS: dict[str, tuple[str, tuple[str, ...]]] = {  # name: ViZDoom's name, keys
    "forward": ("MOVE_FORWARD", ("KeyW", "ArrowUp")),
    "back": ("MOVE_BACKWARD", ("KeyS", "ArrowDown")),
    "left": ("MOVE_LEFT", ("KeyA",)),
    "right": ("MOVE_RIGHT", ("KeyD",)),
    "run": ("SPEED", ("ShiftLeft",)),
    "use": ("USE", ("KeyE", "Enter")),
    "attack": ("ATTACK", ("Space", "Mouse0")),
}
DOOM_ACTIONS = ActionSpace(  # of one tic
    buttons=tuple(Button(name=name, keys=keys) for name, (_, keys) in BUTTONS.items()),
    axes=(
        Axis(
            name="yaw",
            low=-YAW,
            high=YAW,
            kind="delta",
            negative_keys=("ArrowLeft",),
            positive_keys=("ArrowRight",),
            turns="right",
        ),
        Axis(
            name="pitch",
            low=-PITCH,
            high=PITCH,
            kind="delta",
            negative_keys=("PageDown",),
            positive_keys=("PageUp",),
            turns="up",
        ),
    ),
)
VARIABLES = {  # name: ViZDoom's name; map units, degrees (to the left and downward), units a tic
    "x": "POSITION_X",
    "y": "POSITION_Y",
    "z": "POSITION_Z",
    "angle": "ANGLE",
    "pitch": "PITCH",
    "velocity_x": "VELOCITY_X",
    "velocity_y": "VELOCITY_Y",
    "velocity_z": "VELOCITY_Z",
    "health": "HEALTH",
    "armor": "ARMOR",
    "ammo": "SELECTED_WEAPON_AMMO",
    "weapon": "SELECTED_WEAPON",
    "kills": "KILLCOUNT",
    "items": "ITEMCOUNT",
}


class Doom(gymnasium.Env[UInt8[np.ndarray, "h w 3"], dict[str, np.ndarray]]):
    """Doom as a Gymnasium environment, `hallucade/Doom-v0`, with a game of its own for every seed.

    Actions: "buttons" and "view" in the order of `actions`; yaw to the right and pitch upward are degrees a tic. The
    reward is ViZDoom's, for scenarios that have one.

    Args:
        view: "first", the marine's eyes, or "third", a camera behind him.
        wad: "freedoom1", "freedoom2", a scenario of ViZDoom ("deathmatch"), or the path of a .wad file.
        map: name within it.
        starts: "deathmatch", any of the map's deathmatch places, facing anywhere, or "map", where it says.
        monsters: whether there are any.
        size: ViZDoom's name of the picture size, "160x120", "320x240" or "640x480".
        frame_skip: tics a step.
        depth: whether `extras` has the depth of every pixel, 0 to 255.
        labels: whether `extras` has what every pixel belongs to: 0 the map, 1 the marine, then things by distance.
        controls: names of those of `DOOM_ACTIONS` that there are; None is all.
        arc: degrees to either side of where he looks at first beyond which he does not turn; None is all around.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": TICS}  # noqa: RUF012 - as the base class

    def __init__(
        self,
        render_mode: str | None = None,
        view: Literal["first", "third"] = "first",
        wad: str = "freedoom2",
        map: str = "MAP04",
        starts: Literal["deathmatch", "map"] = "deathmatch",
        monsters: bool = False,
        size: str = "160x120",
        frame_skip: int = 1,
        depth: bool = False,
        labels: bool = False,
        controls: Sequence[str] | None = None,
        arc: float | None = None,
    ) -> None:
        if view not in ("first", "third"):
            raise ValueError(f"view is {view!r}; use 'first' or 'third'")
        self.render_mode, self.view, self.map, self.monsters = render_mode, view, map, monsters
        self.size, self.frame_skip, self.depth, self.labels = size, frame_skip, depth, labels
        self.wad = _wad_path(wad)
        self.places = deathmatch_starts(self.wad, map) if starts == "deathmatch" else None
        if arc is not None and not 0 < arc < 180:
            raise ValueError(f"arc is {arc}; use degrees above 0 and below 180, or None")
        self.arc, self._ahead = arc, 0.0  # where he looks at first: degrees, as Doom counts them
        self.actions = DOOM_ACTIONS if controls is None else _only(controls)
        limits = np.array([axis.high for axis in self.actions.axes], np.float32)
        self.action_space: Any = spaces.Dict(
            {"buttons": spaces.MultiBinary(len(self.actions.buttons)), "view": spaces.Box(-limits, limits)}
        )
        width, height = _pixels(size)
        self.observation_space = spaces.Box(0, 255, (height, width, 3), np.uint8)
        self._screen: Any = None  # ViZDoom's state; the last one after the end, which has none
        self._game: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, Any]]:
        """Start a game on the map as it was made."""
        super().reset(seed=seed)
        self._begin(int(self.np_random.integers(2**31)))
        turn = self.np_random.uniform(-180, 180) if self.places is not None else 0.0
        if self.places is not None:
            x, y = self.np_random.choice(self.places)
            self._game.send_game_command(f"warp {x} {y}")
        for tic in range(SETTLING):
            self._game.make_action([0] * len(BUTTONS) + [turn if tic == 0 else 0, 0])
        self._screen = self._game.get_state()
        self._ahead = self._angle()
        return self._screen.screen_buffer, {}

    def step(
        self, action: dict[str, np.ndarray]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], float, bool, bool, dict[str, Any]]:
        """Hold an action for `frame_skip` tics; death ends the game, with no picture of it."""
        values = dict(zip(self.actions.names, [*map(int, action["buttons"]), *action["view"].tolist()], strict=True))
        if self.arc is not None:
            right = (self._ahead - self._angle() + 180) % 360 - 180
            turn = np.clip(right + values.get("yaw", 0) * self.frame_skip, -self.arc, self.arc) - right
            values["yaw"] = float(turn) / self.frame_skip
        reward = self._game.make_action([values.get(name, 0) for name in DOOM_ACTIONS.names], self.frame_skip)
        over = self._game.is_episode_finished()
        if not over:
            self._screen = self._game.get_state()
        return self._screen.screen_buffer, float(reward), over, False, {STALE: over}

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture of the moment."""
        return self._screen.screen_buffer

    def variables(self) -> Float64[np.ndarray, "s"]:
        """Return the values of `VARIABLES`."""
        return np.array(self._screen.game_variables, np.float64)

    def extras(self) -> dict[str, np.ndarray]:
        """Return what is drawn beside the picture, as asked for."""
        wanted = {"depth": self._screen.depth_buffer, "labels": self._screen.labels_buffer}
        return {name: np.array(picture) for name, picture in wanted.items() if picture is not None}

    def close(self) -> None:
        """End the game's process."""
        if self._game is not None:
            self._game.close()
            self._game = None

    def _angle(self) -> float:
        return float(self.variables()[list(VARIABLES).index("angle")])

    def _begin(self, seed: int) -> None:
        """Load the map anew, with the camera where it belongs; the first tic still shows the marine's own view."""
        if self._game is not None and not self._game.is_episode_finished():
            self._game.set_seed(seed)
            self._game.new_episode()
            return
        self.close()  # a marine who died may have taken the camera with him
        self._game = self._started(seed)
        if self.view == "third":
            self._game.send_game_command("chase")

    def _started(self, seed: int) -> Any:
        """Start ViZDoom on the map."""
        vizdoom: Any = import_module("vizdoom")
        game = vizdoom.DoomGame()
        game.set_doom_config_path(str(Path(tempfile.gettempdir()) / "hallucade_vizdoom.ini"))
        game.set_doom_game_path(str(self.wad if self.wad.name.startswith("freedoom") else _wad_path("freedoom2")))
        if not self.wad.name.startswith("freedoom"):
            game.set_doom_scenario_path(str(self.wad))
        game.set_doom_map(self.map)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{self.size.upper()}"))
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_depth_buffer_enabled(self.depth)
        game.set_labels_buffer_enabled(self.labels)
        for part in ("hud", "crosshair", "messages", "screen_flashes"):
            getattr(game, f"set_render_{part}")(False)
        game.set_render_weapon(self.view == "first")
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.add_game_args("+cl_showsecretmessage 0 +con_midtime 0 +con_notifytime 0")  # "A secret is revealed!"
        if not self.monsters:
            game.add_game_args("-nomonsters")
        names = [*(name for name, _ in BUTTONS.values()), "TURN_LEFT_RIGHT_DELTA", "LOOK_UP_DOWN_DELTA"]
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in names])
        game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in VARIABLES.values()])
        game.set_seed(seed)
        game.init()
        return game


def _only(controls: Sequence[str]) -> ActionSpace:
    """Return the controls of those names, in the order of `DOOM_ACTIONS`.

    Raises:
        ValueError: there is no such control.
    """
    strange = [name for name in controls if name not in DOOM_ACTIONS.names]
    if strange or not controls:
        raise ValueError(f"controls are {list(controls)}; choose from {', '.join(DOOM_ACTIONS.names)}")
    return ActionSpace(
        buttons=tuple(button for button in DOOM_ACTIONS.buttons if button.name in controls),
        axes=tuple(axis for axis in DOOM_ACTIONS.axes if axis.name in controls),
    )


def _wad_path(wad: str) -> Path:
    """Find a map file: one of ViZDoom's by its name, or any by its path.

    Raises:
        ValueError: there is none.
    """
    root = Path(str(import_module("vizdoom").__file__)).parent
    candidates = (Path(wad), root / f"{wad}.wad", root / "scenarios" / f"{wad}.wad")
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        scenarios = ", ".join(sorted(path.stem for path in (root / "scenarios").glob("*.wad")))
        raise ValueError(f"wad {wad!r} is no file; use freedoom1, freedoom2, the path of one, or one of {scenarios}")
    return found


def _pixels(size: str) -> tuple[int, int]:
    """Return width, height of ViZDoom's name of a picture size."""
    resolutions: Any = import_module("vizdoom").ScreenResolution
    names = [name[4:].lower() for name in dir(resolutions) if name.startswith("RES_")]
    if size not in names:
        raise ValueError(f"size is {size!r}; ViZDoom draws {', '.join(names)}")
    width, height = size.split("x")
    return int(width), int(height)
