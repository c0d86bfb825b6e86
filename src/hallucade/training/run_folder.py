"""What lies where in a run folder."""

import json
import os
from pathlib import Path
from typing import Any, cast

from hallucade.data.lock import LOCK, lock_folder
from hallucade.data.manifest import MANIFEST
from hallucade.training.checkpoint import CheckpointFolder

RUNS = Path("runs")  # where commands put run folders that are not named
CHECKPOINTS = "checkpoints"


class RunFolder:
    """The folder of one run: config.json, metrics.jsonl, TensorBoard logs, checkpoints."""

    def __init__(self, path: Path, keep: int = 3, milestone_every: int | None = None) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self._lock: int | None = None  # file descriptor, while this process trains here
        self.checkpoints = CheckpointFolder(path / CHECKPOINTS, keep, milestone_every)

    def refuse_if_used(self) -> None:
        """Make sure that nothing would be overwritten.

        Raises:
            ValueError: the folder is not empty.
        """
        begun = {LOCK, self.config.name}  # all that there is of a training that ended before its first step
        if self.path.is_dir() and any(entry.name not in begun for entry in self.path.iterdir()):
            raise ValueError(f"run folder {self.path} is not empty; resume it, or choose another")

    def claim(self, run_config: dict[str, Any]) -> None:
        """Make the folder, keep other trainings out, sweep up after a killed writer, and write config.json.

        Raises:
            ValueError: another training is at work there, or it is the folder of something else.
            OSError: the folder cannot be written to.
        """
        self._refuse_foreign(run_config)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)
        if self._lock is None:
            raise ValueError(
                f"run folder {self.path} is in use by another training; wait for it, stop it, or choose another"
            )
        self.checkpoints.sweep()
        temporary = self.config.with_name(f"{self.config.name}.tmp")
        temporary.write_text(json.dumps(run_config, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.config)

    def _refuse_foreign(self, run_config: dict[str, Any]) -> None:
        """Make sure that a training that resumes before its first checkpoint writes over nobody's files."""
        if (self.path / CHECKPOINTS).exists():
            return
        kind = run_config.get("type")
        if (self.path / MANIFEST).exists() or (self.config.exists() and _kind(self.config) != kind):
            raise ValueError(f"{self.path} holds something else than a training; choose another run folder")

    def release(self) -> None:
        """Let other trainings in; harmless when repeated."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _kind(path: Path) -> object:
    """Return what a file says is in it, or the path, which is nothing that a training would say."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return path
    return cast("dict[str, Any]", content).get("type") if isinstance(content, dict) else path
