"""Turn recorded play into a game that a neural network dreams."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hallucade import games as games  # registers the built-in games with Gymnasium
from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.config import Config
from hallucade.data.clips import Clip, ClipWindows
from hallucade.data.episode import Episode
from hallucade.data.store import EpisodeStore
from hallucade.models.base import LatentClip, WorldModel
from hallucade.rollout import Prompt, Session, World, dream, rollout

if TYPE_CHECKING:
    from hallucade.recipes.load import load
    from hallucade.recipes.run_config import RunConfig
    from hallucade.recipes.train import train

__version__ = "0.1.0"
__all__ = [
    "ActionSpace",
    "Axis",
    "Button",
    "Choice",
    "Clip",
    "ClipWindows",
    "Config",
    "Episode",
    "EpisodeStore",
    "LatentClip",
    "Prompt",
    "RunConfig",
    "Session",
    "World",
    "WorldModel",
    "dream",
    "load",
    "rollout",
    "train",
]

# Imported when they are asked for: training takes seconds to import, and who reads data or plays needs none of it.
_LATER = {"RunConfig": "recipes.run_config", "load": "recipes.load", "train": "recipes.train"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"hallucade.{_LATER[name]}"), name)
    raise AttributeError(f"module 'hallucade' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
