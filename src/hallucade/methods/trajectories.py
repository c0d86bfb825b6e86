"""A teacher's ways from noise to data, computed once and kept on disk for students to learn their ends from.

    FOLDER/manifest.json          whose ways they are: the teacher's weights, the play, the choices, how many entries
    FOLDER/00000000.safetensors   one batch: the clips, their actions, and the ways of their graded latents
    FOLDER/complete.json          sha256 of every entry; written last, when none is missing

Entry i is a function of the manifest and i alone, and appears under its name only when it is whole. So a recording that
was killed goes on where it stopped, several processes can share one, and a folder without `complete.json` is refused.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import check_shift
from hallucade.methods.distribution_matching import Scored, predict_clip
from hallucade.methods.teacher_path import guided_after_truth
from hallucade.models.base import DiffusionModel, LatentClip, forced_latents
from hallucade.samplers.base import check_steps, sampling_levels
from hallucade.samplers.ddim import ddim_step

MANIFEST, COMPLETE = "manifest.json", "complete.json"
FORMAT = "hallucade-trajectories 1"
CLOSE = 1e-5  # levels nearer than this are the same


@dataclass(frozen=True, kw_only=True)
class TrajectoryConfig(Config):
    """Which way a teacher goes.

    With "clean" history it is a causal one: it draws each block after the true ones before it, and so each student that
    sees the same past can know the end of a way. With "noisy" history it draws all latents after the first together,
    as a bidirectional teacher does; a causal student then learns an average over futures that it cannot see.
    """

    steps: int = 48
    shift: float = 1.0  # above 1 takes more of them near noise
    guidance: float = 1.0  # by the action: 1 none, x0 = free + guidance (given - free)
    history: Literal["clean", "noisy"] = "clean"
    given: int = 1  # first latents of a clip that are true and stay clean, where the history is noisy
    keep: tuple[float, ...] | None = None  # levels to store beside the end; None for all: students choose among these

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)
        if self.given < 1:
            raise ValueError(f"given is {self.given}; a clip starts from 1 true latent or more")
        if self.keep is not None:
            where_kept(self.keep, tuple(self.passed[:-1]), "the teacher's way")

    @property
    def passed(self) -> list[float]:
        """Every level on the way, from noise to data."""
        return sampling_levels(self.steps, self.shift)

    @property
    def kept(self) -> tuple[float, ...]:
        """The levels that are stored, before data."""
        return tuple(self.passed[:-1]) if self.keep is None else self.keep


@dataclass(frozen=True)
class Trajectories:
    """The ways of one batch."""

    latents: Float[Tensor, "b t *latent"]  # what really came
    actions: Float[Tensor, "b n a"]
    ways: Float[Tensor, "b s p *latent"]  # the last p latents at the levels that are kept, then their end

    @property
    def clip(self) -> LatentClip:
        """The play that they start from."""
        return LatentClip(self.latents, self.actions)


@torch.no_grad()
def draw_trajectories(
    teacher: DiffusionModel[Any], clip: LatentClip, config: TrajectoryConfig, generator: torch.Generator
) -> Trajectories:
    """Go the teacher's way from fresh noise to data, for the latents of a clip that are not given."""
    t = clip.latents.shape[1]
    graded = forced_latents(teacher, t) if config.history == "clean" else t - config.given
    if graded < 1:
        raise ValueError(f"clips of {t} latents, of which {config.given} are given; lengthen them")
    if config.history == "noisy" and teacher.lead:
        raise ValueError(f"history is 'noisy', and {type(teacher).__name__} looks back at clean latents; use 'clean'")
    x = torch.randn((len(clip.latents), graded, *teacher.latent_shape), generator=generator).to(clip.latents.device)
    stored: list[Tensor] = []
    for now, after in pairwise(config.passed):
        if any(abs(now - level) < CLOSE for level in config.kept):
            stored.append(x)
        levels = torch.full(x.shape[:2], now, device=x.device)
        x0 = _predicted(teacher, clip, x, levels, config)
        x = ddim_step(teacher.schedule, x0, x, levels, torch.full_like(levels, after))
    return Trajectories(clip.latents, clip.actions, torch.stack([*stored, x], 1))


def _predicted(
    teacher: DiffusionModel[Any],
    clip: LatentClip,
    x: Float[Tensor, "b p *latent"],
    levels: Float[Tensor, "b p"],
    config: TrajectoryConfig,
) -> Float[Tensor, "b p *latent"]:
    if config.history == "clean":
        return guided_after_truth(teacher, clip, x, levels, config.guidance)
    whole = torch.cat([clip.latents[:, : config.given], x], 1)
    graded = (torch.arange(whole.shape[1], device=x.device) >= config.given).expand(whole.shape[:2])
    scored = Scored(whole, clip.actions, graded)
    given = predict_clip(teacher, scored, whole, levels[:, 0])
    if config.guidance != 1:
        given = torch.lerp(predict_clip(teacher, scored, whole, levels[:, 0], dropped=True), given, config.guidance)
    return given[:, config.given :]


