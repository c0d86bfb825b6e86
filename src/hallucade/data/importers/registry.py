"""Foreign formats by name, and by a look at the files."""

from pathlib import Path

from hallucade.data.importers.csgo import CsgoConfig
from hallucade.data.importers.dino_wm import DinoWmConfig
from hallucade.data.importers.folder import FolderConfig
from hallucade.data.importers.game_factory import GameFactoryConfig
from hallucade.data.importers.lerobot import LeRobotConfig
from hallucade.data.importers.matrix_game import MatrixGameConfig
from hallucade.data.importers.minerl import MinerlConfig
from hallucade.data.importers.plain_video import PlainVideoConfig
from hallucade.data.importers.toy_wm import ToyWmConfig
from hallucade.data.importers.vpt import VptConfig
from hallucade.data.importers.worldmodel_mc import WorldModelMinecraftConfig
from hallucade.data.source import ImporterConfig, SourceError

_CONFIGS: tuple[type[ImporterConfig], ...] = (
    FolderConfig,
    VptConfig,
    MinerlConfig,
    GameFactoryConfig,
    LeRobotConfig,
    MatrixGameConfig,
    WorldModelMinecraftConfig,
    CsgoConfig,
    DinoWmConfig,
    ToyWmConfig,
    PlainVideoConfig,
)
IMPORTERS = {config.format: config for config in _CONFIGS}


def guess_format(path: Path) -> str:
    """Return the one format that surely is `path`'s.

    Raises:
        SourceError: there is no such path, or none or several formats recognise it.
    """
    if not path.exists():
        raise SourceError(path, "there is no such file or folder", "check the path")
    found = [name for name, importer in IMPORTERS.items() if importer.recognises(path)]
    if len(found) == 1:
        return found[0]
    what = f"it could be {' or '.join(found)}" if found else "it is of no format that is recognised at sight"
    raise SourceError(
        path, what, f"name the format: hallucade import FORMAT {path} STORE, with one of {', '.join(IMPORTERS)}"
    )
