"""Weights in files of strangers: safetensors as they are, pickles in a process that may neither run long nor grow.

A pickle is a program. ``torch.load`` with ``weights_only`` runs none of it but the building of tensors and containers;
what training frameworks keep beside the weights (settings, paths) is not built but skipped. A process of its own bounds
what a file made to exhaust memory or time can do.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SECONDS = 600.0  # that a pickle may take
SPARE = 2 << 30  # bytes of memory beside three times the file
COPY_AGAIN = "copy or download it again"
SKIPPED = (  # modules whose objects stand beside weights
    "argparse",
    "collections",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "typing",
)
SKIPPED_BUILTINS = ("bool", "dict", "float", "int", "list", "str", "tuple")


class PublicWeightsError(ValueError):
    """Public weights cannot be read, or do not mean what they should; the message says which, why and what to do."""


@dataclass(frozen=True)
class WeightsFile:
    """All tensors of a file by their names, those of nested dictionaries joined by dots."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]  # JSON in the metadata of a safetensors file, if any


def read_weights(path: Path, seconds: float = SECONDS, spare: int = SPARE) -> WeightsFile:
    """Read a safetensors file, or what ``torch.save`` wrote.

    Args:
        path: the file; its content says what it is.
        seconds: that a pickle may take.
        spare: bytes of memory that a pickle may take beside three times its size.

    Raises:
        PublicWeightsError: the file is missing, neither of both, damaged, or holds more than tensors and data.
    """
    if not path.is_file():
        raise PublicWeightsError(f"{path} is no file; give weights as .safetensors, or as torch.save wrote them")
    if zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "weights.safetensors"
            _convert(path, plain, seconds, spare)
            return WeightsFile(safetensors.torch.load(plain.read_bytes()), {})
    try:
        tensors = safetensors.torch.load_file(path)
        with cast("Any", safe_open)(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
        return WeightsFile(tensors, json.loads(metadata.get("config", "{}")))
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PublicWeightsError(
            f"{path} is neither safetensors nor a file of torch.save ({reason}); {COPY_AGAIN}"
        ) from error


def _convert(path: Path, plain: Path, seconds: float, spare: int) -> None:
    command = [sys.executable, "-m", __name__, str(path), str(plain), str(int(seconds)), str(spare)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise PublicWeightsError(f"{path} was not read within {seconds:g} s; it is no usual checkpoint") from error
    if done.returncode == 0 and plain.is_file():
        return
    if done.returncode < 0:
        raise PublicWeightsError(f"reading {path} was stopped by signal {-done.returncode}: it takes too much to read")
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise PublicWeightsError(f"{path} was refused: {reason}; nothing in it was run")


class Skipped(dict[Any, Any]):
    """Stands in for an object that a checkpoint keeps beside its weights."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        """Forget the object's content."""


def _load(path: Path) -> object:
    """Load tensors and data; objects of known frameworks become empty."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    stand_ins = [(Skipped, name) for name in names if _is_skipped(name)]
    with torch.serialization.safe_globals(cast("Any", stand_ins)):
        return torch.load(path, "cpu", weights_only=True, mmap=True)


def _is_skipped(name: str) -> bool:
    module, _, rest = name.partition(".")
    return module in SKIPPED or (module == "builtins" and rest in SKIPPED_BUILTINS)


def _tensors(content: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield tensors of nested dictionaries by name; what is numbered, as an optimizer's state is, is left out."""
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in cast("Mapping[object, object]", content).items():
            if isinstance(key, str):
                yield from _tensors(value, f"{name}.{key}" if name else key)


def _bound(seconds: int, memory: int) -> None:
    """Limit this process, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def main(arguments: list[str]) -> int:
    """Write the tensors of a pickle as safetensors; the reason of a failure is the last line on standard error."""
    path, plain, seconds, spare = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    _bound(seconds, 3 * path.stat().st_size + spare)
    try:
        tensors = {name: value.contiguous().clone() for name, value in _tensors(_load(path))}
        safetensors.torch.save_file(tensors, plain)
    except Exception as error:  # a damaged file may break any assumption of a reader; here it becomes one line
        sys.stderr.write(f"{_reason(error)}\n")
        return 1
    return 0


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return "it takes far more memory than its size"
    for name in ("GLOBAL ", "Unsupported global: "):
        if name in text:
            return f"it holds more than tensors and data ({text.split(name, 1)[1].split()[0]})"
    return f"it is damaged ({text[:200] or type(error).__name__})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
