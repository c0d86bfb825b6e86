"""Where a checkpoint comes from: commit and package versions."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("hallucade", "torch", "lightning-fabric", "numpy", "safetensors")


def provenance() -> dict[str, Any]:
    """Return the commit of this source tree (None if it is not one) and the versions that compute results."""
    return {"commit": _commit(Path(__file__)), "python": platform.python_version(), "packages": _versions()}


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _commit(file: Path) -> str | None:
    """Return the commit of the repository that tracks `file`; an installed copy may lie in somebody else's."""
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "rev-parse", "HEAD").strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _git(file: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=file.parent, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
