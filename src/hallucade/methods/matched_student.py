"""What methods share in which a student is matched to a teacher: three networks, and whose turn it is.

A critic learns at every step what the student's clips are like, and the student at some steps where teacher and critic
disagree about them. How the student comes to its clips is the method's affair.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from hallucade.data.clips import Clip
from hallucade.methods.base import Method, MethodConfig
from hallucade.methods.distribution_matching import (
    DistributionMatchingConfig,
    Scored,
    critic_loss,
    distribution_matching_loss,
)
from hallucade.models.base import DiffusionModel
from hallucade.samplers.few_step import FewStepSampler
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class MatchedStudentConfig(MethodConfig):
    """How clips are graded, and who is updated when."""

    networks: ClassVar[tuple[str, ...]] = ("teacher", "critic")

    matching: DistributionMatchingConfig = field(default_factory=DistributionMatchingConfig)
    student_every: int = 5  # steps; the critic learns at every one

    def __post_init__(self) -> None:
        if self.student_every < 1:
            raise ValueError(f"student_every is {self.student_every}; use 1 or more")


class MatchedStudent(Method):
    """Roles "model", the student, and "critic"; the teacher is frozen."""

    averaged = ("model",)
    fresh_for_critic = False  # whether the critic sees another clip than the one that the student learnt from

    def __init__(
        self,
        config: MatchedStudentConfig,
        tokenizer: Tokenizer,
        networks: Mapping[str, DiffusionModel[Any]],
        sampler: FewStepSampler,
        seed: int,
    ) -> None:
        super().__init__()
        self.matching, self.student_every = config.matching, config.student_every
        self.sampler, self.seed = sampler, seed
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.model, self.critic = networks["model"], networks["critic"]
        self.teacher = networks["teacher"].requires_grad_(False).eval()

    @abstractmethod
    def _draws(self, batch: Clip, step: int, generator: torch.Generator) -> Iterator[Scored]:
        """Yield one clip of the student after the other, as many as are asked for."""

    def _student_learns(self, step: int) -> bool:
        return step % self.student_every == 0

    def roles(self) -> dict[str, nn.Module]:
        return {"model": self.model, "critic": self.critic}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        generator = torch.Generator().manual_seed(batch.seed)
        student_learns = self._student_learns(step)
        draws = self._draws(batch, step, generator)
        with torch.set_grad_enabled(student_learns):
            drawn = next(draws)
        if student_learns:
            loss = distribution_matching_loss(self.teacher, self.critic, drawn, self.matching, generator)
            self.metrics = {"student/spread": drawn.latents.detach().float().std()}
            yield "model", loss
            if self.fresh_for_critic:
                with torch.no_grad():
                    drawn = next(draws)
        self.metrics = {}
        yield "critic", critic_loss(self.critic, drawn, self.matching, generator)
