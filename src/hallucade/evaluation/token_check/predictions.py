"""What a model of codes predicts on recorded clips: how well, how surely, and what the action has to do with it.

Each graded frame is asked for after what really came before it and before any of its own cells is known; a model that
draws cell by cell knows those before each. Every figure is one number a clip, NaN where it is not defined.
"""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.evaluation.metrics.code_statistics import divergence, mode_share
from hallucade.models.base import LatentClip, TokenModel
from hallucade.models.raster import RasterModel
from hallucade.nn.film import FiLM
from hallucade.objectives.token_losses.action_ranking import wrong_actions
from hallucade.rollout import World, rollout
from hallucade.samplers.base import Generators

PerClip = dict[str, Float64[np.ndarray, "clips"]]


@dataclass(frozen=True)
class GradedClips:
    """Recorded clips as codes, of which the last `graded` frames are asked for."""

    clip: LatentClip
    graded: int

    @property
    def truth(self) -> Int64[Tensor, "b p h w"]:
        """The codes that are asked for."""
        return self.clip.latents[:, -self.graded :]

    @property
    def prompt(self) -> LatentClip:
        """What comes before."""
        first = self.clip.latents.shape[1] - self.graded
        return LatentClip(self.clip.latents[:, :first], self.clip.leading_to(1, first), self.clip.seeds)

    @property
    def actions(self) -> Float[Tensor, "b n a"]:
        """What leads to the graded frames."""
        total = self.clip.latents.shape[1]
        return self.clip.leading_to(total - self.graded, total)

    def after(self, latents: Int64[Tensor, "b t h w"], actions: Float[Tensor, "b n a"]) -> "GradedClips":
        """Return the same graded frames after other ones, or other actions."""
        return GradedClips(LatentClip(latents, actions, self.clip.seeds), self.graded)


@torch.no_grad()
def predictions(
    model: TokenModel[Any], clips: GradedClips, actions: ActionSpace, generator: torch.Generator
) -> PerClip:
    """Grade a model on clips.

    Returns:
        loss: cross-entropy of the true codes, nats a cell.
        accuracy: share of cells whose likeliest code is the true one.
        entropy: of the predicted distributions, nats a cell.
        confidence, confidence_std, confidence_min: of the largest probability of each cell.
        film_scale, film_shift: mean size of what the action adds to 1 and to 0, where a model has FiLM.
        action_kl, action_changes: had another action led to the last block: the divergence from what is predicted under
            the true one, nats a cell; and the share of cells whose likeliest code is another.
    """
    with film_sizes(model) as sizes:
        logits = asked(model, clips)
    sure = logits.softmax(-1).amax(-1).flatten(1)
    log_p = logits.log_softmax(-1)
    found = {
        "loss": cell_loss(logits, clips.truth).flatten(1).mean(1),
        "accuracy": (logits.argmax(-1) == clips.truth).float().flatten(1).mean(1),
        "entropy": -(log_p.exp() * log_p).sum(-1).flatten(1).mean(1),
        "confidence": sure.mean(1),
        "confidence_std": sure.std(1, correction=0),
        "confidence_min": sure.amin(1),
        **_action_effect(model, clips, logits, actions, generator),
    }
    found |= {name: torch.full_like(found["loss"], size) for name, size in sizes().items()}
    return {name: values.cpu().double().numpy() for name, values in found.items()}


@torch.no_grad()
def own_past_gap(world: World, clips: GradedClips, generators: Generators) -> PerClip:
    """Return ``loss_gap``: by how much cross-entropy grows where the past is the model's own dream, nats a cell.

    Of the graded frames after the first block, whose past is all true.
    """
    model = _tokens(world)
    later = clips.graded - model.block
    if later < model.block:
        return {"loss_gap": np.full(len(clips.truth), np.nan)}
    own = torch.cat([clips.prompt.latents, *dreamed(world, clips, generators)], 1)
    gap = [
        cell_loss(asked(model, each), clips.truth)[:, -later:].flatten(1).mean(1)
        for each in (clips.after(own, clips.clip.actions), clips)
    ]
    return {"loss_gap": (gap[0] - gap[1]).cpu().double().numpy()}


@torch.no_grad()
def agreement(world: World, clips: GradedClips, draw: Callable[[int], Generators], draws: int) -> PerClip:
    """Return ``consistency``: how much several draws of the first graded block agree, see `mode_share`.

    Args:
        world: whose sampler draws.
        clips: what the block follows.
        draw: gives the generators of a draw.
        draws: how many; of one there is nothing to say.
    """
    if draws < 2:
        return {"consistency": np.full(len(clips.truth), np.nan)}
    model, state = _tokens(world), world.model.prefill(clips.prompt)
    action = clips.actions[:, : model.block * clips.clip.stride]
    codes = torch.stack([world.sampler(model, state, action, draw(number)) for number in range(draws)])
    return {"consistency": mode_share(codes).mean(1).cpu().double().numpy()}


def dreamed(world: World, clips: GradedClips, generators: Generators) -> list[Int64[Tensor, "b k h w"]]:
    """Dream the graded blocks after the prompt, under their own actions."""
    model, m = _tokens(world), world.model.block * clips.clip.stride
    steps = torch.split(clips.actions, m, 1)
    return list(rollout(model, world.sampler, model.prefill(clips.prompt), steps, generators))


def asked(model: TokenModel[Any], clips: GradedClips) -> Float[Tensor, "b p h w codes"]:
    """Return the logits of graded frames, of whose own cells nothing is known, or those before each."""
    known = clips.truth if isinstance(model, RasterModel) else torch.full_like(clips.truth, model.mask)
    return model.forced_logits(clips.clip, known)


def cell_loss(logits: Float[Tensor, "b p h w codes"], truth: Int64[Tensor, "b p h w"]) -> Float[Tensor, "b p h w"]:
    """Return the cross-entropy of each cell, nats."""
    return F.cross_entropy(logits.flatten(0, -2), truth.flatten(), reduction="none").reshape(truth.shape)


@contextlib.contextmanager
def film_sizes(model: torch.nn.Module) -> Generator[Callable[[], dict[str, float]]]:
    """Watch the modulation by actions for the block; what is yielded returns mean sizes, or nothing without FiLM."""
    seen = list[tuple[float, float]]()

    def watch(_module: torch.nn.Module, _inputs: object, parts: Tensor) -> None:
        scale, shift = parts.abs().chunk(2, -1)
        seen.append((float(scale.mean()), float(shift.mean())))

    hooks = [part.register_forward_hook(watch) for part in model.modules() if isinstance(part, FiLM)]
    try:
        yield lambda: dict(zip(("film_scale", "film_shift"), np.mean(seen, 0).tolist(), strict=True)) if seen else {}
    finally:
        for hook in hooks:
            hook.remove()


def _action_effect(
    model: TokenModel[Any],
    clips: GradedClips,
    logits: Float[Tensor, "b p h w codes"],
    actions: ActionSpace,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "b"]]:
    given, k = clips.clip.actions, model.block
    own = k * clips.clip.stride
    other = torch.cat([given[:, :-own], wrong_actions(given[:, -own:], actions, generator)], 1)
    last = GradedClips(LatentClip(clips.clip.latents, other, clips.clip.seeds), k)
    changed, true = asked(model, last), logits[:, -k:]
    return {
        "action_kl": divergence(true, changed).flatten(1).mean(1),
        "action_changes": (true.argmax(-1) != changed.argmax(-1)).float().flatten(1).mean(1),
    }


def _tokens(world: World) -> TokenModel[Any]:
    assert isinstance(world.model, TokenModel)
    return world.model
