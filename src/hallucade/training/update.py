"""One step of a method: microbatches, gradients over ranks, clipping, and each role's optimizer in turn.

Gradients are averaged here, in one flat all-reduce a role, and not by a wrapper around ``forward``: methods reach
their networks through any call and at any time, and the modules stay the classes that they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hallucade.data.clips import Clip
from hallucade.methods.base import Method
from hallucade.shapes import Scalar
from hallucade.training import ranks
from hallucade.training.optimizers import RoleOptimizer
from hallucade.training.sharding import is_sharded, let_go, whole

LossStream = Iterator[tuple[str, Scalar]]


class Updater:
    """Runs ``Method.losses`` on one batch and updates each role before its next loss is asked for."""

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        optimizers: dict[str, RoleOptimizer],
        accumulate: int,
        clip_norm: float | None,
    ) -> None:
        self.fabric = fabric
        self.method = method
        self.optimizers = optimizers
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.torn = False  # whether the last call raised after it had begun to change the method
        self.updated: list[str] = []  # the roles that the last call updated

    def __call__(self, batch: Clip, step: int, share: float) -> dict[str, float] | None:
        """Update all roles at `share` of their learning rates.

        Returns:
            Losses, gradient norms and the method's metrics, means over microbatches and ranks; None if a loss or
            gradient was not finite, which leaves that role and those after it as they were.
        """
        self.torn, self.updated = False, []
        buffers = self._buffer_versions()
        try:
            return self._update_roles(batch, step, share)
        except BaseException:
            self.torn = bool(self.updated) or buffers != self._buffer_versions()
            raise
        finally:
            self._zero_grad()

    def check_losses(self, batch: Clip, step: int) -> None:
        """Refuse losses that teach nothing, by two windows of a batch; see `Method.check_losses`.

        Networks that are spread over ranks are not asked.
        """
        if is_sharded(self.method.parameters()):
            return
        windows = len(batch.frames)
        few = batch.split(windows // 2 if windows % 2 == 0 else windows)[0]
        with self.fabric.autocast():
            self.method.check_losses(self._to_device(few), step)
        self._zero_grad()

    def _update_roles(self, batch: Clip, step: int, share: float) -> dict[str, float] | None:
        microbatches = batch.split(self.accumulate) if self.accumulate > 1 else [batch]
        streams = [self.method.losses(self._to_device(clip), step) for clip in microbatches]
        values: dict[str, Tensor] = {}
        while turn := self._backward(streams):
            role, loss, metrics = turn
            let_go(self.method)
            parameters = list(self.optimizers[role].parameters.values())
            loss = self._average(parameters, loss)
            norm = whole(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
            if not bool(torch.isfinite(norm) & torch.isfinite(loss)):
                return None
            if self.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
            self.optimizers[role].step(share)
            self.updated.append(role)
            values |= {f"loss/{role}": loss, f"grad_norm/{role}": norm, **metrics}
        return self._numbers(values)

    def _backward(self, streams: Sequence[LossStream]) -> tuple[str, Tensor, dict[str, Tensor]] | None:
        """Ask each microbatch for its next loss and add up the gradients; None when there is no further loss."""
        self._zero_grad()
        roles: set[str] = set()
        losses: list[Tensor] = []
        metrics: dict[str, list[Tensor]] = {}
        for stream in streams:
            with self.fabric.autocast():
                turn = next(stream, None)
            if turn is None:
                continue
            role, loss = turn
            roles.add(role)
            self.fabric.backward(loss / len(streams))
            losses.append(loss.detach())
            for name, value in self.method.metrics.items():
                metrics.setdefault(name, []).append(value.detach())
        if not losses:
            return None
        assert len(roles) == 1, f"microbatches disagree on their role: {roles}"
        assert len(losses) == len(streams), "microbatches disagree on their number of losses"
        means = {name: torch.stack(parts).mean() for name, parts in metrics.items()}
        return roles.pop(), torch.stack(losses).mean(), means

    def _average(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Average gradients and loss over ranks, so that every rank decides alike; returns the loss."""
        if self.fabric.world_size == 1:
            return loss
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if is_sharded(parameters):  # the backward pass has averaged their gradients already
            return ranks.mean(self.fabric, loss)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(g.reshape(-1) for g in gradients), loss.reshape(1).to(gradients[0].dtype)])
        sizes = [*(g.numel() for g in gradients), 1]
        parts = cast("tuple[Tensor, ...]", ranks.mean(self.fabric, flat).split(sizes))
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        return parts[-1].squeeze(0)

    def _numbers(self, values: dict[str, Tensor]) -> dict[str, float]:
        means = ranks.mean(self.fabric, torch.stack([value.float() for value in values.values()]))
        return dict(zip(values, cast("list[float]", means.tolist()), strict=True))

    def _to_device(self, clip: Clip) -> Clip:
        parts = {"frames": clip.frames, "actions": clip.actions, "latents": clip.latents}
        return replace(clip, **{name: self.fabric.to_device(part) for name, part in parts.items() if part is not None})

    def _zero_grad(self) -> None:
        trained = (p for optimizer in self.optimizers.values() for p in optimizer.parameters.values())
        for parameter in chain(trained, self.method.parameters()):  # all: a loss reaches through other roles too
            parameter.grad = None

    def _buffer_versions(self) -> list[tuple[int, int]]:
        return [(id(b), b._version) for b in self.method.buffers()]  # pyright: ignore[reportPrivateUsage]
