"""What lies where in a run folder."""

import json
import os
from pathlib import Path
from typing import Any

from hallucade.training.checkpoint import CheckpointFolder

CHECKPOINTS = "checkpoints"


class RunFolder:
    """The folder of one run: config.json, metrics.jsonl, TensorBoard logs, checkpoints."""

    def __init__(self, path: Path, keep: int = 3, milestone_every: int | None = None) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = CheckpointFolder(path / CHECKPOINTS, keep, milestone_every)

    def refuse_if_used(self) -> None:
        """Make sure that nothing would be overwritten.

        Raises:
            ValueError: the folder is not empty.
        """
        if self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(f"run folder {self.path} is not empty; resume it, or choose another")

    def prepare(self, run_config: dict[str, Any]) -> None:
        """Make the folder, sweep up after a killed writer, and write config.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.checkpoints.sweep()
        temporary = self.config.with_name(f"{self.config.name}.tmp")
        temporary.write_text(json.dumps(run_config, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.config)
