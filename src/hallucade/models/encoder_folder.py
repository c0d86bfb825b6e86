"""A trained video encoder as files, without what trained it.

    FOLDER/encoder.json         its config, the size of the frames it reads, its fingerprint, the step it is from
    FOLDER/weights.safetensors

What it is, is its fingerprint: a hash over config and weights, which is compared whenever it is loaded.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from hallucade.config import Config
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.tokenizers.learned_folder import fingerprint_of, new_folder

ABOUT, WEIGHTS = "encoder.json", "weights.safetensors"
KEPT = "encoder"  # the folder of a run that holds its encoder


class EncoderError(ValueError):
    """A folder holds no encoder that could be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class EncoderFacts(Config):
    """What encoder.json says.

    Raises:
        ValueError: of a newer format.
    """

    NEWEST: ClassVar[int] = 1

    encoder: VideoEncoderConfig
    frame_size: tuple[int, int]  # height, width in pixels
    fingerprint: str  # sixteen hex digits
    step: int  # of the training
    recipe: str = ""
    data: str = ""  # fingerprint of the store
    version: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.version <= self.NEWEST:
            raise ValueError(f"version is {self.version}, and this hallucade reads up to {self.NEWEST}; update it")


@dataclass(frozen=True)
class EncoderFolder:
    """A folder that holds one encoder."""

    path: Path
    facts: EncoderFacts

    @classmethod
    def open(cls, run: Path) -> "EncoderFolder":
        """Open an encoder's folder, or that of a run.

        Raises:
            EncoderError: there is none, or it cannot be read.
        """
        path = run if (run / ABOUT).is_file() else run / KEPT
        try:
            content: object = json.loads((path / ABOUT).read_bytes())
            if not isinstance(content, dict):
                raise ValueError("it is no JSON object")
            return cls(path, EncoderFacts.from_json(cast("dict[str, Any]", content)))
        except (FileNotFoundError, NotADirectoryError):
            raise EncoderError(
                f"{run} holds no encoder: it has no {ABOUT}; give a run of `hallucade train pretrain_masked` or such"
            ) from None
        except ValueError as error:
            raise EncoderError(f"{path / ABOUT} cannot be used: {error}; copy it again, or train it again") from error

    def weights(self) -> dict[str, Tensor]:
        """Return the encoder's tensors.

        Raises:
            EncoderError: they are damaged, or another encoder's.
        """
        try:
            weights = safetensors.torch.load((self.path / WEIGHTS).read_bytes())
        except (SafetensorError, OSError) as error:
            raise EncoderError(f"{self.path / WEIGHTS} cannot be read ({error}); copy it again") from error
        found = fingerprint_of(self.facts.encoder, weights)
        if found != self.facts.fingerprint:
            raise EncoderError(
                f"{self.path / WEIGHTS} is the encoder {found}, and {ABOUT} tells of {self.facts.fingerprint}; "
                "copy both again, or train it again"
            )
        return weights

    def load(self) -> VideoEncoder:
        """Build the encoder with its weights, frozen.

        Raises:
            EncoderError: weights and config do not belong together.
        """
        encoder, weights = self.facts.encoder.build(self.facts.frame_size), self.weights()
        try:
            encoder.load_state_dict(weights)
        except RuntimeError as error:
            raise EncoderError(f"{self.path} does not fit its own config: {error}; train it again") from error
        return encoder.eval().requires_grad_(False)


def write_encoder(target: Path, encoder: VideoEncoder, *, step: int = 0, recipe: str = "", data: str = "") -> None:
    """Write an encoder into a folder, in place of one that is there; whole or not at all.

    Args:
        target: the folder; its parent has one writer.
        encoder: as it is now.
        step: of the training.
        recipe: that it was trained by.
        data: fingerprint of the store.

    Raises:
        OSError: the disk is full or refuses; what was there stays.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    facts = EncoderFacts(
        encoder=encoder.config,
        frame_size=encoder.frame_size,
        fingerprint=fingerprint_of(encoder.config, weights),
        step=step,
        recipe=recipe,
        data=data,
    )
    with new_folder(target) as temporary:
        (temporary / ABOUT).write_text(json.dumps(facts.to_json(), indent=1) + "\n")
        (temporary / WEIGHTS).write_bytes(safetensors.torch.save(weights))
