"""Weights under the names that public networks give them, drawn at random, of any size."""

import torch
from torch import Tensor

from hallucade.models import nanowm, toy_wm
from hallucade.models.public_weights import our_shapes


def draw(origins, seed: int = 0) -> dict[str, Tensor]:
    """Draw every public tensor that some of ours are made of."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: origin.shape for origin in origins for name in origin.names}
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def nanowm_weights(sizes: nanowm.NanoWMSizes) -> dict[str, Tensor]:
    shapes = our_shapes(sizes.network(), sizes.action_dim, sizes.latent_shape)
    return draw([nanowm.origin(name, shape, sizes) for name, shape in shapes.items()])


def toy_wm_weights(sizes: toy_wm.ToyWMSizes) -> dict[str, Tensor]:
    """Draw a network and the constants that its file carries."""
    shapes = our_shapes(sizes.network(), sizes.actions, sizes.latent_shape)
    positions = sizes.n_window * ((sizes.height // sizes.patch_size) * (sizes.width // sizes.patch_size) + 1)
    head = sizes.d_model // sizes.n_heads
    return {
        **draw([toy_wm.origin(name, shape, sizes) for name, shape in shapes.items()]),
        "mask": torch.ones(positions, positions, dtype=torch.bool),
        "time_emb.pe": torch.zeros(sizes.T, sizes.d_model),
        "rope_seq.coss": torch.zeros(1, positions, 1, head),
        "blocks.0.selfattn.rope.sins": torch.zeros(1, positions, 1, head),
    }
