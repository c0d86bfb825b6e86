"""Pretrained autoencoders of a few thousand random weights, as diffusers saves them; import after checking for it."""

from pathlib import Path

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny

FACTORS = {"AutoencoderKL": 8, "AutoencoderDC": 4, "AutoencoderTiny": 4}


def build_autoencoder(kind: str, **changes):
    """Return a tiny autoencoder: KL at an eighth of the size, the others at a quarter."""
    torch.manual_seed(3)
    if kind == "AutoencoderKL":
        levels = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        sizes = {"block_out_channels": (4, 4, 6, 8), "norm_num_groups": 2, "latent_channels": 4}
        return AutoencoderKL(**levels | sizes | {"scaling_factor": 0.7, "shift_factor": 0.2} | changes).eval()
    if kind == "AutoencoderDC":
        sides = ("encoder", "decoder")
        sizes = {f"{side}_block_out_channels": (4, 8, 8) for side in sides}
        sizes |= {f"{side}_layers_per_block": (1, 1, 1) for side in sides}
        sizes |= {f"{side}_block_types": "ResBlock" for side in sides}
        sizes |= {f"{side}_qkv_multiscales": ((), (), ()) for side in sides}
        return AutoencoderDC(**sizes | {"latent_channels": 8, "scaling_factor": 0.4} | changes).eval()
    sizes = {f"{side}_block_out_channels": (4, 4, 4) for side in ("encoder", "decoder")}
    sizes |= {f"num_{side}_blocks": (1, 1, 1) for side in ("encoder", "decoder")}
    return AutoencoderTiny(**sizes | {"latent_channels": 5} | changes).eval()


def save_autoencoder(folder: Path, kind: str, **changes) -> Path:
    """Write a tiny autoencoder as config.json and safetensors."""
    build_autoencoder(kind, **changes).save_pretrained(folder)
    return folder
