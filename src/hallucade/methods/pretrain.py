"""Pre-training: one model, one objective, a frozen tokenizer."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn

from hallucade.data.clips import Clip
from hallucade.methods.base import Method, latent_clip
from hallucade.models.base import LatentClip, WorldModel
from hallucade.objectives.base import Measured, Objective, Scheduled, TaughtObjective
from hallucade.objectives.gradient_coverage import check_gradients
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


class Pretrain(Method):
    """Minimises an objective of role "model" on recorded clips, and those of the objective's own networks if any."""

    def __init__(self, tokenizer: Tokenizer, model: WorldModel[Any], objective: Objective[Any]) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.model = model
        self.objective = objective
        self._seen: dict[tuple[Any, ...], WorldModel[Any]] = {}  # the model as stages of other sizes see it
        self.networks = nn.ModuleDict(objective.networks() if isinstance(objective, TaughtObjective) else {})

    def hardest_step(self, step: int) -> int:
        return max(step, self.objective.hardest_step) if isinstance(self.objective, Scheduled) else step

    def roles(self) -> dict[str, nn.Module]:
        return {"model": self.model, **self.networks}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        clip = latent_clip(self.tokenizer, batch)
        generator = torch.Generator().manual_seed(batch.seed)
        parts = self._graded(clip, step, generator)
        self.metrics = {name: loss.detach() for name, loss in parts.items()}
        if isinstance(self.objective, Measured):
            self.metrics |= self.objective.metrics
        yield "model", torch.stack(list(parts.values())).sum()
        if isinstance(self.objective, TaughtObjective):
            yield from self.objective.network_losses(clip, generator)

    def check_losses(self, batch: Clip, step: int) -> None:
        clip, checked = latent_clip(self.tokenizer, batch), set[str]()
        for number in (0, step):  # losses may count at some steps only, and all do at the first
            checked |= check_gradients(
                lambda number=number: self._graded(clip, number, torch.Generator().manual_seed(batch.seed)),
                self.model,
                checked,
            )

    def _graded(self, clip: LatentClip, step: int, generator: torch.Generator) -> Mapping[str, Scalar]:
        objective: Objective[Any] = self.objective
        if isinstance(self.objective, Scheduled):
            objective = cast("Scheduled[Any]", self.objective).at(step)
        return objective(self._model_of(clip), clip, generator)

    def _model_of(self, clip: LatentClip) -> WorldModel[Any]:
        """Return the model as it sees clips of this size and pace, compiled if it is."""
        compiled = self.model._compiled_call_impl is not None
        key = (*clip.latents.shape[2:], clip.pace, compiled)
        if key not in self._seen:
            model = self.model.at(tuple(clip.latents.shape[2:]), clip.pace)
            if compiled and model is not self.model:
                model.compile(dynamic=False)
            self._seen[key] = model
        return self._seen[key]
