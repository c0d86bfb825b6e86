"""``meta/hallucade.json``: what our stores know and LeRobot has no place for, so that an exported store can come back.

Whoever else reads the data set ignores the file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.importers.foreign_json import read_bytes
from hallucade.data.source import SourceError

FACTS = Path("meta/hallucade.json")


@dataclass(frozen=True, kw_only=True)
class EpisodeFacts(Config):
    """One episode of a store."""

    split: str
    name: str = ""
    seed: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoreFacts(Config):
    """The store that was exported."""

    actions: ActionSpace
    state_names: tuple[str, ...]
    game: str | None
    source: str
    licence: str
    extras: dict[str, tuple[int, ...]]  # shape of a row of each, which LeRobot keeps flat
    episodes: tuple[EpisodeFacts, ...]  # in the order of the data set


def load_facts(root: Path) -> StoreFacts | None:
    """Return what a data set that we exported says of its store; None for any other data set.

    Raises:
        SourceError: the file is damaged.
    """
    path = root / FACTS
    if not path.exists():
        return None
    content = read_bytes(path)
    try:
        return StoreFacts.from_json(json.loads(content))
    except (ValueError, AttributeError) as error:
        raise SourceError(
            path, f"it is not usable ({error})", "delete it to import what LeRobot's own files say"
        ) from error
