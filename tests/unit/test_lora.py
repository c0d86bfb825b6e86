"""Low-rank additions: nothing at first, everything that is trained and saved, and one product for play."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hallucade.actions import ActionSpace, Button
from hallucade.models.base import LatentClip, WorldModel
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.nn.lora import AdaptedLinear, LoRAConfig
from hallucade.training.optimizers import Muon, OptimizerConfig

ACTIONS = ActionSpace(buttons=tuple(Button(name=name) for name in ("up", "down", "fire")))
SHAPE = (3, 4, 8)
TRANSFORMER = DiffusionTransformerConfig(
    width=24, depth=2, heads=2, patch=2, window=5, zero_init=False, qk_norm=True, registers=1
)
UNET = UNetConfig(context=2, widths=(8,), blocks=(1,), condition_width=16)
LORA = LoRAConfig(rank=3, alpha=6.0)
CONFIGS = {"transformer": TRANSFORMER, "unet": UNET}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def network(request: pytest.FixtureRequest) -> WorldModel:
    """A network that has learnt something: fresh ones have layers of zeros, which nothing before them would move."""
    network = request.param.build(ACTIONS, SHAPE)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.2)
    return network


def adapted(network: nn.Module, config: LoRAConfig = LORA) -> nn.Module:
    twin = copy.deepcopy(network)
    config.adapt(twin)
    return twin


def trained(network: nn.Module) -> nn.Module:
    """Give every addition values, as a training would."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2)
    return network


def prediction(network: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 5, *SHAPE, generator=generator)
    actions = torch.rand(2, 4, ACTIONS.features, generator=generator)
    clip = LatentClip(latents, actions)
    state = network.prefill(LatentClip(latents[:, :4], actions[:, :3]))
    played = network.denoise(state, actions[:, 3:], latents[:, 4:], torch.full((2,), 0.4))
    return torch.cat([network.teacher_forced(clip, latents[:, 4:], torch.full((2, 1), 0.7)), played], 1)


def test_fresh_additions_change_no_bit(network: WorldModel) -> None:
    frozen = copy.deepcopy(network).requires_grad_(False)  # a matrix product picks its kernel by what is trained
    assert torch.equal(prediction(adapted(network)), prediction(frozen))


def test_merged_weights_do_what_the_additions_did(network: WorldModel) -> None:
    twin = trained(adapted(network))
    merged = copy.deepcopy(network)
    merged.load_state_dict(LORA.merged(network.state_dict(), twin.state_dict()))
    assert not torch.allclose(prediction(twin), prediction(network), atol=1e-3)
    torch.testing.assert_close(prediction(merged), prediction(twin), rtol=1e-4, atol=1e-5)


def test_only_additions_are_trained_and_saved(network: WorldModel) -> None:
    twin = adapted(network)
    own = {name for name, p in twin.named_parameters() if p.requires_grad}
    assert own
    assert own == {n for n in twin.state_dict() if n in dict(twin.named_parameters())}
    prediction(twin).square().sum().backward()
    found = {name for name, p in twin.named_parameters() if p.grad is not None}
    assert found <= own
    assert any(name.endswith("lora_up") for name in found)


def test_a_copy_saves_only_its_additions_too(network: WorldModel) -> None:
    """The target network of a consistency distillation is a frozen copy of the student."""
    target = copy.deepcopy(adapted(network)).requires_grad_(False)
    inside = nn.ModuleDict({"target": target}).state_dict()
    assert {name.rpartition(".")[2] for name in inside if "lora" in name} == {"lora_down", "lora_up"}
    assert not any(name.endswith(("weight", "bias")) for name in inside)


def test_a_pattern_chooses_layers() -> None:
    twin = adapted(TRANSFORMER.build(ACTIONS, SHAPE), replace(LORA, layers=("blocks.*.attention.*", "*.mlp.up")))
    chosen = {name for name, layer in twin.named_modules() if isinstance(layer, AdaptedLinear)}
    assert chosen == {f"blocks.{i}.{kind}" for i in range(2) for kind in ("attention.qkv", "attention.out", "mlp.up")}


def test_a_layer_narrower_than_the_rank_gets_its_own_rank(network: WorldModel) -> None:
    for layer in adapted(network, replace(LORA, rank=1000)).modules():
        if isinstance(layer, AdaptedLinear):
            assert len(layer.lora_down) == min(layer.in_features, layer.out_features)


def test_adamw_trains_additions() -> None:
    optimizers = OptimizerConfig().build(adapted(TRANSFORMER.build(ACTIONS, SHAPE))).optimizers
    assert not any(isinstance(optimizer, Muon) for optimizer in optimizers)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LoRAConfig(rank=-1), "rank is -1"),
        (lambda: LoRAConfig(alpha=0.0), "alpha is 0.0"),
        (lambda: LoRAConfig(layers=()), "layers names no layer"),
        (
            lambda: adapted(TRANSFORMER.build(ACTIONS, SHAPE), replace(LORA, layers=("*.query",))),
            r"'\*\.query' names no linear layer of the DiffusionTransformer; it has .*blocks\.\*\.attention\.qkv",
        ),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
