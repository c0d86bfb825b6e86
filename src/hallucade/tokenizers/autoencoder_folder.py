"""Pretrained autoencoders as files: a folder with config.json and safetensors, here or on the Hugging Face hub.

What an autoencoder is, is its fingerprint: a hash over its config and every tensor, however they are packed. Nothing is
ever unpickled.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.tokenizers.base import TokenizerError

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG_LIMIT = 1 << 20  # bytes; a longer one is not an autoencoder's
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<folder>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?")


class AutoencoderError(TokenizerError):
    """A pretrained autoencoder cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True)
class Kind:
    """What differs between the autoencoders of diffusers."""

    widths: str  # field of the config with one entry a resolution, each half the one before
    latents: Callable[[Any], Tensor]  # of what ``encode`` returns


KINDS = {
    "AutoencoderKL": Kind("block_out_channels", lambda encoded: encoded.latent_dist.mode()),
    "AutoencoderDC": Kind("encoder_block_out_channels", lambda encoded: encoded.latent),
    "AutoencoderTiny": Kind("encoder_block_out_channels", lambda encoded: encoded.latents),
}


@dataclass(frozen=True, kw_only=True)
class AutoencoderFacts(Config):
    """What a config.json says that others than diffusers have to know.

    Raises:
        ValueError: it is not an autoencoder of RGB pictures.
    """

    in_channels: int
    latent_channels: int
    scaling_factor: float = 1.0
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None  # one a channel; they take the place of the shift
    latents_std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.in_channels != 3:
            raise ValueError(f"in_channels is {self.in_channels}; frames have 3")
        if self.latent_channels < 1 or not self.scaling_factor > 0:
            raise ValueError(f"latent_channels is {self.latent_channels}, scaling_factor {self.scaling_factor}")
        for name in ("latents_mean", "latents_std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.latent_channels:
                raise ValueError(f"{name} has {len(values)} entries for {self.latent_channels} latent channels")

    @property
    def shift(self) -> tuple[float, ...]:
        """What is subtracted from each channel before it is scaled."""
        return self.latents_mean or (self.shift_factor or 0.0,) * self.latent_channels

    @property
    def scale(self) -> tuple[float, ...]:
        """What each channel is then multiplied by, so that latents are about as large as noise."""
        return tuple(self.scaling_factor / std for std in self.latents_std or (1.0,) * self.latent_channels)


class AutoencoderFolder:
    """A folder that holds one autoencoder.

    Raises:
        AutoencoderError: the folder holds none that can be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._config = _read_config(path / CONFIG)
        self.name = str(self._config.get("_class_name"))
        if self.name not in KINDS:
            known = ", ".join(KINDS)
            raise AutoencoderError(f"{path / CONFIG} names {self.name!r}; the autoencoders that can be used: {known}")
        if not (path / WEIGHTS).is_file():
            pickled = [file.name for file in path.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt")]
            why = f"holds {pickled[0]}, a pickle, which is never read," if pickled else "holds no weights"
            raise AutoencoderError(f"{path} {why}; save it again with save_pretrained, as {WEIGHTS}")
        self.kind = KINDS[self.name]
        self.facts = self._facts()

    @property
    def factor(self) -> int:
        """Pixels a side of each latent."""
        return 2 ** (len(self._config[self.kind.widths]) - 1)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return channels, rows and columns of the latent of a frame.

        Raises:
            ValueError: frames that the autoencoder cannot halve often enough.
        """
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"frames are {height}x{width} pixels and this autoencoder needs multiples of {self.factor}; "
                "import or record them at such a size (--size HEIGHT WIDTH)"
            )
        return (self.facts.latent_channels, height // self.factor, width // self.factor)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the config or any weight; not with the folder or the packing."""
        settings = {key: value for key, value in self._config.items() if not key.startswith("_")}
        digest = hashlib.sha256(json.dumps([self.name, settings], sort_keys=True).encode())
        try:
            with cast("Any", safe_open)(self.path / WEIGHTS, framework="pt") as file:
                for name in sorted(file.keys()):
                    tensor = cast(Tensor, file.get_tensor(name)).contiguous()
                    digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
                    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        except (SafetensorError, OSError) as error:
            raise AutoencoderError(f"{self.path / WEIGHTS} is damaged ({error}); copy or download it again") from error
        return digest.hexdigest()[:16]

    def check(self, fingerprint: str) -> None:
        """Refuse another autoencoder than the one that is meant.

        Raises:
            AutoencoderError: names both fingerprints.
        """
        if self.fingerprint != fingerprint:
            raise AutoencoderError(
                f"{self.path} holds the autoencoder {self.fingerprint}, and {fingerprint} was recorded: it is another "
                "one, or damaged; give the one that was used, or restore it from a copy"
            )

    def load(self, dtype: torch.dtype) -> nn.Module:
        """Build the network with its weights, frozen.

        Raises:
            AutoencoderError: diffusers is missing, or config and weights do not fit each other.
        """
        diffusers = _diffusers()
        _ = self.fingerprint  # reads every byte, with a clear error where one is missing
        try:
            with _quiet(diffusers), torch.random.fork_rng(devices=[]):  # weights that are drawn, and then replaced
                network, found = getattr(diffusers, self.name).from_pretrained(
                    str(self.path),
                    local_files_only=True,
                    use_safetensors=True,
                    low_cpu_mem_usage=False,
                    output_loading_info=True,
                    torch_dtype=dtype,
                )
        except Exception as error:  # a config of strangers may break any assumption of its reader
            reason = " ".join(str(error).split())
            what = f"{self.path} cannot be read as {self.name} ({reason})"
            raise AutoencoderError(f"{what}; copy or download it again") from error
        for fault in ("missing", "unexpected"):
            if names := found[f"{fault}_keys"]:
                what = f"{self.path / WEIGHTS} does not fit {CONFIG}: {fault} {', '.join(map(str, names))}"
                raise AutoencoderError(f"{what}; copy or download both again")
        return cast(nn.Module, network.eval().requires_grad_(False))

    def copy_to(self, target: Path) -> None:
        """Copy the files to a new folder, whole or not at all; its parent has one writer.

        Raises:
            OSError: the disk is full or refuses.
            AutoencoderError: what was written is not what was read.
        """
        for left in target.parent.glob(f"{target.name}.tmp-*"):  # by a writer that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
        try:
            temporary.mkdir(parents=True)
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(self.path / name, temporary / name)
                with (temporary / name).open("rb") as file:
                    os.fsync(file.fileno())
            AutoencoderFolder(temporary).check(self.fingerprint)
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _facts(self) -> AutoencoderFacts:
        config = self._config
        fields = ("in_channels", "latent_channels", "scaling_factor", "shift_factor", "latents_mean", "latents_std")
        widths = config.get(self.kind.widths)
        try:
            if not isinstance(widths, list):
                raise ValueError(f"{self.kind.widths} is {widths!r}, and no list")
            return AutoencoderFacts.from_json({name: config[name] for name in fields if name in config})
        except ValueError as error:
            raise AutoencoderError(f"{self.path / CONFIG}: {error}; download it again") from error


def find_autoencoder(name: str) -> AutoencoderFolder:
    """Open a local folder, or fetch from the hub: ``owner/name``, ``owner/name/folder``, with ``@revision`` behind.

    The hub is not asked for what is in its local cache when ``HF_HUB_OFFLINE`` is set.

    Raises:
        AutoencoderError: there is none.
    """
    if Path(name).is_dir():
        return AutoencoderFolder(Path(name))
    hub = _HUB.fullmatch(name)
    if hub is None or name.startswith((".", "/")):
        raise AutoencoderError(
            f"there is no folder {name}; give one with {CONFIG} and {WEIGHTS}, or owner/name of the hub"
        )
    return AutoencoderFolder(_fetch(name, hub["repo"], hub["folder"] or "", hub["revision"]))


def _fetch(name: str, repo: str, folder: str, revision: str | None) -> Path:
    _diffusers()  # whoever cannot use the weights should not wait for them
    wanted = [f"{folder}/{file}".removeprefix("/") for file in (CONFIG, WEIGHTS)]
    try:
        root = import_module("huggingface_hub").snapshot_download(repo, revision=revision, allow_patterns=wanted)
    except Exception as error:  # the client's errors have no base class of their own
        reason = " ".join(str(error).split("\n")[0].split())
        raise AutoencoderError(
            f"there is no folder {name}, and the hub does not give it ({reason}); check the name and the connection, "
            "or download it elsewhere and give the folder"
        ) from error
    return Path(root) / folder


def _diffusers() -> Any:
    try:
        return import_module("diffusers")
    except ImportError as error:
        raise AutoencoderError(
            f"pretrained autoencoders need diffusers ({error}); pip install 'hallucade[pretrained]'"
        ) from None


@contextlib.contextmanager
def _quiet(diffusers: Any) -> Generator[None]:
    """Keep diffusers from telling about fields of public configs that it does not know any more."""
    logging = diffusers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        inner = next((child.parent.name for child in path.parent.glob(f"*/{CONFIG}")), None)
        hint = f"its folder {inner} has one" if inner else "give the folder that save_pretrained wrote"
        raise AutoencoderError(f"{path.parent} is no autoencoder: it has no {CONFIG}; {hint}")
    content: object = None
    if path.stat().st_size <= CONFIG_LIMIT:
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise AutoencoderError(f"{path} is damaged: it is not a JSON object; copy or download it again")
    return cast("dict[str, Any]", content)
