import copy

import pytest
import torch
from torch import Tensor, nn

from hallucade.training.optimizers import (
    GRAM_RATIO,
    UPDATE_RMS,
    Muon,
    OptimizerConfig,
    RoleOptimizer,
    adamw_names,
    orthogonalize,
    orthogonalize_all,
)


class Stem(nn.Module):
    adamw = ("first", "token")

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.firstborn = nn.Linear(6, 6)  # shares a prefix with `first`, and is not it
        self.token = nn.Parameter(torch.randn(1, 6))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.names = nn.Embedding(5, 6)
        self.stem = Stem()
        self.norm = nn.LayerNorm(6)
        self.hidden = nn.Conv2d(6, 7, 3)
        self.frozen = nn.Linear(7, 7).requires_grad_(False)


def with_gradients(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    return module


def trained_by(optimizer: RoleOptimizer, kind: type[torch.optim.Optimizer]) -> set[str]:
    parameters = [p for o in optimizer.optimizers if type(o) is kind for g in o.param_groups for p in g["params"]]
    return {name for name, p in optimizer.parameters.items() if any(p is q for q in parameters)}


def test_muon_trains_hidden_matrices_and_adamw_all_the_rest() -> None:
    optimizer = OptimizerConfig().build(Network())
    assert trained_by(optimizer, Muon) == {"stem.firstborn.weight", "hidden.weight"}
    rest = {"names.weight", "stem.first.weight", "stem.first.bias", "stem.firstborn.bias", "stem.token"}
    assert trained_by(optimizer, torch.optim.AdamW) == rest | {"norm.weight", "norm.bias", "hidden.bias"}


def test_without_muon_adamw_trains_everything() -> None:
    optimizer = OptimizerConfig(muon=False).build(Network())
    assert trained_by(optimizer, torch.optim.AdamW) == set(optimizer.parameters)


def test_weight_decay_touches_matrices_only() -> None:
    module = Network()
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    OptimizerConfig(weight_decay=0.5, learning_rate=0.1, muon_learning_rate=0.2).build(module).step(1.0)
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {n for n, p in module.named_parameters() if p.ndim >= 2 and not n.startswith("frozen")}
    assert torch.allclose(module.hidden.weight, before["hidden.weight"] * 0.9)


def test_a_listed_name_without_parameters_is_an_error() -> None:
    module = Stem()
    module.adamw = ("frist",)
    with pytest.raises(ValueError, match=r"Stem\.adamw lists 'frist'"):
        adamw_names(module)


def test_a_frozen_role_is_an_error() -> None:
    with pytest.raises(ValueError, match="Linear has no parameter to train"):
        OptimizerConfig().build(nn.Linear(2, 3).requires_grad_(False))


@pytest.mark.parametrize(("r", "c"), [(5, 5), (8, 31), (48, 64), (7, 90)])
def test_orthogonalized_singular_values_are_near_one(r: int, c: int, generator: torch.Generator) -> None:
    matrices = torch.randn(3, r, c, generator=generator) * torch.tensor([1e-3, 1.0, 1e4])[:, None, None]
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.35


def test_orthogonalized_direction_is_that_of_the_polar_factor(generator: torch.Generator) -> None:
    matrix = torch.randn(9, 20, generator=generator)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    direction = orthogonalize(matrix[None])[0]
    assert torch.cosine_similarity(direction.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_batching_changes_no_update(generator: torch.Generator) -> None:
    shapes = [(6, 11), (11, 6), (6, 11), (4, 3, 2, 2), (12, 4)]
    updates = [torch.randn(shape, generator=generator) for shape in shapes]
    together = orthogonalize_all(updates)
    for update, direction in zip(updates, together, strict=True):
        alone = orthogonalize_all([update])[0]
        assert alone.shape == update.shape
        assert torch.allclose(direction, alone, atol=0.03)  # bfloat16 sums in another order
    assert torch.allclose(orthogonalize_all([updates[0].mT])[0], together[0].mT, atol=0.03)


@pytest.mark.parametrize("shape", [(6, 5, 3, 2), (40, 3, 2, 2)])
def test_the_layout_of_a_kernel_in_memory_changes_no_update(shape: tuple[int, ...], generator: torch.Generator) -> None:
    kernel = torch.randn(shape, generator=generator)
    plain, last = orthogonalize_all([kernel, kernel.contiguous(memory_format=torch.channels_last)])
    torch.testing.assert_close(plain, last, atol=0.03, rtol=0)
    assert last.is_contiguous(memory_format=torch.channels_last) or shape[0] > 12  # tall kernels come back transposed


@pytest.mark.parametrize("columns", [3 * GRAM_RATIO + 1, 60])
def test_long_rows_keep_a_missing_direction_missing(columns: int, generator: torch.Generator) -> None:
    left, right = torch.randn(3, 2, generator=generator), torch.randn(2, columns, generator=generator)
    values = torch.linalg.svdvals(orthogonalize((left @ right)[None])[0])
    assert 0.6 < values[1] <= values[0] < 1.35
    assert values[2] < 0.01


def muon_by_hand(weight: Tensor, gradients: list[Tensor], lr: float, momentum: float, decay: float) -> Tensor:
    """Exact polar factors and Nesterov momentum as written in the papers."""
    buffer = torch.zeros_like(weight)
    for gradient in gradients:
        buffer = momentum * buffer + gradient
        u, _, v = torch.linalg.svd(gradient + momentum * buffer, full_matrices=False)
        weight = weight - lr * (UPDATE_RMS * max(weight.shape) ** 0.5 * (u @ v) + decay * weight)
    return weight


def test_muon_follows_the_written_rule(generator: torch.Generator) -> None:
    weight = nn.Parameter(torch.randn(7, 13, generator=generator))
    start = weight.detach().clone()
    gradients = [torch.randn(7, 13, generator=generator) for _ in range(4)]
    optimizer = Muon([weight], lr=0.05, momentum=0.9, weight_decay=0.1)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    expected = muon_by_hand(start, gradients, 0.05, 0.9, 0.1)
    moved = torch.cosine_similarity((weight - start).flatten(), (expected - start).flatten(), dim=0)
    assert moved > 0.97
    assert ((weight - start).norm() / (expected - start).norm()).item() == pytest.approx(0.9, abs=0.2)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (24, 8, 3, 3)])
