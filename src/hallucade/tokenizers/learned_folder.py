"""A trained tokenizer as files: what it is, its weights, and a probe that shows that both still belong together.

    FOLDER/tokenizer.json        config, number of codes, width of a code, pixels a side of each, the step it is from
    FOLDER/weights.safetensors   encoder, bottleneck and decoder
    FOLDER/probe.safetensors     a picture, its latents, and what they were decoded to

What a tokenizer is, is its fingerprint: a hash over its config and every tensor. World models and caches of latents
name it, and no other tokenizer loads in its place.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import safetensors.torch
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from torch import Tensor

from hallucade.config import Config
from hallucade.tokenizers.base import TokenizerError
from hallucade.tokenizers.bottlenecks import fsq as fsq  # a folder may name their configs
from hallucade.tokenizers.bottlenecks import gaussian as gaussian
from hallucade.tokenizers.bottlenecks import lfq as lfq
from hallucade.tokenizers.bottlenecks import residual_vq as residual_vq
from hallucade.tokenizers.bottlenecks import vector_quantizer as vector_quantizer
from hallucade.tokenizers.learned import LearnedTokenizer, LearnedTokenizerConfig

ABOUT, WEIGHTS, PROBE = "tokenizer.json", "weights.safetensors", "probe.safetensors"
TRUE_GREY = 2.0  # mean grey levels by which a probe's picture may differ on another machine
TRUE_CODES = 0.98  # share of a probe's codes that have to come out the same


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts(Config):
    """What tokenizer.json says.

    Raises:
        ValueError: of a newer format.
    """

    NEWEST: ClassVar[int] = 1

    tokenizer: LearnedTokenizerConfig
    codes: int | None  # None: latents are float channels
    width: int  # numbers of a code's vector, or channels
    factor: int  # pixels a side of each latent
    step: int  # of the training
    recipe: str = ""
    data: str = ""  # fingerprint of the store
    version: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.version <= self.NEWEST:
            raise ValueError(f"version is {self.version}, and this hallucade reads up to {self.NEWEST}; update it")


class LearnedFolder:
    """A folder that holds one trained tokenizer.

    Raises:
        TokenizerError: the folder holds none, or one that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = _read_facts(path / ABOUT)

    @property
    def codes(self) -> int | None:
        """How many codes there are; None: latents are float channels."""
        return self.facts.codes

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the latent of a frame.

        Raises:
            ValueError: frames that the tokenizer cannot halve often enough.
        """
        with torch.device("meta"):
            return self.facts.tokenizer.build().latent_shape(height, width)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the config or any weight; not with the folder or the step."""
        return fingerprint_of(self.facts.tokenizer, self._tensors(WEIGHTS))

    def check(self, fingerprint: str) -> None:
        """Refuse another tokenizer than the one that is meant.

        Raises:
            TokenizerError: names both fingerprints.
        """
        if self.fingerprint != fingerprint:
            raise TokenizerError(
                f"{self.path} holds the tokenizer {self.fingerprint}, and {fingerprint} was recorded: it is another "
                "one, or damaged; give the one that was used, or restore it from a copy"
            )

    def load(self) -> LearnedTokenizer:
        """Build the tokenizer with its weights, frozen, and let it show that it works.

        Raises:
            TokenizerError: config, weights and probe do not belong together; names what differs.
        """
        tokenizer, weights = self.facts.tokenizer.build(), self._tensors(WEIGHTS)
        self._check_facts(tokenizer)
        expected = tokenizer.state_dict()
        for fault, names in (("lacks", expected.keys() - weights.keys()), ("has", weights.keys() - expected.keys())):
            if names:
                raise self._broken(f"{WEIGHTS} {fault} {', '.join(sorted(names))}")
        for name, value in weights.items():
            if value.shape != expected[name].shape:
                shapes = ("x".join(map(str, v.shape)) or "one number" for v in (value, expected[name]))
                raise self._broken("{} has {} as {}, and its config makes it {}".format(WEIGHTS, name, *shapes))
        tokenizer.load_state_dict(weights)
        tokenizer.eval().requires_grad_(False)
        self._check_probe(tokenizer)
        return tokenizer

    def copy_to(self, target: Path) -> None:
        """Copy the files to a new folder, whole or not at all; its parent has one writer.

        Raises:
            OSError: the disk is full or refuses.
            TokenizerError: what was written is not what was read.
        """
        with new_folder(target) as temporary:
            for name in (ABOUT, WEIGHTS, PROBE):
                shutil.copyfile(self.path / name, temporary / name)
            LearnedFolder(temporary).check(self.fingerprint)

    def _check_facts(self, tokenizer: LearnedTokenizer) -> None:
        found = (tokenizer.codes, tokenizer.bottleneck.width, tokenizer.config.convolutions.factor)
        said = (self.facts.codes, self.facts.width, self.facts.factor)
        for name, ours, theirs in zip(("codes", "width", "factor"), found, said, strict=True):
            if ours != theirs:
                raise self._broken(f"{ABOUT} says that {name} is {theirs}, and its config makes it {ours}")

    def _check_probe(self, tokenizer: LearnedTokenizer) -> None:
        """Hold the probe against what the tokenizer makes of it now."""
        probe = self._tensors(PROBE)
        if probe.keys() != {"picture", "latents", "reconstruction"}:
            raise self._broken(f"{PROBE} holds {', '.join(sorted(probe)) or 'nothing'}")
        try:
            latents, shown = tokenizer.encode(probe["picture"][None, None]), tokenizer.decode(probe["latents"])
        except (ValueError, RuntimeError) as error:
            raise self._broken(f"its probe cannot be read ({error})") from error
        off = float((shown[0, 0].float() - probe["reconstruction"].float()).abs().mean())
        if not off <= TRUE_GREY:
            raise self._broken(f"it decodes its probe {off:.1f} grey levels away from how it did")
        same = latents == probe["latents"] if self.codes else (latents - probe["latents"]).abs() < 0.1
        if float(same.float().mean()) < TRUE_CODES:
            raise self._broken(f"it encodes {float(same.float().mean()):.0%} of its probe as it did")

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load((self.path / name).read_bytes())
        except (SafetensorError, OSError) as error:
            raise self._broken(f"{name} cannot be read ({error})") from error

    def _broken(self, what: str) -> TokenizerError:
        return TokenizerError(f"the tokenizer in {self.path} is damaged: {what}; copy it again, or train it again")


