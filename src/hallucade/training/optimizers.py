"""Muon for hidden matrices, AdamW for the rest.

Muon's update is the momentum's nearest orthogonal matrix, scaled to the size of an AdamW update so that both learn at
comparable learning rates. Source: Jordan 2024, https://kellerjordan.github.io/posts/muon/; the scale and the decoupled
weight decay: Liu et al. 2025, arXiv:2502.16982, section 2.2.

**Who trains what.** Muon takes parameters with two axes or more; kernels count as `out x rest`. AdamW takes the rest,
every `nn.Embedding`, and what a module lists by name: a class attribute ``adamw = ("stem", "head")`` on any module
gives these children or parameters of it to AdamW (first and last layers, learned tokens).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.training.sharding import fill

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic of largest slope at 0, from Jordan 2024
NEWTON_SCHULZ_STEPS = 5
GRAM_RATIO = 4  # columns to rows; above it a CPU is faster on float32 Gram matrices than on bfloat16 weights
UPDATE_RMS = 0.2  # of an AdamW update in practice, arXiv:2502.16982
TINY = 1e-7


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config):
    """Learning rates and momenta of both optimizers."""

    learning_rate: float = 1e-3  # AdamW
    muon_learning_rate: float = 2e-3
    weight_decay: float = 0.01  # on matrices only
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW
    momentum: float = 0.95  # Muon
    muon: bool = True  # False: AdamW, at its own learning rate, trains the matrices too

    def __post_init__(self) -> None:
        for name in ("learning_rate", "muon_learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name, value in (("betas", max(self.betas)), ("betas", min(self.betas)), ("momentum", self.momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} holds {value}; it lies in [0, 1)")

    def build(self, module: nn.Module) -> "RoleOptimizer":
        return RoleOptimizer(self, module)


class RoleOptimizer:
    """The optimizers of one role, stepped together; state is kept by parameter name."""

    def __init__(self, config: OptimizerConfig, module: nn.Module) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(f"{type(module).__name__} has no parameter to train; it is frozen or empty")
        kept = adamw_names(module)
        matrices = {name: p for name, p in self.parameters.items() if p.ndim >= 2}
        orthogonal = [p for name, p in matrices.items() if config.muon and name not in kept]
        decayed = [p for name, p in matrices.items() if not config.muon or name in kept]
        plain = [p for p in self.parameters.values() if p.ndim < 2]
        self.optimizers: list[torch.optim.Optimizer] = []
        if orthogonal:
            self.optimizers.append(Muon(orthogonal, config.muon_learning_rate, config.momentum, config.weight_decay))
        if decayed or plain:
            groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
            groups = [group for group in groups if group["params"]]
            self.optimizers.append(torch.optim.AdamW(groups, config.learning_rate, config.betas, fused=True))
        for group in self._groups():
            group["initial_lr"] = group["lr"]

    @property
    def uses_muon(self) -> bool:
        """Whether any matrix is Muon's."""
        return any(isinstance(optimizer, Muon) for optimizer in self.optimizers)

    def step(self, share: float) -> None:
        """Update the parameters at `share` of each group's learning rate; all or none have gradients."""
        for group in self._groups():
            group["lr"] = group["initial_lr"] * share
        for optimizer in self.optimizers:
            optimizer.step()

    def reset(self) -> None:
        """Forget all momenta."""
        for optimizer in self.optimizers:
            optimizer.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Return momenta and counters as ``parameter/slot``; nothing is copied."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.parameters.items()}
        return {
            f"{names[parameter]}/{slot}": value
            for optimizer in self.optimizers
            for parameter, slots in optimizer.state.items()
            for slot, value in slots.items()
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what ``state`` returned.

        Raises:
            ValueError: a name belongs to no parameter, or a momentum has another shape than its parameter.
        """
        owners: dict[nn.Parameter, torch.optim.Optimizer] = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        slots: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, value in state.items():
            name, _, slot = key.rpartition("/")
            parameter = self.parameters.get(name)
            if parameter is None or (value.ndim > 0 and value.shape != parameter.shape):
                have = "no such parameter" if parameter is None else f"the parameter is {tuple(parameter.shape)}"
                raise ValueError(f"optimizer state {key} of shape {tuple(value.shape)} does not fit: {have}")
            # Fused kernels walk through memory: a momentum must lie there as its parameter does (channels last, say).
            like = torch.empty_like(parameter) if value.ndim > 0 else torch.empty((), device=parameter.device)
            fill(like, value)
            slots[name][slot] = like
        self.reset()
        for name, values in slots.items():
            owners[self.parameters[name]].state[self.parameters[name]] = values

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self.optimizers:
            yield from optimizer.param_groups


def adamw_names(module: nn.Module) -> set[str]:
    """Return the parameters below `module` that modules keep from Muon by type or by an ``adamw`` attribute.

    Raises:
        ValueError: a module lists a name that holds no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    kept: set[str] = set()
    for path, child in cast("Iterator[tuple[str, nn.Module]]", module.named_modules()):
        prefix = f"{path}." if path else ""
        if isinstance(child, nn.Embedding):
            kept.update(name for name in names if name.startswith(prefix))
        for listed in cast("tuple[str, ...]", getattr(child, "adamw", ())):
            chosen = {n for n in names if n == prefix + listed or n.startswith(f"{prefix}{listed}.")}
            if not chosen:
                raise ValueError(f"{type(child).__name__}.adamw lists {listed!r}, which holds no parameter of it")
            kept |= chosen
    return kept


class Muon(torch.optim.Optimizer):
    """Nesterov momentum made orthogonal, with decoupled weight decay.

    ``torch.optim.Muon`` takes 2D parameters one by one; here kernels are flattened, and equal shapes share one batched
    iteration, which on a CPU costs half the time.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    raise ValueError(f"Muon trains matrices; a parameter has shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        gradients = [cast(Tensor, p.grad) for p in parameters]
        momenta = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        ahead = torch._foreach_lerp(gradients, momenta, momentum)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        for parameter, direction in zip(parameters, orthogonalize_all(ahead), strict=True):
            rows, columns = matrix_shape(parameter)
            parameter.add_(direction, alpha=-lr * UPDATE_RMS * max(rows, columns) ** 0.5)


def matrix_shape(parameter: Tensor) -> tuple[int, int]:
    """Return the size of a weight as a matrix, `out x rest`."""
    return parameter.shape[0], parameter.numel() // parameter.shape[0]


def orthogonalize_all(updates: Iterable[Tensor]) -> list[Tensor]:
    """Orthogonalise weights as `out x rest` matrices, equal shapes in one batch; shapes and order stay.

    The order of columns does not matter to the result, so they are taken as they lie in memory (channels last, say).
    """
    updates = list(updates)
    matrices = [update.permute(_stored_order(update)).flatten(1) for update in updates]
    wide = [m if m.shape[0] <= m.shape[1] else m.mT for m in matrices]
    batches: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, matrix in enumerate(wide):
        batches[tuple(matrix.shape)].append(i)
    directions: list[Tensor] = list(matrices)
    for members in batches.values():
        for i, direction in zip(members, orthogonalize(torch.stack([wide[i] for i in members])), strict=True):
            directions[i] = direction if matrices[i].shape == wide[i].shape else direction.mT
    return [_shaped_like(update, direction) for update, direction in zip(updates, directions, strict=True)]


def _stored_order(weight: Tensor) -> list[int]:
    """Return the axes of a weight, those after the first from the widest stride to the narrowest."""
    return [0, *sorted(range(1, weight.ndim), key=weight.stride, reverse=True)]


def _shaped_like(weight: Tensor, matrix: Tensor) -> Tensor:
    """Undo the flattening of `weight` in its stored order."""
    order = _stored_order(weight)
    stored = matrix.reshape([weight.shape[axis] for axis in order])
    return stored.permute([order.index(axis) for axis in range(weight.ndim)])


def orthogonalize(matrices: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
    """Push the singular values of wide matrices (r <= c) to about 1 by Newton-Schulz iteration."""
    size = cast(Tensor, torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)).clamp_min(TINY)
    x = matrices / size  # the iteration converges for spectral norms up to 1
    if _gram_wins(matrices):
        return _gram_polynomial(x @ x.mT) @ x
    a, b, c = NEWTON_SCHULZ
    x = x.to(_iteration_dtype(matrices))
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)


def _gram_wins(matrices: Float[Tensor, "n r c"]) -> bool:
    rows, columns = matrices.shape[1:]
    return matrices.device.type == "cpu" and matrices.dtype.itemsize >= 4 and columns > GRAM_RATIO * rows


def _gram_polynomial(gram: Float[Tensor, "n r r"]) -> Float[Tensor, "n r r"]:
    """Return the product of all steps' polynomials of ``x @ x.mT``; in bfloat16 it would diverge."""
    a, b, c = NEWTON_SCHULZ
    product = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    for step in range(NEWTON_SCHULZ_STEPS):
        bend = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # the step multiplies x by a + bend
        product = torch.baddbmm(product, bend, product, beta=a)
        if step + 1 < NEWTON_SCHULZ_STEPS:
            half = torch.baddbmm(gram, bend, gram, beta=a)
            gram = torch.baddbmm(half, half, bend, beta=a)
    return product


def _iteration_dtype(matrices: Tensor) -> torch.dtype:
    """bfloat16 suffices for the iteration; a CPU without bfloat16 instructions would emulate it slowly."""
    if matrices.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return matrices.dtype
    return torch.bfloat16
