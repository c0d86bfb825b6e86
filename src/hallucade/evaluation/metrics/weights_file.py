"""Weights that others trained: found, read as tensors and nothing else, and loaded only if every one of them fits."""

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn


def find_weights(path: str | None, cached: Sequence[str], what: str, source: str) -> Path:
    """Return the file of some weights.

    Args:
        path: where the user says it is; None looks in torch.hub's cache.
        cached: names that it has there.
        what: whose weights, in words.
        source: where to get them.

    Raises:
        ValueError: it is not there; the message says where to get it.
    """
    if path is not None:
        if Path(path).is_file():
            return Path(path)
        raise ValueError(f"{path} is no file; the weights of {what} are {source}")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in cached:
        if (folder / name).is_file():
            return folder / name
    names = " or ".join(cached)
    raise ValueError(f"no weights of {what}: give their path, or put {names} into {folder}; they are {source}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file, or a PyTorch file that holds a dictionary of tensors and can do nothing else.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be read as weights, a state dict or .safetensors: {reason}") from error
    named = cast("dict[Any, Any]", found) if isinstance(found, dict) else dict[Any, Any]()
    if not named or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in named.items()):
        raise ValueError(f"{path} is not what it should be: tensors by name (a state dict), one or more")
    return named


def fit(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, ignored: str = "(?!)") -> None:
    """Load `tensors` into `module`, for evaluation only.

    Args:
        ignored: pattern of names that may be there or not; they are not loaded.

    Raises:
        ValueError: a tensor is missing, unexpected, of another shape or not finite; all of them are named.
    """
    constant = re.compile(f"(?:{ignored})|.*num_batches_tracked")
    wanted = {name: value for name, value in module.state_dict().items() if not constant.fullmatch(name)}
    given = {name: value for name, value in tensors.items() if not constant.fullmatch(name)}
    faults = [f"missing {name} {_shape(value)}" for name, value in wanted.items() if name not in given]
    for name, value in given.items():
        if name not in wanted:
            faults.append(f"unexpected {name} {_shape(value)}")
        elif value.shape != wanted[name].shape:
            faults.append(f"{name} is {_shape(value)} there and {_shape(wanted[name])} here")
        elif not bool(value.isfinite().all()):
            faults.append(f"{name} is not finite")
    if faults:
        raise ValueError(f"{path} holds the weights of another network: {'; '.join(faults)}")
    module.load_state_dict(given, strict=False)
    module.eval().requires_grad_(False)


def fingerprint(path: Path) -> str:
    """Return the first 12 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
