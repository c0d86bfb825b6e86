"""toy-wm: its network, and what its public weights mean.

Its actions are ids: 0 for "unknown", then the options of one choice. Its rotary positions pair neighbours in a head,
ours pair halves, so the rows of queries and keys change places; its output is x0 - noise, ours is noise - x0, so the
last layer changes its sign.

Source: toy-wm, described from its weights and outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config
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
from hallucade.nn.level_embedding import LevelEmbeddingConfig

ANCHOR = "patch.x_embedder.weight"  # a tensor that tells a toy-wm
CHANNELS = 3
STREAM_LEVEL = 0.3  # noise level of the frames of a parity fixture's stream
TABLES = (r"(.*\.)?rope(_seq)?\.(coss|sins)", r"mask", r"time_emb\.pe")  # constants, computed here


def toy_wm() -> DiffusionTransformerConfig:
    """Return toy-wm's network: 19,509,243 parameters for 24x24 colour frames and three actions.

    The memory keeps the frame that was shown; toy-wm keeps the last, half-denoised, input.
    """
    return ToyWMSizes().network()


@dataclass(frozen=True, kw_only=True)
class ToyWMSizes(Config):
    """What toy-wm calls its sizes; the defaults are those of the published model."""

    height: int = 24
    width: int = 24
    n_window: int = 30
    patch_size: int = 3
    n_heads: int = 20
    d_model: int = 320
    n_blocks: int = 8
    T: int = 1000  # positions of the clock
    C: float = 5000.0  # base of rotary positions
    actions: int = 3  # beside "unknown"

    @property
    def latent_shape(self) -> Shape:
        """Channels, rows and columns of a frame."""
        return (CHANNELS, self.height, self.width)

    @property
    def stem_norm(self) -> bool:
        """Whether group norms follow the convolutions: where 32 groups come out even."""
        return self.d_model > 32 and self.d_model % 32 == 0

    def network(self) -> DiffusionTransformerConfig:
        """Return our network of these sizes."""
        return DiffusionTransformerConfig(
            width=self.d_model,
            depth=self.n_blocks,
            heads=self.n_heads,
            patch=self.patch_size,
            window=self.n_window,
            layout="full",
            positions="flat",
            rope_base=self.C,
            stem="conv",
            stem_kernel=5,
            stem_norm=self.stem_norm,
            registers=1,
            mlp_ratio=4.0,
            mlp_bias=True,
            norm="rms",
            scaled_logits=False,
            zero_init=False,
            level=LevelEmbeddingConfig(clock="floor", steps=self.T),
            target="flow",
        )


def measure_toy_wm(public: Mapping[str, Tensor], frame_size: tuple[int, int] = (24, 24)) -> ToyWMSizes:
    """Read the sizes off public weights; they do not tell the size of a frame.

    Raises:
        PublicWeightsError: a tensor that tells a size is missing, or frames of this size do not fill a window.
    """
    height, width = frame_size
    try:
        head, d_model = len(public["blocks.0.selfattn.lnq.w"]), public["registers"].shape[1]
        patch = round((len(public["unpatch.unpatch.bias"]) / CHANNELS) ** 0.5)
        positions, clock = len(public["mask"]), len(public["time_emb.pe"])
        actions = len(public["action_emb.weight"]) - 1
    except KeyError as error:
        raise PublicWeightsError(f"a toy-wm's sizes cannot be read off these weights: {error} is missing") from error
    tokens = (height // patch) * (width // patch) + 1
    if height % patch or width % patch or positions % tokens:
        raise PublicWeightsError(
            f"{positions} positions are no whole number of frames of {height}x{width} in patches of {patch}; "
            "say --size HEIGHT WIDTH"
        )
    return ToyWMSizes(
        height=height,
        width=width,
        n_window=positions // tokens,
        patch_size=patch,
        n_heads=d_model // head,
        d_model=d_model,
        n_blocks=1 + max(int(name.split(".")[1]) for name in public if name.startswith("blocks.")),
        T=clock,
        actions=actions,
    )


OUTSIDE = {  # our layers and theirs
    "embed.project": "patch.x_embedder",
    "embed.stem.layers": "patch.init_conv_seq",
    "registers": "registers",
    "embed_level.mix": "time_emb_mixer",
    "modulation.project": "modulation.1",
    "norm.weight": "norm.w",
    "output.project": "unpatch.unpatch",
}
INSIDE = {  # every block
    "modulation.project": "modulation.1",
    "attention_norm.weight": "norm1.w",
    "mlp_norm.weight": "norm2.w",
    "attention.query_norm.weight": "selfattn.lnq.w",
    "attention.key_norm.weight": "selfattn.lnk.w",
    "attention.qkv": "selfattn.QKV",
    "attention.out": "selfattn.O",
    "mlp.down": "geglu.down",
}


def convert_toy_wm(public: Mapping[str, Tensor], sizes: ToyWMSizes) -> PublicModel:
    """Fill our network from public weights.

    Raises:
        PublicWeightsError: lists every missing and unexpected tensor, and both shapes of those that differ.
    """
    config = sizes.network()
    shapes = our_shapes(config, sizes.actions, sizes.latent_shape)
    origins = {name: origin(name, shape, sizes) for name, shape in shapes.items()}
    weights = fill(public if sizes.stem_norm else _third_to_fourth(public), origins, shapes, TABLES)
    return PublicModel(config, sizes.actions, sizes.latent_shape, weights)


def origin(name: str, shape: Shape, sizes: ToyWMSizes) -> Origin:
    """Say what one of our tensors, of `shape`, is made of."""
    head = sizes.d_model // sizes.n_heads
    match name.split("."):
        case ["no_action"]:
            return changed("action_emb.weight", (sizes.actions + 1, sizes.d_model), lambda table: table[0])
        case ["embed_action", "weight"]:
            return changed("action_emb.weight", (sizes.actions + 1, sizes.d_model), lambda table: table[1:].T)
        case ["embed_level", "mix", "weight"]:  # sines at even features, cosines at odd
            return changed("time_emb_mixer.weight", shape, lambda mix: torch.cat([mix[:, 1::2], mix[:, 0::2]], 1))
        case ["output", *_]:
            return changed(renamed(name, OUTSIDE), shape, torch.neg)
        case ["blocks", block, "mlp", "up", part]:
            return stacked((f"blocks.{block}.geglu.up_gate.{part}", f"blocks.{block}.geglu.up_proj.{part}"), shape)
        case ["blocks", block, "attention", "qkv", _]:
            theirs = renamed(name.removeprefix(f"blocks.{block}."), INSIDE)
            return changed(f"blocks.{block}.{theirs}", shape, partial(_halves_of_qkv, head=head))
        case ["blocks", block, "attention", "query_norm" | "key_norm", _]:
            theirs = renamed(name.removeprefix(f"blocks.{block}."), INSIDE)
            return changed(f"blocks.{block}.{theirs}", shape, partial(_halves, head=head))
        case ["blocks", block, *rest]:
            return same(f"blocks.{block}.{renamed('.'.join(rest), INSIDE)}", shape)
        case _:
            return same(renamed(name, OUTSIDE), shape)


def _third_to_fourth(public: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the second convolution of a stem without norms where a stem with norms has it."""
    third, fourth = (f"patch.init_conv_seq.{i}." for i in (2, 3))
    return {name.replace(third, fourth): value for name, value in public.items()}


