"""What JPEG makes of pictures at a given number of bits: what any tokenizer should be compared with.

Only the coded pixels count: tables and headers, the same for all pictures, are left out, as a tokenizer's weights are.
Where even the least quality needs too many bits, pictures are made smaller first.
"""

import io

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

START_OF_SCAN = b"\xff\xda"
QUALITIES = 1, 95
SHRINKS = (1, 2, 4, 8)


def jpeg_at(pictures: UInt8[Tensor, "n h w 3"], bits: float) -> tuple[UInt8[Tensor, "n h w 3"], float]:
    """Return pictures after JPEG of the best quality whose mean size is `bits` or less, and that size in bits.

    The least shrinking that fits is taken; if none does, the smallest pictures are returned with their true size.
    """
    arrays = list(pictures.cpu().numpy())
    found = np.stack(arrays), float("inf")
    for shrink in SHRINKS:
        if min(pictures.shape[1:3]) // shrink < 8:
            break
        low, high = QUALITIES
        found = _coded(arrays, low, shrink)
        if found[1] > bits:
            continue
        while low < high:
            middle = (low + high + 1) // 2
            tried = _coded(arrays, middle, shrink)
            low, high, found = (middle, high, tried) if tried[1] <= bits else (low, middle - 1, found)
        break
    return torch.from_numpy(found[0]), found[1]


def _coded(pictures: list[np.ndarray], quality: int, shrink: int) -> tuple[np.ndarray, float]:
    """Return decoded pictures in their own size, and the mean bits of their scans."""
    shown, sizes = list[np.ndarray](), list[int]()
    for picture in pictures:
        height, width = picture.shape[:2]
        small = Image.fromarray(picture)
        if shrink > 1:
            small = small.resize((width // shrink, height // shrink), Image.Resampling.BOX)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality, subsampling="4:2:0")
        content = file.getvalue()
        start = content.index(START_OF_SCAN)
        header = int.from_bytes(content[start + 2 : start + 4])
        sizes.append(8 * (len(content) - (start + 2 + header) - 2))  # without the end marker
        large = Image.open(io.BytesIO(content)).resize((width, height), Image.Resampling.BICUBIC)
        shown.append(np.asarray(large))
    return np.stack(shown), float(np.mean(sizes))
