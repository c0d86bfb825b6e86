"""Turn recorded play into a game that a neural network dreams."""

from hallucade import games as games  # registers hallucade/Pong-v0 with Gymnasium
from hallucade.actions import ActionSpace, Axis, Button, Choice
from hallucade.config import Config
from hallucade.data.clips import Clip, ClipWindows
from hallucade.data.episode import Episode
from hallucade.data.store import EpisodeStore
from hallucade.models.base import LatentClip, WorldModel
from hallucade.recipes.load import load
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import train
from hallucade.rollout import Prompt, Session, World, dream, rollout

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
