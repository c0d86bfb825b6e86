"""Pre-training: one model, one objective, a frozen tokenizer."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hallucade.data.clips import Clip
from hallucade.methods.base import Method, latent_clip
from hallucade.models.base import WorldModel
from hallucade.objectives.base import Measured, Objective, Scheduled
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


class Pretrain(Method):
    """Minimises an objective of role "model" on recorded clips."""

    def __init__(self, tokenizer: Tokenizer, model: WorldModel[Any], objective: Objective[Any]) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.model = model
        self.objective = objective

    def hardest_step(self, step: int) -> int:
        return max(step, self.objective.hardest_step) if isinstance(self.objective, Scheduled) else step

    def roles(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        clip = latent_clip(self.tokenizer, batch)
        objective = self.objective.at(step) if isinstance(self.objective, Scheduled) else self.objective
        parts = objective(self.model, clip, torch.Generator().manual_seed(batch.seed))
        self.metrics = {name: loss.detach() for name, loss in parts.items()}
        if isinstance(self.objective, Measured):
            self.metrics |= self.objective.metrics
        yield "model", torch.stack(list(parts.values())).sum()
