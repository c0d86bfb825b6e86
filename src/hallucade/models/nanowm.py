"""NanoWM: its networks by name, and what its public weights mean.

A factorised transformer with rotary and learned positions, whose actions enter in one of five ways. Public NanoWM takes
as many actions as frames and shifts them by one inside; here actions join frames, so that the last one drops out.

Source: NanoWM (MIT licence), described from its weights and outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import CosineNoiseConfig
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.models.public_weights import (
    Origin,
    PublicModel,
    Shape,
    changed,
    fill,
    our_shapes,
    renamed,
    same,
    stacked,
)
from hallucade.models.weights_file import PublicWeightsError
from hallucade.nn.action_injection import (
    AdaLNInjectionConfig,
    AdditiveInjectionConfig,
    CrossAttentionInjectionConfig,
    FiLMInjectionConfig,
    FusedInjectionConfig,
)
from hallucade.nn.injection import InjectionConfig
from hallucade.nn.level_embedding import LevelEmbeddingConfig

TIMESTEPS = 1000
LEVEL_FEATURES = 256  # cosines and sines of a timestep
ANCHOR = "x_embedder.proj.weight"  # a tensor that tells a NanoWM

Injection = Literal["additive", "adaln", "adaln_fuse", "film", "cross_attention"]
INJECTIONS: dict[Injection, InjectionConfig] = {
    "additive": AdditiveInjectionConfig(),
    "adaln": AdaLNInjectionConfig(),
    "adaln_fuse": FusedInjectionConfig(),
    "film": FiLMInjectionConfig(),
    "cross_attention": CrossAttentionInjectionConfig(),
}


def nanowm_s2(frames: int = 4, injection: Injection = "additive") -> DiffusionTransformerConfig:
    """Return NanoWM S/2: 39,781,648 parameters for latents 4x32x32, four frames and seven action features."""
    return _network(width=384, depth=12, heads=6, patch=2, frames=frames, injection=injection)


def nanowm_b2(frames: int = 4, injection: Injection = "additive") -> DiffusionTransformerConfig:
    """Return NanoWM B/2: 158,598,160 parameters for latents 4x32x32, four frames and seven action features."""
    return _network(width=768, depth=12, heads=12, patch=2, frames=frames, injection=injection)


def nanowm_l2(frames: int = 4, injection: Injection = "additive") -> DiffusionTransformerConfig:
    """Return NanoWM L/2: 558,666,768 parameters for latents 4x32x32, four frames and seven action features."""
    return _network(width=1024, depth=24, heads=16, patch=2, frames=frames, injection=injection)


def _network(
    *, width: int, depth: int, heads: int, patch: int, frames: int, injection: Injection
) -> DiffusionTransformerConfig:
    return DiffusionTransformerConfig(
        width=width,
        depth=depth,
        heads=heads,
        patch=patch,
        window=frames,
        learned_positions=True,
        mlp_ratio=4.0,
        level=LevelEmbeddingConfig(features=LEVEL_FEATURES, hidden=True, clock="timestep", steps=TIMESTEPS),
        injection=INJECTIONS[injection],
        action_hidden=True,
        no_action="zero",
        target="v",
        schedule=CosineNoiseConfig(timesteps=TIMESTEPS, zero_terminal_snr=True),
    )


@dataclass(frozen=True, kw_only=True)
class NanoWMSizes(Config):
    """What NanoWM calls its sizes.

    Raises:
        ValueError: frames that see the future.
    """

    input_size: int | tuple[int, int]  # of latents: rows and columns, or both
    patch_size: int
    in_channels: int
    hidden_size: int
    depth: int
    num_heads: int
    num_frames: int
    action_dim: int
    action_injection: Injection
    causal: bool = True

    def __post_init__(self) -> None:
        if not self.causal:
            raise ValueError("causal is false: its frames see the future, which no game that is played has")

    @property
    def latent_shape(self) -> Shape:
        """Channels, rows and columns of a latent."""
        size = self.input_size
        return (self.in_channels, *((size, size) if isinstance(size, int) else size))

    def network(self) -> DiffusionTransformerConfig:
        """Return our network of these sizes."""
        return _network(
            width=self.hidden_size,
            depth=self.depth,
            heads=self.num_heads,
            patch=self.patch_size,
            frames=self.num_frames,
            injection=self.action_injection,
        )


def measure_nanowm(
    public: Mapping[str, Tensor],
    input_size: int | tuple[int, int] | None = None,
    injection: Injection | None = None,
) -> NanoWMSizes:
    """Read the sizes off public weights.

    Args:
        public: tensors under their public names.
        input_size: rows and columns of a latent; by default a square of as many patches as there are positions.
        injection: where actions enter; weights cannot tell additive from adaln_fuse.

    Raises:
        PublicWeightsError: a tensor that tells a size is missing, or weights cannot tell.
    """
    try:
        width, channels, patch = public[ANCHOR].shape[:3]
        patches, frames = public["pos_embed"].shape[1], public["temp_embed"].shape[1]
        head = len(public["blocks.0.attn.q_norm.weight"])
        actions = public["action_embedder.mlp.0.weight"].shape[1]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise PublicWeightsError(f"a NanoWM's sizes cannot be read off these weights: {error} is missing") from error
    side = round(patches**0.5)
    if input_size is None and side**2 != patches:
        raise PublicWeightsError(f"{patches} patches are no square; say --size ROWS COLUMNS")
    return NanoWMSizes(
        input_size=side * patch if input_size is None else input_size,
        patch_size=patch,
        in_channels=channels,
        hidden_size=width,
        depth=1 + max(int(name.split(".")[1]) for name in public if name.startswith("blocks.")),
        num_heads=width // head,
        num_frames=frames,
        action_dim=actions,
        action_injection=_told_injection(public, injection),
    )


def _told_injection(public: Mapping[str, Tensor], said: Injection | None) -> Injection:
    signs: dict[str, Injection] = {
        "action_adaLN_modulation.1.weight": "adaln",
        "film_modulation.1.weight": "film",
        "cross_gate": "cross_attention",
    }
    told: list[Injection] = [kind for sign, kind in signs.items() if f"blocks.0.{sign}" in public]
    found = said or next(iter(told), None)
    if found is None:
        raise PublicWeightsError("these weights fit two networks; say --injection additive or --injection adaln_fuse")
    return found


OUTSIDE = {  # our layers and theirs
    "embed.project": "x_embedder.proj",
    "embed_level.mix": "t_embedder.mlp",
    "embed_action": "action_embedder.mlp",
    "modulation.project": "final_layer.adaLN_modulation.1",
    "output.project": "final_layer.linear",
}
INSIDE = {  # every block
    "modulation.project": "adaLN_modulation.1",
    "attention.qkv": "attn.qkv",
    "attention.query_norm": "attn.q_norm",
    "attention.key_norm": "attn.k_norm",
    "attention.out": "attn.proj",
    "mlp.down": "mlp.w3",
    "injection.attention.q": "cross_attn.q",
    "injection.attention.kv": "cross_attn.kv",
    "injection.attention.out": "cross_attn.proj",
    "injection.gate": "cross_gate",
}
INJECTED = {"adaln": "action_adaLN_modulation.1", "film": "film_modulation.1"}  # our injection.modulation.project


def convert_nanowm(public: Mapping[str, Tensor], sizes: NanoWMSizes) -> PublicModel:
    """Fill our network from public weights.

    Raises:
        PublicWeightsError: lists every missing and unexpected tensor, and both shapes of those that differ.
    """
    config, features = sizes.network(), sizes.action_dim
    shapes = our_shapes(config, features, sizes.latent_shape)
    origins = {name: origin(name, shape, sizes) for name, shape in shapes.items()}
    return PublicModel(config, features, sizes.latent_shape, fill(public, origins, shapes))


def origin(name: str, shape: Shape, sizes: NanoWMSizes) -> Origin:
    """Say what one of our tensors, of `shape`, is made of."""
    patch = sizes.patch_size
    match name.split("."):
        case ["embed", "project", "weight"]:
            kernel = (sizes.hidden_size, sizes.in_channels, patch, patch)
            return changed("x_embedder.proj.weight", kernel, lambda theirs: theirs.flatten(1))
        case ["places" | "moments"]:
            theirs = "pos_embed" if name == "places" else "temp_embed"
            return changed(theirs, (1, *shape), lambda table: table[0])
        case ["blocks", block, "mlp", "up", "weight"]:
            return stacked((f"blocks.{block}.mlp.w1.weight", f"blocks.{block}.mlp.w2.weight"), shape)
        case ["blocks", block, *rest]:
            inside = INSIDE | {"injection.modulation.project": INJECTED.get(sizes.action_injection, "")}
            return same(f"blocks.{block}.{renamed('.'.join(rest), inside)}", shape)
        case _:
            return same(renamed(name, OUTSIDE), shape)


@torch.no_grad()
def nanowm_output(
    model: DiffusionTransformer,
    latents: Float[Tensor, "b f c h w"],
    timesteps: Int64[Tensor, "b f"],
    actions: Float[Tensor, "b f a"],
) -> Float[Tensor, "b f c h w"]:
    """Return what public NanoWM returns: the network's own prediction, for as many actions as frames."""
    return model.clip_output(latents, (timesteps + 1) / TIMESTEPS, model.pressed(actions[:, :-1]))
