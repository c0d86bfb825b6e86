"""Public weights as ours: which public tensors each of ours is made of, and that every tensor is accounted for."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.models.weights_file import PublicWeightsError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """What one of our tensors is made of."""

    names: tuple[str, ...]  # of public tensors
    shape: Shape  # of each of them
    make: Callable[[Sequence[Tensor]], Tensor]


def same(name: str, shape: Shape) -> Origin:
    """Ours is theirs."""
    return Origin((name,), shape, lambda theirs: theirs[0])


def stacked(names: tuple[str, ...], shape: Shape) -> Origin:
    """Ours, of `shape`, is theirs one below the other, in equal parts."""
    return Origin(names, (shape[0] // len(names), *shape[1:]), lambda theirs: torch.cat(list(theirs)))


def changed(name: str, shape: Shape, make: Callable[[Tensor], Tensor]) -> Origin:
    """Ours is computed from theirs, which has `shape`."""
    return Origin((name,), shape, lambda theirs: make(theirs[0]))


def renamed(name: str, layers: Mapping[str, str]) -> str:
    """Return the public name of one of our tensors, whose layer `layers` translates."""
    ours = next(layer for layer in layers if name == layer or name.startswith(f"{layer}."))
    return layers[ours] + name.removeprefix(ours)


@dataclass(frozen=True)
class PublicModel:
    """A network of ours and its weights, filled from public ones."""

    config: DiffusionTransformerConfig
    action_features: int
    latent_shape: Shape
    weights: dict[str, Tensor]

    def build(self) -> DiffusionTransformer:
        """Build the network with these weights."""
        model = DiffusionTransformer(self.config, self.action_features, self.latent_shape)
        model.load_state_dict(self.weights)
        return model.eval()


def our_shapes(config: DiffusionTransformerConfig, action_features: int, latent_shape: Shape) -> dict[str, Shape]:
    """Return names and shapes of our network's tensors."""
    with torch.device("meta"):
        model = DiffusionTransformer(config, action_features, latent_shape)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def fill(
    public: Mapping[str, Tensor], origins: Mapping[str, Origin], shapes: Mapping[str, Shape], tables: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Make all of our tensors, as float32.

    Args:
        public: tensors under their public names.
        origins: of each of ours.
        shapes: of each of ours.
        tables: patterns of public tensors that hold constants; they may be there.

    Raises:
        PublicWeightsError: lists every missing and unexpected tensor, and both shapes of those that differ.
    """
    wanted = {name: origin.shape for origin in origins.values() for name in origin.names}
    constant = re.compile("|".join(tables) or r"(?!)")
    faults = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in public]
    faults += [
        f"unexpected {name} {tuple(value.shape)}"
        for name, value in public.items()
        if name not in wanted and not constant.fullmatch(name)
    ]
    faults += [
        f"{name} is {tuple(public[name].shape)} there and {shape} here"
        for name, shape in wanted.items()
        if name in public and tuple(public[name].shape) != shape
    ]
    if faults:
        raise PublicWeightsError(f"these weights are another network's: {'; '.join(faults)}")
    ours = {name: origin.make([public[n].float() for n in origin.names]) for name, origin in origins.items()}
    assert {name: tuple(value.shape) for name, value in ours.items()} == dict(shapes)
    return {name: value.clone().contiguous() for name, value in ours.items()}


def strip_prefix(tensors: Mapping[str, Tensor], anchor: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of one network under its own names.

    Args:
        tensors: all tensors of a file: a compiled, wrapped or averaged network, and perhaps others beside it.
        anchor: a tensor that every such network has.
        prefix: what stands before the names of the network that is meant, where there are several.

    Raises:
        PublicWeightsError: no network, several and no `prefix`, or weights that are not finite.
    """
    plain = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
    found = list(_prefixes(plain, anchor))
    if not found:
        some = ", ".join(list(plain)[:5]) or "none"
        raise PublicWeightsError(f"no tensor is called {anchor}, so this is another network; it has {some}, ...")
    if prefix is not None and prefix not in found:
        raise PublicWeightsError(f"no network has the prefix {prefix!r}; found: {_quoted(found)}")
    if prefix is None and len(found) > 1:
        raise PublicWeightsError(f"the file holds several networks; choose one with --prefix: {_quoted(found)}")
    chosen = found[0] if prefix is None else prefix
    own = {name.removeprefix(chosen): value for name, value in plain.items() if name.startswith(chosen)}
    if broken := [name for name, value in own.items() if not bool(value.float().isfinite().all())]:
        raise PublicWeightsError(
            f"{', '.join(broken[:5])} holds numbers that are not finite; copy or download it again"
        )
    return own


def _prefixes(tensors: Iterable[str], anchor: str) -> Iterator[str]:
    for name in tensors:
        if name == anchor or name.endswith(f".{anchor}"):
            yield name.removesuffix(anchor)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
