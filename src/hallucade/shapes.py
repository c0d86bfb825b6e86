"""Axes, units and aliases, stated once for the whole package.

**Time.** n + 1 frames are joined by n actions: ``actions[:, i]`` is held while frame i is on screen and leads to
frame i + 1. Importers convert at the edge; nothing inside ever shifts by one.

**Axes.** b batch, t frames or latents in time, h w pixels, n actions in time, a action features, ``*latent`` the shape
of one latent frame, k latents in a block, s state variables.

**Blocks.** A world model advances by a block of k latents; a tokenizer with temporal stride r turns a block into k * r
frames, joined by k * r actions. k = r = 1 is the common case and no signature assumes it.

**Noise.** Level 0 is data, level 1 is noise: ``x_s = (1 - s) * x0 + s * eps`` for the rectified-flow schedule.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor

# PEP 695 aliases are lazy objects that jaxtyping's runtime checks cannot read: plain assignments on purpose.
Frames: TypeAlias = UInt8[Tensor, "b t h w 3"]  # pixels outside a network, 0..255
Actions: TypeAlias = Float[Tensor, "b n a"]  # encoded action features, see `ActionSpace.encode`
Latents: TypeAlias = Shaped[Tensor, "b t *latent"]  # float channels or integer tokens
Latent: TypeAlias = Shaped[Tensor, "b k *latent"]  # the next block of latents
Action: TypeAlias = Float[Tensor, "b m a"]  # the m = k * r encoded actions that lead to that block
Scalar: TypeAlias = Float[Tensor, ""]

FrameArray: TypeAlias = UInt8[np.ndarray, "t h w 3"]  # the frames of one episode, on disk and in games
ActionRows: TypeAlias = Float32[np.ndarray, "n c"]  # raw action rows of one episode, one column a control
