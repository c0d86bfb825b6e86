"""ODE initialisation: a student's few steps, each drawn to where the teacher's many steps from the same noise end.

It brings a student near enough to the teacher for distribution matching, which needs samples that overlap, to take
over. Trajectories come from a folder (`methods.trajectories`), so that no teacher is in memory.

Source: Yin et al. 2025, CausVid, arXiv:2412.07772, section 4.3; Zhu et al. 2026, causal forcing, arXiv:2602.02214, for
a causal teacher's ways after the truth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.data.clips import Clip
from hallucade.diffusion.timesteps import over_blocks
from hallucade.methods.base import Method, MethodConfig, diffusion_roles
from hallucade.methods.trajectories import Trajectories, TrajectoryFolder, where_kept
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Sampler
from hallucade.samplers.few_step import FewStepSampler, few_steps
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class OdeInitialisationConfig(MethodConfig):
    """Where the teacher's ways lie; the levels are those of the run's few-step sampler."""

    trajectories: str  # folder of `record_trajectories`

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> "OdeInitialisation":
        """Build the method.

        Raises:
            ValueError: the folder is not complete, its latents are not the student's, or the sampler starts steps from
                levels that it does not hold.
        """
        model = diffusion_roles(networks)["model"]
        return OdeInitialisation(TrajectoryFolder(Path(self.trajectories)), tokenizer, model, few_steps(sampler))


class OdeInitialisation(Method):
    """Role "model", the student; of a batch it takes the seed, which says which trajectories are its own."""

    def __init__(
        self, folder: TrajectoryFolder, tokenizer: Tokenizer, model: DiffusionModel[Any], sampler: FewStepSampler
    ) -> None:
        super().__init__()
        self.folder, self.model = folder, model
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        whose = f"the way of {folder.folder}"
        self.levels = torch.tensor(sampler.levels)
        self.places = torch.tensor(where_kept(sampler.levels, folder.config.kept, whose))
        _check(folder, model)

    def roles(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        generator = torch.Generator().manual_seed(batch.seed)
        entry = int(torch.randint(len(self.folder), (), generator=generator))
        kept = self.folder[entry]
        device = batch.actions.device
        moved = Trajectories(kept.latents.to(device), kept.actions.to(device), kept.ways.to(device))
        yield "model", self._distance(moved, generator)

    def _distance(self, drawn: Trajectories, generator: torch.Generator) -> Scalar:
        """Return the mean squared error of x0, predicted at one of the student's levels a block, to the way's end."""
        b, graded, k = len(drawn.ways), drawn.ways.shape[2], self.model.block
        which = over_blocks(torch.randint(len(self.levels), (b, -(-graded // k)), generator=generator), graded, k)
        rows, columns = torch.arange(b)[:, None], torch.arange(graded)
        noisy = drawn.ways[rows, self.places[which], columns]
        predicted = self._predicted(drawn.clip, noisy, self.levels[which].to(noisy.device))
        return (predicted - drawn.ways[:, -1]).square().mean()

    def _predicted(
        self, clip: LatentClip, noisy: Float[Tensor, "b p *latent"], levels: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b p *latent"]:
        if self.folder.config.history == "clean":
            return self.model.teacher_forced(clip, noisy, levels)
        first = clip.latents.shape[1] - noisy.shape[1]
        whole = torch.cat([clip.latents[:, :first], noisy], 1)
        told = torch.cat([levels.new_zeros(len(levels), first), levels], 1)
        return self.model.restore(whole, told, clip.actions)[:, -noisy.shape[1] :]


def _check(folder: TrajectoryFolder, model: DiffusionModel[Any]) -> None:
    """Refuse ways that are not a student's to learn.

    Raises:
        ValueError: latents, blocks, history or schedule differ.
    """
    where, shape = folder.folder, tuple(folder[0].latents.shape[2:])
    if shape != tuple(model.latent_shape):
        raise ValueError(
            f"{where} holds latents of {shape} and the model dreams {tuple(model.latent_shape)}; record "
            "trajectories of a teacher with the same tokenizer"
        )
    if folder.config.history == "clean" and folder.block != model.block:
        raise ValueError(
            f"{where} is of a teacher that advances by {folder.block} latents and the model by {model.block}; "
            "a causal teacher has the blocks of its student"
        )
    if folder.config.history == "noisy" and model.lead:
        raise ValueError(f"{where} has a noisy history, and {type(model).__name__} looks back at clean latents")
    if not torch.allclose(model.schedule.alpha(torch.tensor(folder.config.kept)), folder.alphas, atol=1e-5):
        raise ValueError(f"{where} is of a teacher with another noise schedule than the model; give both the same")
