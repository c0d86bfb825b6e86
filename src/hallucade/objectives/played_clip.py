"""A clip that a model plays through while it is graded: what it is asked in each block, and what it then sees."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hallucade.models.base import LatentClip, TokenModel, forced_latents
from hallucade.objectives.masked_tokens import asked_cells, corrupted
from hallucade.objectives.token_losses.base import TokenContext
from hallucade.objectives.token_losses.weighted import TokenLosses
from hallucade.objectives.token_objective import TokenObjectiveConfig
from hallucade.samplers.base import Generators, Sampler, seeded
from hallucade.shapes import Action, Latent


@dataclass(frozen=True)
class PlayedClip:
    """All that is drawn before a clip is played, so that a part of it can be played again with the same draws."""

    clip: LatentClip  # what really came
    past: Int64[Tensor, "b t h w"]  # what stands for it in the memory
    asked: Int64[Tensor, "b p h w"]  # with cells that are not known
    cells: Float[Tensor, "b p h w"]  # how much each counts
    unheard: Bool[Tensor, "b blocks"]  # blocks that are told of no action
    trusted: Bool[Tensor, "b blocks"]  # blocks that are followed by the truth, though they could be by the model's own
    own: int  # blocks before the last that are followed by the model's own
    block: int  # latents
    codes: int  # of the model
    seed: int
    shown: dict[int, Int64[Tensor, "b k h w"]] = field(default_factory=dict[int, Tensor])  # what it drew, by block

    @classmethod
    def drawn(
        cls,
        clip: LatentClip,
        model: TokenModel[Any],
        config: TokenObjectiveConfig,
        own: int,
        truth_share: float,
        generator: torch.Generator,
    ) -> "PlayedClip":
        """Draw what is hidden, corrupted, not heard of and trusted; each clip and block by itself."""
        truth, k, device = clip.latents, model.block, clip.latents.device
        graded = forced_latents(model, truth.shape[1])
        answer, rolls = truth[:, -graded:], (len(truth), graded // k)
        asked, hidden = asked_cells(model, answer, config.all_share, generator)
        moving = answer != truth[:, -graded - 1 : -1]
        return cls(
            clip,
            past=corrupted(truth, model.codes, config.corruption, generator),
            asked=asked,
            cells=hidden * (1 + config.moving_weight * moving),
            unheard=(torch.rand(rolls, generator=generator) < config.action_dropout).to(device),
            trusted=(torch.rand(rolls, generator=generator) < truth_share).to(device),
            own=own,
            block=k,
            codes=model.codes,
            seed=int(torch.randint(2**31, (), generator=generator)),
        )

    @property
    def blocks(self) -> int:
        """How many are graded."""
        return self.trusted.shape[1]

    @property
    def first(self) -> int:
        """Latents before the first graded block."""
        return self.past.shape[1] - self.asked.shape[1]

    @property
    def start(self) -> LatentClip:
        """What the memory begins with."""
        return LatentClip(self.past[:, : self.first], self.clip.leading_to(1, self.first), self.clip.seeds)

    @property
    def generators(self) -> Generators:
        """Generators that nothing draws from: each block has its own."""
        return seeded(self.seed, len(self.past))

    def actions(self, first: int, last: int) -> Iterator[Action]:
        """Return the actions that lead to blocks from number `first` to before `last`."""
        for number in range(first, last):
            yield self.clip.leading_to(*self.span(number))

    def span(self, number: int) -> tuple[int, int]:
        """Return the number of a block's first latent in the clip, and of that after its last."""
        begin = self.first + number * self.block
        return begin, begin + self.block

    def is_own(self, number: int) -> bool:
        """Return whether a block is followed by what the model drew, as far as that is not left to the truth."""
        return self.blocks - 1 - self.own <= number < self.blocks - 1

    def own_share(self) -> float:
        """Return the share of clips and blocks of the unroll in whose place the model's own were seen."""
        return float((~self.trusted[:, list(self.shown)]).float().mean())

    def code_share(self) -> Float[Tensor, ""]:
        """Return how many different codes the model drew in its last own block, over those of the truth there."""
        number = max(self.shown)
        begin, end = self.span(number)
        return self._different(self.shown[number]) / self._different(self.clip.latents[:, begin:end])

    def _different(self, tokens: Int64[Tensor, "b k h w"]) -> Float[Tensor, ""]:
        found = torch.zeros(self.codes, device=tokens.device)
        return found.index_fill(0, tokens.flatten(), 1.0).sum()


class BlockGrader:
    """A sampler that grades the model on each block, and says what was there, or what the model drew in its place."""

    def __init__(
        self,
        played: PlayedClip,
        losses: TokenLosses,
        own: Sampler[TokenModel[Any]],
        first: int,
        step: int,
        previous: Float[Tensor, "b h w codes"] | None,
    ) -> None:
        """Go on from block `first`, before whose first frame the logits were `previous`."""
        self.previous = previous
        self._played, self._losses, self._own, self._number, self._step = played, losses, own, first, step
        self._found: dict[str, list[Tensor]] = {}

    def __call__(self, model: TokenModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        number = self._number
        self._number += 1
        self._grade(model, state, action, number)
        begin, end = self._played.span(number)
        truth = self._played.past[:, begin:end]
        if not self._played.is_own(number):
            return truth
        drawn = self._drawn(model, state, action, number)
        return torch.where(self._played.trusted[:, number, None, None, None], truth, drawn)

    def losses(self) -> dict[str, Tensor]:
        """Return what each loss was, block by block."""
        return {name: torch.stack(values) for name, values in self._found.items()}

    def _grade(self, model: TokenModel[Any], state: Any, action: Action, number: int) -> None:
        played, k = self._played, self._played.block
        begin, end = played.span(number)
        at = slice(number * k, (number + 1) * k)
        asked, unheard = played.asked[:, at], played.unheard[:, number]
        free = model.logits(state, None, asked) if bool(unheard.any()) else None
        logits = model.logits(state, action, asked)
        if free is not None:
            logits = torch.where(unheard[:, None, None, None, None], free, logits)
        context = TokenContext(
            step=self._step,
            cells=played.cells[:, at],
            past=played.clip.latents[:, begin - 1 : end - 1],
            previous=self.previous,
            block=k,
            actions=action,
            under=lambda other: model.logits(state, other, asked),
            generator=torch.Generator().manual_seed(played.seed + number),
        )
        for name, loss in self._losses(logits, played.clip.latents[:, begin:end], context).items():
            self._found.setdefault(name, []).append(loss)
        self.previous = logits[:, -1].detach()

    @torch.no_grad()
    def _drawn(self, model: TokenModel[Any], state: Any, action: Action, number: int) -> Int64[Tensor, "b k h w"]:
        """Return what the model drew; the same again where a block is played again."""
        played = self._played
        if number not in played.shown:
            generators = seeded(played.seed + number, len(played.past))
            played.shown[number] = self._own(model, state, action, generators)
        return played.shown[number]