def test_updates_of_any_shape_have_the_size_of_an_adamw_update(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape) * 1e-4
    Muon([weight], lr=1.0).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(UPDATE_RMS, rel=0.35)


def test_muon_refuses_vectors() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_r17_the_schedule_keeps_the_ratio_of_learning_rates() -> None:
    optimizer = OptimizerConfig(learning_rate=1e-3, muon_learning_rate=15e-3).build(with_gradients(Network()))
    for share in (0.01, 0.5, 1.0, 0.25):
        optimizer.step(share)
        muon, *adamw = [g["lr"] for o in optimizer.optimizers for g in o.param_groups]
        assert [muon / lr for lr in adamw] == pytest.approx([15.0] * len(adamw))
        assert muon == pytest.approx(15e-3 * share)


def test_both_optimizers_lower_a_loss() -> None:
    module = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    inputs = torch.randn(64, 6)
    targets = torch.stack([inputs[:, 0] * 2, inputs.sum(1), inputs[:, 1] - inputs[:, 2]], 1)
    optimizer = OptimizerConfig(learning_rate=2e-2, muon_learning_rate=2e-2).build(module)
    errors = []
    for _ in range(60):
        loss = (module(inputs) - targets).square().mean()
        errors.append(loss.item())
        module.zero_grad()
        loss.backward()
        optimizer.step(1.0)
    assert errors[-1] < 0.2 * errors[0]


def test_state_travels_by_name_and_the_next_step_is_the_same() -> None:
    torch.manual_seed(3)
    first, second = Network(), Network()
    one = OptimizerConfig().build(first)
    for _ in range(3):
        with_gradients(first)
        one.step(1.0)
    second.load_state_dict(first.state_dict())
    two = OptimizerConfig().build(second)
    two.load_state({name: value.clone() for name, value in one.state().items()})
    with_gradients(first)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        q.grad = None if p.grad is None else p.grad.clone()
    one.step(0.3)
    two.step(0.3)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert {"hidden.weight/momentum", "norm.bias/exp_avg", "norm.bias/step"} <= set(one.state())


@pytest.mark.parametrize("muon", [True, False])
def test_restored_momenta_lie_in_memory_as_their_parameters_do(muon: bool) -> None:
    convolution = nn.Conv2d(6, 5, 3).to(memory_format=torch.channels_last)
    other = copy.deepcopy(convolution)
    one, two = (OptimizerConfig(muon=muon).build(module) for module in (convolution, other))
    with_gradients(convolution)
    one.step(1.0)
    other.load_state_dict(convolution.state_dict())
    two.load_state({name: value.clone(memory_format=torch.contiguous_format) for name, value in one.state().items()})
    for p, q in zip(with_gradients(convolution).parameters(), other.parameters(), strict=True):
        q.grad = p.grad.clone()
    one.step(1.0)
    two.step(1.0)
    assert convolution.weight.stride() == other.weight.stride() != (54, 9, 3, 1)
    assert torch.equal(convolution.weight, other.weight)


@pytest.mark.parametrize(
    ("name", "shape"), [("gone.weight/momentum", (7, 6, 3, 3)), ("hidden.weight/momentum", (7, 6))]
)
def test_foreign_state_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        OptimizerConfig().build(Network()).load_state({name: torch.zeros(shape)})


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.0), ("momentum", 1.0), ("betas", (0.9, 1.0))])
def test_refuses_impossible_settings(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        OptimizerConfig(**{name: value})
