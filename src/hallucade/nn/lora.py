"""Low-rank additions to linear layers: what a large network learns when its own weights stay as they are.

A layer computes ``W x + (alpha / rank) B A x``; only A and B are trained, saved and averaged. B starts at zero, so that
a fresh network with additions equals the one without, to the bit. For play the product is added to W once, and nothing
is slower than before.

Source: Hu et al. 2021, arXiv:2106.09685.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.config import Config

DOWN, UP = "lora_down", "lora_up"  # last parts of the names of A and B


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(Config):
    """Which layers get additions, and how large these are."""

    rank: int = 0  # of the additions, at most a layer's own; 0: none, the weights themselves are trained
    alpha: float = 16.0  # additions are multiplied by alpha / rank
    layers: tuple[str, ...] = ("*",)  # names of linear layers; * stands for anything, as in "blocks.*.attention.*"

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"rank is {self.rank}; use 0 to train the weights themselves, or more")
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; it must be positive, often as large as the rank")
        if not self.layers:
            raise ValueError('layers names no layer; "*" names all linear ones')

    def adapt(self, network: nn.Module) -> None:
        """Freeze a network and give its layers additions, which are then all that it trains and saves.

        Raises:
            ValueError: a pattern names no linear layer.
        """
        chosen = self._chosen(network)
        network.requires_grad_(False)
        for name, layer in chosen.items():
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, AdaptedLinear(layer, self.rank, self.alpha / self.rank))
        network.register_state_dict_post_hook(_leave_out_frozen)

    def merged(self, base: Mapping[str, Tensor], additions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the network without additions that does what `base` does with them."""
        weights = dict(base)
        for name, down in additions.items():
            if name.endswith(f".{DOWN}"):
                layer = name.removesuffix(f".{DOWN}")
                weight, up = weights[f"{layer}.weight"], additions[f"{layer}.{UP}"]
                change = (self.alpha / self.rank) * (up.float() @ down.float())
                weights[f"{layer}.weight"] = (weight.float() + change).to(weight.dtype)
        return weights

    def _chosen(self, network: nn.Module) -> dict[str, nn.Linear]:
        modules = cast("Iterator[tuple[str, nn.Module]]", network.named_modules())
        linear = {name: layer for name, layer in modules if type(layer) is nn.Linear and name}
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in linear):
                raise ValueError(
                    f"{pattern!r} names no linear layer of the {type(network).__name__}; it has "
                    f"{', '.join(sorted({_kind(name) for name in linear})) or 'none'}"
                )
        return {name: layer for name, layer in linear.items() if any(fnmatchcase(name, each) for each in self.layers)}


class AdaptedLinear(nn.Linear):
    """A linear layer with an addition; weight and bias are those of the layer whose place it takes, names included."""

    adamw = (DOWN, UP)

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = layer.in_features, layer.out_features, scale
        self.weight, self.bias = layer.weight, layer.bias
        rank = min(rank, layer.in_features, layer.out_features)
        self.lora_down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))

    def forward(self, input: Float[Tensor, "*lead i"]) -> Float[Tensor, "*lead o"]:
        addition = F.linear(F.linear(input, self.lora_down), self.lora_up)
        return torch.add(F.linear(input, self.weight, self.bias), addition, alpha=self.scale)


def _kind(name: str) -> str:
    """Return the name of a layer with its numbers left open, as a pattern of its kind."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _leave_out_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    for name, _parameter in module.named_parameters(remove_duplicate=False):
        if name.rpartition(".")[2] not in (DOWN, UP):
            state.pop(prefix + name, None)
