"""Does every loss teach? One that is computed without gradients, or through a choice of codes, changes nothing.

It still falls in the logs, because the others teach, and nobody notices; so it is asked before the first step.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from hallucade.shapes import Scalar

SHAKEN = 0.02  # deviation of what is added to weights


def check_gradients(
    losses: Callable[[], Mapping[str, Scalar]], network: nn.Module, checked: Iterable[str] = ()
) -> set[str]:
    """Refuse losses that give a network no gradient, and return the names of all that were asked.

    Weights that begin at zero let no gradient past them: where there is none, they are asked again with a little added.
    A loss of exactly 0 is content as it is, and may teach later, if it depends on the network at all.

    Args:
        losses: computes all of them anew, with the same draws at each call.
        network: what they are to teach.
        checked: names that need not be asked again.

    Raises:
        ValueError: names the loss.
    """
    with torch.compiler.set_stance("force_eager"):
        with torch.no_grad():
            names = set(losses()) - set(checked)
        for name in sorted(names):
            if _teaches(losses()[name], network):
                continue
            with shaken(network):
                if not _teaches(losses()[name], network):
                    raise ValueError(
                        f"the loss {name} has a weight and gives the model no gradient: training would not lower it; "
                        "give it the weight 0, or mend what is computed without gradients in it"
                    )
    return names


def _teaches(loss: Scalar, network: nn.Module) -> bool:
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    if not loss.requires_grad:
        return False
    gradients = cast("tuple[Tensor | None, ...]", torch.autograd.grad(loss, weights, allow_unused=True))
    reached = [gradient for gradient in gradients if gradient is not None]
    return bool(reached) and (float(loss.detach()) == 0 or any(bool((each != 0).any()) for each in reached))


@contextlib.contextmanager
def shaken(network: nn.Module, seed: int = 0) -> Generator[None]:
    """Add a little noise to all weights for the block."""
    generator = torch.Generator().manual_seed(seed)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(SHAKEN * torch.randn(weight.shape, generator=generator).to(weight))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.copy_(before[name])