def fingerprint_of(config: Config, weights: dict[str, Tensor]) -> str:
    """Return sixteen hex digits that change with the config or any weight."""
    digest = hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def write_tokenizer(
    target: Path,
    tokenizer: LearnedTokenizer,
    picture: UInt8[Tensor, "h w 3"],
    *,
    step: int = 0,
    recipe: str = "",
    data: str = "",
) -> LearnedFolder:
    """Write a tokenizer into a folder, in place of one that is there; whole or not at all.

    Args:
        target: the folder; its parent has one writer.
        tokenizer: as it is now.
        picture: what it is probed with.
        step: of the training.
        recipe: that it was trained by.
        data: fingerprint of the store.

    Raises:
        OSError: the disk is full or refuses; what was there stays.
    """
    facts = TokenizerFacts(
        tokenizer=tokenizer.config,
        codes=tokenizer.codes,
        width=tokenizer.bottleneck.width,
        factor=tokenizer.config.convolutions.factor,
        step=step,
        recipe=recipe,
        data=data,
    )
    weights = {name: value.detach().cpu().contiguous() for name, value in tokenizer.state_dict().items()}
    latents = tokenizer.encode(picture[None, None])
    probe = {"picture": picture, "latents": latents, "reconstruction": tokenizer.decode(latents)[0, 0]}
    with new_folder(target) as temporary:
        (temporary / ABOUT).write_text(json.dumps(facts.to_json(), indent=1) + "\n")
        (temporary / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        kept = {name: value.cpu().contiguous() for name, value in probe.items()}
        (temporary / PROBE).write_bytes(safetensors.torch.save(kept))
    return LearnedFolder(target)


@contextlib.contextmanager
def new_folder(target: Path) -> Any:
    """Yield a folder that takes the place of `target` once the block ends well; the parent has one writer."""
    for left in target.parent.glob(f"{target.name}.tmp-*"):  # by a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
    old = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if target.exists():
            os.rename(target, old)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _read_facts(path: Path) -> TokenizerFacts:
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        return TokenizerFacts.from_json(cast("dict[str, Any]", content))
    except FileNotFoundError:
        raise TokenizerError(f"{path.parent} holds no tokenizer: it has no {path.name}; train one") from None
    except ValueError as error:
        raise TokenizerError(f"{path} cannot be used: {error}; copy it again, or train it again") from error
