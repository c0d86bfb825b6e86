"""Recipes by name or by file."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from hallucade.methods import consistency as consistency  # a run folder may name their configs
from hallucade.methods import dmd2 as dmd2
from hallucade.methods import ode_initialisation as ode_initialisation
from hallucade.methods import streaming_long_tuning as streaming_long_tuning
from hallucade.objectives import long_steps as long_steps
from hallucade.objectives import teacher_forcing as teacher_forcing
from hallucade.recipes import defend_the_line, dino_wm, doom_distillation, games2d, games3d, matrix_game, robots
from hallucade.recipes.any_game import transformer_medium, transformer_small, unet_small
from hallucade.recipes.distilled_pong import pong_consistency, pong_distilled, pong_streaming, pong_teacher
from hallucade.recipes.doom_stages import doom_stages
from hallucade.recipes.maze import maze, maze_distilled, maze_streaming
from hallucade.recipes.planning_worlds import point_maze_planning, pusht_planning
from hallucade.recipes.pong import pong, pong_micro, pong_toy_wm, pong_transformer
from hallucade.recipes.pong_ablation import pong_ablation
from hallucade.recipes.run_config import Experiment, RunConfig
from hallucade.recipes.token_gru_v452 import token_gru_v452
from hallucade.recipes.token_worlds import (
    token_gru_small,
    token_independent_small,
    token_raster_small,
    token_self_conditioned,
    token_small,
)
from hallucade.samplers import clipwise as clipwise
from hallucade.samplers import ddim as ddim
from hallucade.samplers import few_step as few_step
from hallucade.samplers import guided as guided
from hallucade.samplers import shortcut as shortcut
from hallucade.tokenizers import absent as absent
from hallucade.tokenizers import pretrained as pretrained

Recipe = Callable[[], RunConfig]
RECIPES: dict[str, Recipe] = {
    "pong_micro": pong_micro,
    "pong": pong,
    "pong_transformer": pong_transformer,
    "pong_toy_wm": pong_toy_wm,
    "pong_teacher": pong_teacher,
    "pong_consistency": pong_consistency,
    "pong_distilled": pong_distilled,
    "pong_streaming": pong_streaming,
    "pong_ablation": pong_ablation,
    "maze": maze,
    "maze_distilled": maze_distilled,
    "maze_streaming": maze_streaming,
    "unet_small": unet_small,
    "transformer_small": transformer_small,
    "transformer_medium": transformer_medium,
    "token_small": token_small,
    "token_raster_small": token_raster_small,
    "token_independent_small": token_independent_small,
    "token_self_conditioned": token_self_conditioned,
    "token_gru_small": token_gru_small,
    "token_gru_v452": token_gru_v452,
    "point_maze_small": dino_wm.point_maze_small,
    "wall_small": dino_wm.wall_small,
    "pusht_small": dino_wm.pusht_small,
    "rope_small": dino_wm.rope_small,
    "granular_small": dino_wm.granular_small,
    "rt1_small": robots.rt1_small,
    "csgo_small": games3d.csgo_small,
    "doom_small": games3d.doom_small,
    "doom_third_person_small": games3d.doom_third_person_small,
    "doom_stages": doom_stages,
    "doom_third_person_teacher": doom_distillation.doom_third_person_teacher,
    "doom_third_person_causal": doom_distillation.doom_third_person_causal,
    "doom_third_person_self_forcing": doom_distillation.doom_third_person_self_forcing,
    "doom_third_person_streaming": doom_distillation.doom_third_person_streaming,
    "defend_the_line_teacher": defend_the_line.defend_the_line_teacher,
    "defend_the_line_causal": defend_the_line.defend_the_line_causal,
    "defend_the_line_self_forcing": defend_the_line.defend_the_line_self_forcing,
    "defend_the_line_streaming": defend_the_line.defend_the_line_streaming,
    "crafter_small": games2d.crafter_small,
    "atari_pong_small": games2d.atari_pong_small,
    "atari_breakout_small": games2d.atari_breakout_small,
    "car_racing_small": games2d.car_racing_small,
    "point_maze_nanowm": dino_wm.point_maze_nanowm,
    "wall_nanowm": dino_wm.wall_nanowm,
    "pusht_nanowm": dino_wm.pusht_nanowm,
    "rope_nanowm": dino_wm.rope_nanowm,
    "granular_nanowm": dino_wm.granular_nanowm,
    "rt1_nanowm": robots.rt1_nanowm,
    "csgo_nanowm": games3d.csgo_nanowm,
    "doom_nanowm": games3d.doom_nanowm,
    "doom_third_person_nanowm": games3d.doom_third_person_nanowm,
    "crafter_nanowm": games2d.crafter_nanowm,
    "matrix_game_teacher": matrix_game.matrix_game_teacher,
    "matrix_game_causal": matrix_game.matrix_game_causal,
    "matrix_game_self_forcing": matrix_game.matrix_game_self_forcing,
    "matrix_game_streaming": matrix_game.matrix_game_streaming,
    "pusht_planning": pusht_planning,
    "point_maze_planning": point_maze_planning,
}


def find_recipe(name: str) -> RunConfig:
    """Return the config of a world model's recipe of this package, or of ``file.py`` or ``file.py:function``.

    Raises:
        ValueError: no such recipe, or the file holds none.
    """
    config = find_experiment(name, RECIPES)
    if not isinstance(config, RunConfig):
        raise ValueError(f"recipe {name} is a {type(config).__name__}; a RunConfig trains a world model")
    return config


def find_experiment(name: str, recipes: Mapping[str, Callable[[], Experiment]]) -> Experiment:
    """Return the config of one of `recipes`, or of ``file.py`` or ``file.py:function``.

    Raises:
        ValueError: no such recipe, or the file holds none.
    """
    if name in recipes:
        return recipes[name]()
    file, _, function = name.partition(":")
    if not file.endswith(".py"):
        raise ValueError(f"unknown recipe {name!r}; known recipes: {', '.join(recipes)}, or give a path to a .py file")
    return _from_file(Path(file), function)


def _from_file(path: Path, function: str) -> Experiment:
    if not path.is_file():
        raise ValueError(f"recipe file {path} does not exist")
    name = f"recipe_{path.stem}"  # no name that another module could have
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their annotations there
    spec.loader.exec_module(module)
    own = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == name}
    recipe = own.get(function or path.stem)
    if recipe is None:
        names = [n for n in own if not n.startswith("_")]
        raise ValueError(f"{path} has no recipe {function or path.stem!r}; it defines {', '.join(names) or 'none'}")
    config = recipe()
    if not isinstance(config, Experiment):
        raise ValueError(f"recipe {recipe.__name__} in {path} returned a {type(config).__name__}; return a RunConfig")
    return config
