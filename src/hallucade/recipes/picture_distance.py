"""LPIPS as a loss: its weights are found before the first step, or training does not begin."""

from typing import cast

from hallucade.evaluation.metrics.lpips import Backbone, Lpips
from hallucade.objectives.base import PictureDistance


def lpips_distance(backbone: str, weights: str | None, frame_size: tuple[int, int]) -> PictureDistance:
    """Return the mean LPIPS of pictures of this height and width, with gradients.

    Args:
        backbone: "alex" or "vgg".
        weights: file of the backbone; None looks in torch.hub's cache.
        frame_size: of the pictures.

    Raises:
        ValueError: weights are missing or another network's, or pictures are too small.
    """
    network = Lpips.load(cast("Backbone", backbone), weights).requires_grad_(False)
    network.check_size(*frame_size)
    return lambda shown, truth: network.to(shown.device).of_pixels(shown, truth).mean()