def _halves(rows: Tensor, head: int) -> Tensor:
    """Move the first of every pair of a head's rows into its first half, the second into its second."""
    pairs = rows.reshape(-1, head // 2, 2, *rows.shape[1:])
    return pairs.transpose(1, 2).reshape(rows.shape)


def _halves_of_qkv(rows: Tensor, head: int) -> Tensor:
    q, k, v = rows.chunk(3)
    return torch.cat([_halves(q, head), _halves(k, head), v])


@torch.no_grad()
def toy_wm_output(
    model: DiffusionTransformer,
    frames: Float[Tensor, "b f 3 h w"],
    actions: Int64[Tensor, "b f"],
    levels: Float[Tensor, "b f"],
) -> Float[Tensor, "b f 3 h w"]:
    """Return what public toy-wm returns: x0 - noise, for as many action ids as frames."""
    features = _one_hot(model, actions)
    return -model.clip_output(frames, levels, model.embed_actions(features, actions == 0))


@torch.no_grad()
def toy_wm_stream(
    model: DiffusionTransformer,
    frames: Float[Tensor, "b f 3 h w"],
    actions: Int64[Tensor, "b f"],
    level: float = STREAM_LEVEL,
) -> Float[Tensor, "b f 3 h w"]:
    """Return what public toy-wm returns for frames that come one at a time, all at one noise level."""
    told = model.told(level)
    assert isinstance(told, DiffusionTransformer)
    rows = zip(frames, actions, strict=True)
    return torch.stack([_row_stream(told, row, ids, level) for row, ids in rows])


def _row_stream(
    model: DiffusionTransformer, frames: Float[Tensor, "f 3 h w"], actions: Int64[Tensor, "f"], level: float
) -> Float[Tensor, "f 3 h w"]:
    memory, outputs = model.blank(1), list[Tensor]()
    for i in range(len(frames)):
        frame = frames[None, i : i + 1]
        action = _one_hot(model, actions[None, i : i + 1]) if actions[i] else None
        outputs.append(-model.next_output(memory, action, frame, torch.tensor([level]))[0, 0])
        memory = model.observe(memory, action, frame)
    return torch.stack(outputs)


def _one_hot(model: DiffusionTransformer, actions: Int64[Tensor, "b f"]) -> Float[Tensor, "b f a"]:
    return F.one_hot(actions, model.action_features + 1)[..., 1:].float()
