"""Videos and nothing else: nobody knows what was held, which is for latent actions to find out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from hallucade.actions import ActionSpace, Button
from hallucade.data.conversion import RATE_SLACK
from hallucade.data.importers.file_tree import files_below
from hallucade.data.importers.folder import VIDEOS, find_videos, splits_of
from hallucade.data.source import ForeignEpisode, ImporterConfig, SourceError
from hallucade.data.video import frame_times, probe, video_frames

UNKNOWN = ActionSpace(buttons=(Button(name="unknown"),))  # never held


@dataclass(frozen=True, kw_only=True)
class PlainVideoConfig(ImporterConfig):
    """Videos without actions."""

    format: ClassVar[str] = "video"
    about: ClassVar[str] = "videos without actions, a file or a folder of them: see docs/latent-actions.md"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A video, or a folder with videos and nothing else."""
        files = [path] if path.is_file() else [file for file in files_below(path) if not file.name.startswith(".")]
        return bool(files) and all(file.suffix.lower() in VIDEOS for file in files)

    def build(self) -> "PlainVideo":
        """Find the videos."""
        return PlainVideo(self)


class PlainVideo:
    """The episodes of such a folder, one a video."""

    actions = UNKNOWN
    state_names: tuple[str, ...] = ()
    game = None
    licence = ""

    def __init__(self, config: PlainVideoConfig) -> None:
        root = Path(config.path)
        self._videos = {root.stem: root} if root.is_file() else find_videos(root)
        self._splits = splits_of(self._videos)
        self.fps = probe(next(iter(self._videos.values()))).fps
        self.origin = f"videos without actions in {root.name}"

    @property
    def episodes(self) -> Sequence[str]:
        """The videos' names without suffix, sorted."""
        return tuple(self._videos)

    def read(self, name: str) -> ForeignEpisode:
        """Read one video; its frames are decoded when they are asked for."""
        video = self._videos[name]
        facts = probe(video)
        if abs(facts.fps / self.fps - 1) > RATE_SLACK:
            what = f"it has {facts.fps:g} frames a second, the first video {self.fps:g}"
            raise SourceError(video, what, "import it into a store of its own")
        rows = np.zeros((max(len(frame_times(video)) - 1, 0), UNKNOWN.size), np.float32)
        return ForeignEpisode(video_frames(video), rows, split=self._splits[name])