def where_kept(asked: tuple[float, ...], kept: tuple[float, ...], whose: str) -> list[int]:
    """Return the places of levels among those of `whose`.

    Raises:
        ValueError: one is not among them.
    """
    places = [min(range(len(kept)), key=lambda i: abs(kept[i] - level)) for level in asked]
    for place, level in zip(places, asked, strict=True):
        if abs(kept[place] - level) >= CLOSE:
            raise ValueError(
                f"level {level:g} is not on {whose}; the nearest is {kept[place]:g}: use steps that divide its steps, "
                "with the same shift"
            )
    return places


@dataclass(frozen=True)
class TrajectorySource:
    """Whose ways a folder holds."""

    teacher: str  # fingerprint of its weights
    play: str  # fingerprint of the clips, and of the tokenizer
    entries: int  # batches
    seed: int = 0  # of the noise


def record_trajectories(
    folder: Path,
    teacher: DiffusionModel[Any],
    clip_at: Callable[[int], LatentClip],
    config: TrajectoryConfig,
    source: TrajectorySource,
    *,
    rank: int = 0,
    world: int = 1,
    progress: Callable[[int], None] = lambda entry: None,
) -> None:
    """Fill a folder with what is missing of it.

    Args:
        folder: new, or one that the same call began.
        teacher: whose ways.
        clip_at: the clips of batch i; the same whenever it is asked.
        config: which way.
        source: what the folder says of itself.
        rank: which of `world` processes this is; each draws every world-th entry, the last to end marks the folder.
        world: processes that fill the folder together.
        progress: told of each entry that is done.

    Raises:
        ValueError: the folder holds other ways.
    """
    folder.mkdir(parents=True, exist_ok=True)
    alphas = [float(alpha) for alpha in teacher.schedule.alpha(torch.tensor(config.kept))]
    kind = {"format": FORMAT, "config": config.to_json(), "block": teacher.block, "alphas": alphas}
    _claim(folder, kind | vars(source))
    if (folder / COMPLETE).exists():
        return
    for entry in range(rank, source.entries, world):
        if not _entry_path(folder, entry).exists():
            generator = torch.Generator().manual_seed(source.seed * 1_000_003 + entry)
            drawn = draw_trajectories(teacher, clip_at(entry), config, generator)
            tensors = {name: value.detach().cpu().contiguous() for name, value in vars(drawn).items()}
            _write(_entry_path(folder, entry), safetensors.torch.save(tensors))
        progress(entry)
    paths = [_entry_path(folder, entry) for entry in range(source.entries)]
    if all(path.exists() for path in paths):
        _write(folder / COMPLETE, _json({path.name: _digest(path.read_bytes()) for path in paths}))


class TrajectoryFolder:
    """Complete ways on disk, open for reading.

    Raises:
        ValueError: the folder is not one, or is not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / MANIFEST).exists():
            raise ValueError(f"{folder} holds no trajectories; record them with record_trajectories")
        manifest = _read(folder / MANIFEST)
        if manifest.pop("format", None) != FORMAT:
            raise ValueError(f"{folder / MANIFEST} is not of {FORMAT}; record the trajectories again")
        self.config = TrajectoryConfig.from_json(manifest.pop("config"))
        self.block: int = manifest.pop("block")  # latents that the teacher draws at once
        self.alphas = torch.tensor(manifest.pop("alphas"))  # shares of data at the levels that are kept
        self.source = TrajectorySource(**manifest)
        if not (folder / COMPLETE).exists():
            there = sum(_entry_path(folder, entry).exists() for entry in range(self.source.entries))
            raise ValueError(
                f"{folder} holds {there} of {self.source.entries} batches of trajectories; "
                "let the recording finish: the same command goes on where it stopped"
            )
        self._digests = _read(folder / COMPLETE)
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return self.source.entries

    def __getitem__(self, entry: int) -> Trajectories:
        """Read one batch.

        Raises:
            ValueError: it is not what was written.
        """
        path = _entry_path(self.folder, entry)
        try:
            content = path.read_bytes()
            if entry not in self._verified and _digest(content) != self._digests.get(path.name):
                raise ValueError("its sha256 is another one")
            tensors = safetensors.torch.load(content)
        except (OSError, ValueError, SafetensorError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and {COMPLETE}, and record again") from error
        self._verified.add(entry)
        return Trajectories(**tensors)


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Write what the folder will hold, or make sure that it is what it does hold."""
    path = folder / MANIFEST
    if not path.exists():
        _write(path, _json(manifest))
        return
    began = _read(path)
    for name, value in manifest.items():
        if began.get(name) != value:
            raise ValueError(f"{folder} was begun with {name} {began.get(name)}, now {value}; choose another folder")


def _entry_path(folder: Path, entry: int) -> Path:
    return folder / f"{entry:08d}.safetensors"


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=1).encode()


def _read(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(path.read_text()))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file that is whole as soon as it has its name."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
