"""What every training algorithm offers: its roles, and their losses one after the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from hallucade.data.clips import Clip
from hallucade.shapes import Scalar


class Method(nn.Module, ABC):
    """A training algorithm over roles (student, teacher, critic, or just the model).

    State beyond the roles' weights lives in buffers, so that ``state_dict`` holds it and resume is exact. Modules that
    are not a role are frozen: the trainer moves and saves them, and never updates them.
    """

    averaged: tuple[str, ...] | None = None  # roles whose weights are averaged and shared as such; None is all

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Tensor] = {}  # named detached scalars of the last loss, for logs

    @abstractmethod
    def roles(self) -> dict[str, nn.Module]:
        """Return the trainable networks by name; each has an optimizer of its own."""

    @abstractmethod
    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        """Yield (role, loss) in a fixed order.

        The trainer updates the role before it asks for the next loss. Branch on `step`, never on data: every rank and
        microbatch yields the same roles. Randomness comes from ``batch.seed`` alone.
        """
